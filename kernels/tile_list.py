# mypy: disallow-untyped-decorators=False
"""Softmax attention under a static mask that is given as a list of key tiles for each query tile.

Modelled: sliding windows, neighborhoods, strided and blocked masks over one to three axes, causal along the
first, with sinks; fp16, bf16 (on a GPU only) and fp32 operands with fp32 accumulation; grouped heads;
log-sum-exp output. Tiles are boxes of tokens, laid out one after the other before the launch. Whole tiles
run in a loop of their own without a mask; partly covered ones load an element mask, which tiles of the same
pattern share. Not modelled: dropout, bias, lengths that differ between sequences, backward.
"""

from collections.abc import Mapping
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
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
    softmax_step,
    store_rows,
)
from dse.kernels.launch import check_device
from dse.workloads import neighborhood
from dse.workloads.neighborhood import Integers, Neighborhood, Shape, TileList
from dse.workloads.trace import Value


@triton.jit
def _visit_tile(
    q_tile: tl.tensor,
    accumulator: tl.tensor,
    row_max: tl.tensor,
    row_sum: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    k_strides: tl.tuple,
    v_strides: tl.tuple,
    tile: tl.tensor,
    mask: tl.tensor,
    key_count: tl.tensor,
    scale_log2: tl.tensor,
    MASKED: tl.constexpr,
    DEPTH: tl.constexpr,
    VALUE_DEPTH: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_F: tl.constexpr,
) -> tl.tuple:
    """One listed key tile of the online softmax; a masked one reads which of its pairs are visible."""
    keys = tile * BLOCK_N + tl.arange(0, BLOCK_N)
    k_tile = load_rows(k, k_strides, keys, key_count, DEPTH, BLOCK_E, MASKED)
    scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * scale_log2
    if MASKED:
        columns = tl.arange(0, BLOCK_M)[:, None] * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
        scores = tl.where(tl.load(mask + columns) != 0, scores, float("-inf"))
    weights, rescale, row_max, row_sum = softmax_step(scores, row_max, row_sum, MASKED)
    v_tile = load_rows(v, v_strides, keys, key_count, VALUE_DEPTH, BLOCK_F, MASKED)
    accumulator = accumulator * rescale[:, None]
    accumulator = tl.dot(weights.to(v_tile.dtype), v_tile, accumulator, input_precision="ieee")
    return accumulator, row_max, row_sum


