# mypy: disallow-untyped-decorators=False
"""Estimate, select, attend: block scores from pooled or low-bit tensors, top-k, block-sparse attention.

Modelled: two estimators (dot products of block means; largest product of quantised rows of a block), the
``keep`` best key blocks per query block by repeated maximum, a causal mask, attention over the selected
blocks. Launches: pooling of queries and keys (pooled only), estimate, select, attend. Low-bit codes take one
byte each. Not modelled: how codes are made (they are inputs of the estimate), selection per token.
"""

from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl

from dse.errors import WorkloadError
from dse.kernels.block_sparse import attend_blocks
from dse.kernels.common import attention_inputs, check_attention, counts, load_rows, padded
from dse.kernels.launch import check_device
from dse.kernels.pooling import pool_rows
from dse.workloads.trace import Value

ESTIMATORS = ("pooled", "low_bit")
SMALLEST_INTEGER_DOT = 32


@triton.jit
def pooled_estimate_kernel(
    q_means: tl.tensor,
    k_means: tl.tensor,
    estimates: tl.tensor,
    q_strides: tl.tuple,
    k_strides: tl.tuple,
    estimate_strides: tl.tuple,
    query_blocks: tl.tensor,
    key_blocks: tl.tensor,
    GROUP: tl.constexpr,
    DEPTH: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_E: tl.constexpr,
) -> None:
    """Scores of a tile of query blocks against all key blocks: grid (query block tiles, heads, sequences)."""
    head = tl.program_id(1).to(tl.int64)
    sequence = tl.program_id(2).to(tl.int64)
    rows = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    q_head = q_means + sequence * q_strides[0] + head * q_strides[1]
    k_head = k_means + sequence * k_strides[0] + (head // GROUP) * k_strides[1]
    out = estimates + sequence * estimate_strides[0] + head * estimate_strides[1]
    q_tile = load_rows(q_head, q_strides, rows, query_blocks, DEPTH, BLOCK_E, True)
    for first in range(0, key_blocks, BLOCK_K):
        keys = first + tl.arange(0, BLOCK_K)
        k_tile = load_rows(k_head, k_strides, keys, key_blocks, DEPTH, BLOCK_E, True)
        scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee")
        pointers = out + rows[:, None].to(tl.int64) * estimate_strides[2] + keys[None, :]
        tl.store(pointers, scores, mask=(rows[:, None] < query_blocks) & (keys[None, :] < key_blocks))


@triton.jit
def low_bit_estimate_kernel(
    q_codes: tl.tensor,
    k_codes: tl.tensor,
    q_scales: tl.tensor,
    k_scales: tl.tensor,
    estimates: tl.tensor,
    q_strides: tl.tuple,
    k_strides: tl.tuple,
    q_scale_strides: tl.tuple,
    k_scale_strides: tl.tuple,
    estimate_strides: tl.tuple,
    query_count: tl.tensor,
    key_count: tl.tensor,
    GROUP: tl.constexpr,
    DEPTH: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
) -> None:
    """Largest score of a query block with each key block: grid (query blocks, heads, sequences)."""
    head = tl.program_id(1).to(tl.int64)
    sequence = tl.program_id(2).to(tl.int64)
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    q_head = q_codes + sequence * q_strides[0] + head * q_strides[1]
    k_head = k_codes + sequence * k_strides[0] + (head // GROUP) * k_strides[1]
    row_scales = q_scales + sequence * q_scale_strides[0] + head * q_scale_strides[1] + rows
    key_scales = k_scales + sequence * k_scale_strides[0] + (head // GROUP) * k_scale_strides[1]
    out = estimates + sequence * estimate_strides[0] + head * estimate_strides[1]
    out += tl.program_id(0).to(tl.int64) * estimate_strides[2]
    q_tile = load_rows(q_head, q_strides, rows, query_count, DEPTH, BLOCK_E, True)
    row_scale = tl.load(row_scales, mask=rows < query_count, other=0.0)
    for first in range(0, key_count, BLOCK_N):
        keys = first + tl.arange(0, BLOCK_N)
        k_tile = load_rows(k_head, k_strides, keys, key_count, DEPTH, BLOCK_E, True)
        key_scale = tl.load(key_scales + keys, mask=keys < key_count, other=0.0)
        products = tl.dot(q_tile, tl.trans(k_tile), out_dtype=tl.int32).to(tl.float32)
        scores = products * row_scale[:, None] * key_scale[None, :]
        inside = (rows[:, None] < query_count) & (keys[None, :] < key_count)
        largest = tl.max(tl.max(tl.where(inside, scores, float("-inf")), 1), 0)
        tl.store(out + first // BLOCK_N, largest)


@triton.jit
def select_blocks_kernel(
    estimates: tl.tensor,
    bounds: tl.tensor,
    columns: tl.tensor,
    estimate_strides: tl.tuple,
    query_count: tl.tensor,
    key_count: tl.tensor,
    query_blocks: tl.tensor,
    key_blocks: tl.tensor,
    keep: tl.tensor,
    CAUSAL: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """Best blocks of one query block, largest first, equal ones by place: grid as of the estimate."""
    block = tl.program_id(0)
    head = tl.program_id(1).to(tl.int64)
    sequence = tl.program_id(2).to(tl.int64)
    seen = key_blocks
    if CAUSAL:
        last_key = tl.minimum(query_count, (block + 1) * BLOCK_M) - 1 + key_count - query_count
        seen = tl.minimum(key_blocks, tl.maximum(0, last_key + BLOCK_N) // BLOCK_N)
    places = tl.arange(0, BLOCK_K)
    row = (
        estimates + sequence * estimate_strides[0] + head * estimate_strides[1] + block * estimate_strides[2]
    )
    left = tl.load(row + places, mask=places < seen, other=float("-inf"))
    entry = (sequence * tl.num_programs(1) + head) * query_blocks + block
    start = entry * keep
    count = tl.minimum(keep, seen)
    for number in range(count):
        best = tl.argmax(left, 0)
        tl.store(columns + start + number, best)
        left = tl.where(places == best, float("-inf"), left)
    tl.store(bounds + entry * 2, start.to(tl.int32))
    tl.store(bounds + entry * 2 + 1, (start + count).to(tl.int32))


def make_inputs(parameters: Mapping[str, Value], seed: int) -> dict[str, Any]:
    """Keyword arguments of :func:`select_attend` for the parameters of ``select_attend.yaml``, on the CPU."""
    sizes = counts(parameters)
    return {
        **attention_inputs(parameters, seed),
        "keep": sizes["keep"],
        "estimator": str(parameters["estimator"]),
        "bits": sizes["bits"],
        "causal": bool(parameters["causal"]),
        "tile_queries": sizes["tile_queries"],
        "tile_keys": sizes["tile_keys"],
    }


def quantised(tensor: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Symmetric int8 codes and the fp32 scale of each row; its largest element sets the scale."""
    largest = tensor.float().abs().amax(dim=-1)
    scales = torch.where(largest > 0, largest, 1.0) / (2 ** (bits - 1) - 1)
    return torch.round(tensor.float() / scales[..., None]).to(torch.int8), scales


def _estimate(
    q: torch.Tensor, k: torch.Tensor, estimator: str, bits: int, tiles: tuple[int, int]
) -> torch.Tensor:
    """Estimated score of each query and key block, fp32 ``(batch, heads, query blocks, key blocks)``."""
    batch, heads, queries, depth = q.shape
    keys, group = k.shape[2], heads // k.shape[1]
    query_blocks, key_blocks = triton.cdiv(queries, tiles[0]), triton.cdiv(keys, tiles[1])
    estimates = torch.empty(batch, heads, query_blocks, key_blocks, device=q.device)
    if estimator == "pooled":
        q_means, k_means = pool_rows(q, tiles[0], tiles[0]), pool_rows(k, tiles[1], tiles[1])
        pooled_estimate_kernel[(triton.cdiv(query_blocks, 16), heads, batch)](
            q_means, k_means, estimates, q_means.stride(), k_means.stride(), estimates.stride(),
            query_blocks, key_blocks, GROUP=group, DEPTH=depth, BLOCK_P=16, BLOCK_K=16, BLOCK_E=padded(depth),
        )  # fmt: skip
        return estimates
    (q_codes, q_scales), (k_codes, k_scales) = quantised(q, bits), quantised(k, bits)
    low_bit_estimate_kernel[(query_blocks, heads, batch)](
        q_codes, k_codes, q_scales, k_scales, estimates, q_codes.stride(), k_codes.stride(),
        q_scales.stride(), k_scales.stride(), estimates.stride(), queries, keys, GROUP=group, DEPTH=depth,
        BLOCK_M=tiles[0], BLOCK_N=tiles[1], BLOCK_E=max(SMALLEST_INTEGER_DOT, padded(depth)),
    )  # fmt: skip
    return estimates


def select_attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    keep: int,
    estimator: str = "pooled",
    bits: int = 4,
    causal: bool = False,
    tile_queries: int = 64,
    tile_keys: int = 64,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention over the ``keep`` key blocks of highest estimate, and its natural log-sum-exp.

    Tensors are ``(batch, heads, rows, depth)``; scores are scaled by ``1 / sqrt(depth)``. Under a causal mask
    only blocks that some row of the query block sees are candidates. ``bits`` (2 to 8) are those of the
    low-bit estimator's codes.

    Raises
    ------
    WorkloadError
        If shapes, tiles, ``keep``, the estimator or its bits do not fit.
    MissingDependencyError
        If the tensors are on the CPU and the interpreter is off.
    TraceError
        If the tensors are bf16 and the interpreter is on.
    """
    check_attention(q, k, v, (tile_queries, tile_keys))
    if keep < 1 or estimator not in ESTIMATORS or not 2 <= bits <= 8:
        known = ", ".join(ESTIMATORS)
        raise WorkloadError(
            f"keep {keep} must be 1 or more, bits {bits} 2 to 8, estimator '{estimator}' of {known}"
        )
    check_device(q, k, v)
    estimates = _estimate(q, k, estimator, bits, (tile_queries, tile_keys))
    batch, heads, query_blocks, key_blocks = estimates.shape
    bounds = torch.empty(batch, heads, query_blocks, 2, dtype=torch.int32, device=q.device)
    columns = torch.zeros(batch * heads * query_blocks * keep, dtype=torch.int32, device=q.device)
    select_blocks_kernel[(query_blocks, heads, batch)](
        estimates, bounds, columns, estimates.stride(), q.shape[2], k.shape[2], query_blocks, key_blocks,
        keep, CAUSAL=causal, BLOCK_M=tile_queries, BLOCK_N=tile_keys,
        BLOCK_K=triton.next_power_of_2(key_blocks),
    )  # fmt: skip
    return attend_blocks(q, k, v, bounds, columns, causal, tile_queries, tile_keys)
