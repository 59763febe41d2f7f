# mypy: disallow-untyped-decorators=False
"""Flash attention that skips the values of a key tile when none of its scores can matter.

Modelled: a tile is skipped, exponentials and values included, if every score in it lies below the row's
running maximum by more than the threshold's logarithm, for all rows of the query tile; fp16, bf16 (on a GPU
only) and fp32 operands with fp32 accumulation, causal masks, grouped heads, log-sum-exp of the keys visited.
How many tiles are skipped depends on values. Not modelled: skipping keys, another order of tiles, backward.
"""

from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl

from dse.errors import WorkloadError
from dse.kernels.common import (
    LOG2_E,
    attention_inputs,
    check_attention,
    counts,
    load_rows,
    output_tensors,
    padded,
    softmax_end,
    softmax_rescale,
    store_rows,
)
from dse.kernels.launch import check_device
from dse.workloads.trace import Value


@triton.jit
def threshold_skip_kernel(
    q: tl.tensor, k: tl.tensor, v: tl.tensor, o: tl.tensor, lse: tl.tensor, q_strides: tl.tuple,
    k_strides: tl.tuple, v_strides: tl.tuple, o_strides: tl.tuple, lse_strides: tl.tuple,
    query_count: tl.tensor, key_count: tl.tensor, scale_log2: tl.tensor, floor_log2: tl.tensor,
    GROUP: tl.constexpr, CAUSAL: tl.constexpr, DEPTH: tl.constexpr, VALUE_DEPTH: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr,
) -> None:  # fmt: skip
    """One tile of query rows of one head: grid (query tiles, heads, sequences)."""
    head = tl.program_id(1).to(tl.int64)
    sequence = tl.program_id(2).to(tl.int64)
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    q_head = q + sequence * q_strides[0] + head * q_strides[1]
    k_head = k + sequence * k_strides[0] + (head // GROUP) * k_strides[1]
    v_head = v + sequence * v_strides[0] + (head // GROUP) * v_strides[1]
    q_tile = load_rows(q_head, q_strides, rows, query_count, DEPTH, BLOCK_E, True)
    accumulator = tl.zeros((BLOCK_M, BLOCK_F), tl.float32)
    row_max = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    row_sum = tl.zeros((BLOCK_M,), tl.float32)
    stop = key_count
    if CAUSAL:
        end_row = tl.minimum(query_count, (tl.program_id(0) + 1) * BLOCK_M)
        stop = tl.maximum(0, tl.minimum(key_count, end_row + (key_count - query_count)))
    for first in range(0, stop, BLOCK_N):
        keys = first + tl.arange(0, BLOCK_N)
        k_tile = load_rows(k_head, k_strides, keys, key_count, DEPTH, BLOCK_E, True)
        scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * scale_log2
        visible = (keys[None, :] < key_count) & (rows[:, None] < query_count)
        if CAUSAL:
            visible = visible & (keys[None, :] <= rows[:, None] + (key_count - query_count))
        scores = tl.where(visible, scores, float("-inf"))
        # A finite bound below every score: a row that has seen nothing asks for a tile only if it sees it.
        largest = tl.max(scores, 1)
        reach = largest - tl.where(row_max > float("-inf"), row_max, -3.0e38)
        if tl.max(reach, 0) >= floor_log2:
            weights, rescale, row_max, row_sum = softmax_rescale(scores, largest, row_max, row_sum, True)
            v_tile = load_rows(v_head, v_strides, keys, key_count, VALUE_DEPTH, BLOCK_F, True)
            accumulator = accumulator * rescale[:, None]
            accumulator = tl.dot(weights.to(v_tile.dtype), v_tile, accumulator, input_precision="ieee")
    result, logarithm = softmax_end(accumulator, row_max, row_sum)
    o_head = o + sequence * o_strides[0] + head * o_strides[1]
    store_rows(o_head, o_strides, rows, query_count, result, VALUE_DEPTH, BLOCK_F)
    lse_rows = lse + sequence * lse_strides[0] + head * lse_strides[1] + rows * lse_strides[2]
    tl.store(lse_rows, logarithm, mask=rows < query_count)


def make_inputs(parameters: Mapping[str, Value], seed: int) -> dict[str, Any]:
    """Keyword arguments of :func:`threshold_skip` for the parameters of ``threshold_skip.yaml``, on the CPU.

    Normal noise has flat scores, for which nothing is skipped: queries share one direction here, along which
    each tile of keys is moved by a normal amount of its own.
    """
    sizes = counts(parameters)
    tensors = attention_inputs(parameters, seed)
    generator = torch.Generator().manual_seed(seed)
    tiles = triton.cdiv(sizes["sequence"], sizes["tile_keys"])
    moved = torch.randn(tiles, generator=generator).repeat_interleave(sizes["tile_keys"])
    tensors["q"] = tensors["q"] + 1.0
    tensors["k"] = tensors["k"] + moved[: sizes["sequence"], None].to(tensors["k"].dtype)
    return {
        **tensors,
        "skip_bits": sizes["skip_bits"],
        "causal": bool(parameters["causal"]),
        "tile_queries": sizes["tile_queries"],
        "tile_keys": sizes["tile_keys"],
    }


def threshold_skip(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    skip_bits: int,
    causal: bool = False,
    tile_queries: int = 64,
    tile_keys: int = 64,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention over the key tiles that matter, and its natural log-sum-exp.

    Tensors are ``(batch, heads, rows, depth)``; scores are scaled by ``1 / sqrt(depth)``. A tile matters if,
    for some row, it holds a weight of at least ``2 ** -skip_bits`` of the largest one up to it.

    Raises
    ------
    WorkloadError
        If shapes, tiles or ``skip_bits`` do not fit.
    MissingDependencyError
        If the tensors are on the CPU and the interpreter is off.
    TraceError
        If the tensors are bf16 and the interpreter is on.
    """
    check_attention(q, k, v, (tile_queries, tile_keys))
    if skip_bits < 0:
        raise WorkloadError(f"skip_bits {skip_bits} must not be negative")
    check_device(q, k, v)
    batch, heads, queries, depth = q.shape
    keys, value_depth = v.shape[2:]
    o, lse = output_tensors(q, value_depth)
    threshold_skip_kernel[(triton.cdiv(queries, tile_queries), heads, batch)](
        q, k, v, o, lse, q.stride(), k.stride(), v.stride(), o.stride(), lse.stride(), queries, keys,
        depth**-0.5 * LOG2_E, -float(skip_bits), GROUP=heads // k.shape[1], CAUSAL=causal, DEPTH=depth,
        VALUE_DEPTH=value_depth, BLOCK_M=tile_queries, BLOCK_N=tile_keys, BLOCK_E=padded(depth),
        BLOCK_F=padded(value_depth),
    )  # fmt: skip
    return o, lse