@triton.jit
def tile_list_kernel(
    q: tl.tensor, k: tl.tensor, v: tl.tensor, o: tl.tensor, lse: tl.tensor, bounds: tl.tensor,
    tiles: tl.tensor, masks: tl.tensor, mask_table: tl.tensor, q_strides: tl.tuple, k_strides: tl.tuple,
    v_strides: tl.tuple, o_strides: tl.tuple, lse_strides: tl.tuple, query_count: tl.tensor,
    key_count: tl.tensor, scale_log2: tl.tensor, GROUP: tl.constexpr, DEPTH: tl.constexpr,
    VALUE_DEPTH: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_E: tl.constexpr,
    BLOCK_F: tl.constexpr,
) -> None:  # fmt: skip
    """One tile of query rows of one head: grid (query tiles, heads, sequences)."""
    head = tl.program_id(1).to(tl.int64)
    sequence = tl.program_id(2).to(tl.int64)
    entry = bounds + tl.program_id(0) * 3
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    q_head = q + sequence * q_strides[0] + head * q_strides[1]
    k_head = k + sequence * k_strides[0] + (head // GROUP) * k_strides[1]
    v_head = v + sequence * v_strides[0] + (head // GROUP) * v_strides[1]
    q_tile = load_rows(q_head, q_strides, rows, query_count, DEPTH, BLOCK_E, True)
    accumulator = tl.zeros((BLOCK_M, BLOCK_F), tl.float32)
    row_max = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    row_sum = tl.zeros((BLOCK_M,), tl.float32)
    start, masked, stop = tl.load(entry), tl.load(entry + 1), tl.load(entry + 2)
    for place in range(start, masked):
        tile = tl.load(tiles + place)
        accumulator, row_max, row_sum = _visit_tile(
            q_tile, accumulator, row_max, row_sum, k_head, v_head, k_strides, v_strides, tile,
            mask_table, key_count, scale_log2, False, DEPTH, VALUE_DEPTH, BLOCK_M, BLOCK_N, BLOCK_E, BLOCK_F,
        )  # fmt: skip
    for place in range(masked, stop):
        tile = tl.load(tiles + place)
        mask = mask_table + tl.load(masks + place).to(tl.int64) * (BLOCK_M * BLOCK_N)
        accumulator, row_max, row_sum = _visit_tile(
            q_tile, accumulator, row_max, row_sum, k_head, v_head, k_strides, v_strides, tile,
            mask, key_count, scale_log2, True, DEPTH, VALUE_DEPTH, BLOCK_M, BLOCK_N, BLOCK_E, BLOCK_F,
        )  # fmt: skip
    result, logarithm = softmax_end(accumulator, row_max, row_sum)
    o_head = o + sequence * o_strides[0] + head * o_strides[1]
    store_rows(o_head, o_strides, rows, query_count, result, VALUE_DEPTH, BLOCK_F)
    lse_rows = lse + sequence * lse_strides[0] + head * lse_strides[1] + rows * lse_strides[2]
    tl.store(lse_rows, logarithm, mask=rows < query_count)


def make_inputs(parameters: Mapping[str, Value], seed: int) -> dict[str, Any]:
    """Keyword arguments of :func:`tile_list` for the parameters of ``tile_list.yaml``, on the CPU."""
    sizes = counts(parameters)
    axes = _extents(parameters["axes"]) or (sizes["sequence"],)
    if {prod(axes)} != {sizes["sequence"], sizes["queries"]}:
        raise WorkloadError(
            f"axes {axes} hold {prod(axes)} tokens, sequence is {sizes['sequence']}, queries {sizes['queries']}"
        )
    ones = (1,) * len(axes)
    return {
        **attention_inputs(parameters, seed),
        "axes": axes,
        "window": _extents(parameters["window"]) or axes,
        "stride": _extents(parameters["stride"]) or ones,
        "dilation": _extents(parameters["dilation"]) or ones,
        "causal": bool(parameters["causal"]),
        "sinks": (_extents(parameters["sinks"]) or (0,))[0],
        "query_tile": _extents(parameters["query_tile"]) or (64,),
        "key_tile": _extents(parameters["key_tile"]) or (64,),
    }


def _extents(value: Value) -> Shape:
    return tuple(int(str(part)) for part in value) if isinstance(value, tuple) else ()


@lru_cache(maxsize=32)
def _built(mask: Neighborhood, query_tile: Shape, key_tile: Shape) -> TileList:
    return neighborhood.tile_list(mask, query_tile, key_tile)


def _laid_out(tensor: torch.Tensor, order: Integers) -> torch.Tensor:
    """Rows in the order of tiles, zero where a tile hangs over the end."""
    if np.array_equal(order[: tensor.shape[2]], np.arange(tensor.shape[2])):
        return tensor
    places = torch.from_numpy(np.maximum(order, 0)).to(tensor.device)
    outside = torch.from_numpy(order < 0).to(tensor.device)
    return tensor.index_select(2, places).masked_fill(outside[:, None], 0.0)


def _tokens_first(tensor: torch.Tensor, order: Integers, tokens: int) -> torch.Tensor:
    """Undo :func:`_laid_out`: rows in the order of tokens, padding dropped."""
    if tensor.shape[2] == tokens and np.array_equal(order[:tokens], np.arange(tokens)):
        return tensor
    place = np.empty(tokens, np.int64)
    place[order[order >= 0]] = np.flatnonzero(order >= 0)
    return tensor.index_select(2, torch.from_numpy(place).to(tensor.device))


def tile_list(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    axes: Shape,
    window: Shape,
    stride: Shape,
    dilation: Shape,
    causal: bool = False,
    sinks: int = 0,
    query_tile: Shape = (64,),
    key_tile: Shape = (64,),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Neighborhood attention over ``(batch, heads, tokens, depth)`` tensors and its natural log-sum-exp.

    ``axes`` give the grid of tokens, ``window``, ``stride`` and ``dilation`` the mask of
    :class:`dse.workloads.neighborhood.Neighborhood`, ``query_tile`` and ``key_tile`` the box of a tile.
    Scores are scaled by ``1 / sqrt(depth)``.

    Raises
    ------
    WorkloadError
        If shapes, mask or tiles do not fit together.
    MissingDependencyError
        If the tensors are on the CPU and the interpreter is off.
    TraceError
        If the tensors are bf16 and the interpreter is on.
    """
    check_attention(q, k, v, (prod(query_tile), prod(key_tile)))
    tokens = prod(axes)
    if {q.shape[2], k.shape[2]} != {tokens}:
        raise WorkloadError(f"axes {axes} hold {tokens} tokens; q has {q.shape[2]}, k has {k.shape[2]}")
    mask = Neighborhood(axes, window, stride, dilation, causal, sinks)
    listed = _built(mask, query_tile, key_tile)
    q = _laid_out(q, listed.query_order)
    o, lse = attend_tiles(q, _laid_out(k, listed.key_order), _laid_out(v, listed.key_order), listed)
    lse = _tokens_first(lse[..., None], listed.query_order, tokens)[..., 0]
    return _tokens_first(o, listed.query_order, tokens), lse


def attend_tiles(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, listed: TileList
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention over any list of tiles; rows are in the order of tiles, see ``TileList``."""
    check_device(q, k, v)
    batch, heads, queries, depth = q.shape
    keys, value_depth = v.shape[2:]
    o, lse = output_tensors(q, value_depth)
    lists = (listed.bounds, listed.tiles, listed.masks, listed.table)
    _, tile_queries, tile_keys = listed.table.shape
    tile_list_kernel[(len(listed.bounds), heads, batch)](
        q, k, v, o, lse, *(torch.from_numpy(part).to(q.device) for part in lists),
        q.stride(), k.stride(), v.stride(), o.stride(), lse.stride(), queries, keys, depth**-0.5 * LOG2_E,
        GROUP=heads // k.shape[1], DEPTH=depth, VALUE_DEPTH=value_depth, BLOCK_M=tile_queries,
        BLOCK_N=tile_keys, BLOCK_E=padded(depth), BLOCK_F=padded(value_depth),
    )  # fmt: skip
    return o, lse
