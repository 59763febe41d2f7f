# mypy: disallow-untyped-decorators=False
"""Estimate, select, attend: block scores from pooled queries and keys, top-k, block-sparse attention.

Modelled: an estimate for each pair of blocks (the dot product of their means), the ``keep`` best key blocks
of each query block by repeated maximum, a causal mask, attention over the selected blocks. Launches: pooling
of queries, pooling of keys, estimate, select, attend. Not modelled: selection per token, other rules than
top-k. ``select_low_bit`` is the same with another estimate.
"""

from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl

from dse.errors import WorkloadError
from dse.kernels.block_sparse import attend_blocks
from dse.kernels.common import (
    SMALLEST_DOT,
    attention_inputs,
    check_attention,
    counts,
    load_rows,
    padded,
)
from dse.kernels.launch import check_device
from dse.kernels.pooling import pool_rows
from dse.workloads.trace import Value


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
        "causal": bool(parameters["causal"]),
        "tile_queries": sizes["tile_queries"],
        "tile_keys": sizes["tile_keys"],
    }


def select_attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    keep: int,
    causal: bool = False,
    tile_queries: int = 64,
    tile_keys: int = 64,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention over the ``keep`` key blocks whose mean goes best with that of the queries.

    Tensors are ``(batch, heads, rows, depth)``; scores are scaled by ``1 / sqrt(depth)``. Under a causal mask
    only blocks that some row of the query block sees are candidates.

    Returns
    -------
    tuple
        Output in the inputs' precision, and the natural log-sum-exp over the selected blocks in fp32.

    Raises
    ------
    WorkloadError
        If shapes, tiles or ``keep`` do not fit.
    MissingDependencyError
        If the tensors are on the CPU and the interpreter is off.
    TraceError
        If the tensors are bf16 and the interpreter is on.
    """
    check_attention(q, k, v, (tile_queries, tile_keys))
    check_device(q, k, v)
    q_means, k_means = pool_rows(q, tile_queries, tile_queries), pool_rows(k, tile_keys, tile_keys)
    batch, heads, query_blocks, depth = q_means.shape
    key_blocks = k_means.shape[2]
    estimates = torch.empty(batch, heads, query_blocks, key_blocks, device=q.device)
    pooled_estimate_kernel[(triton.cdiv(query_blocks, SMALLEST_DOT), heads, batch)](
        q_means, k_means, estimates, q_means.stride(), k_means.stride(), estimates.stride(), query_blocks,
        key_blocks, GROUP=heads // k.shape[1], DEPTH=depth, BLOCK_P=SMALLEST_DOT, BLOCK_K=SMALLEST_DOT,
        BLOCK_E=padded(depth),
    )  # fmt: skip
    return attend_selected(q, k, v, estimates, keep, causal, tile_queries, tile_keys)


def attend_selected(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    estimates: torch.Tensor,
    keep: int,
    causal: bool,
    tile_queries: int,
    tile_keys: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Select the best blocks by ``(batch, heads, query blocks, key blocks)`` estimates and attend to them."""
    if keep < 1:
        raise WorkloadError(f"keep {keep} must be 1 or more")
    batch, heads, query_blocks, key_blocks = estimates.shape
    # Zeros, because a trace keeps what integer tensors hold before the launch.
    bounds = torch.zeros(batch, heads, query_blocks, 2, dtype=torch.int32, device=q.device)
    columns = torch.zeros(batch * heads * query_blocks * keep, dtype=torch.int32, device=q.device)
    select_blocks_kernel[(query_blocks, heads, batch)](
        estimates, bounds, columns, estimates.stride(), q.shape[2], k.shape[2], query_blocks, key_blocks,
        keep, CAUSAL=causal, BLOCK_M=tile_queries, BLOCK_N=tile_keys,
        BLOCK_K=triton.next_power_of_2(key_blocks),
    )  # fmt: skip
    return attend_blocks(q, k, v, bounds, columns, causal, tile_queries, tile_keys)
