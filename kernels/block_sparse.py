# mypy: disallow-untyped-decorators=False
"""Block-sparse softmax attention: each tile of query rows visits the key blocks of its index list.

Modelled: lists per head or shared by all (compressed rows), any number of blocks in a list, also none;
fp16, bf16 (on a GPU only) and fp32 operands with fp32 accumulation; grouped heads; a causal mask inside the
listed blocks; log-sum-exp output. Not modelled: element masks (see ``tile_list``), how lists are chosen (see
``select_attend``), backward.
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
    check_index,
    counts,
    load_rows,
    output_tensors,
    padded,
    softmax_end,
    softmax_step,
    store_rows,
)
from dse.kernels.launch import check_device
from dse.workloads.trace import Value


@triton.jit
def _visit_block(
    q_tile: tl.tensor,
    accumulator: tl.tensor,
    row_max: tl.tensor,
    row_sum: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    k_strides: tl.tuple,
    v_strides: tl.tuple,
    block: tl.tensor,
    rows: tl.tensor,
    query_count: tl.tensor,
    key_count: tl.tensor,
    scale_log2: tl.tensor,
    CAUSAL: tl.constexpr,
    MASKED: tl.constexpr,
    DEPTH: tl.constexpr,
    VALUE_DEPTH: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_F: tl.constexpr,
) -> tl.tuple:
    """One listed block of the online softmax."""
    keys = block * BLOCK_N + tl.arange(0, BLOCK_N)
    k_tile = load_rows(k, k_strides, keys, key_count, DEPTH, BLOCK_E, MASKED)
    scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * scale_log2
    if MASKED:
        visible = (keys[None, :] < key_count) & (rows[:, None] < query_count)
        if CAUSAL:
            visible = visible & (keys[None, :] <= rows[:, None] + (key_count - query_count))
        scores = tl.where(visible, scores, float("-inf"))
    weights, rescale, row_max, row_sum = softmax_step(scores, row_max, row_sum, MASKED)
    v_tile = load_rows(v, v_strides, keys, key_count, VALUE_DEPTH, BLOCK_F, MASKED)
    accumulator = accumulator * rescale[:, None]
    accumulator = tl.dot(weights.to(v_tile.dtype), v_tile, accumulator, input_precision="ieee")
    return accumulator, row_max, row_sum


@triton.jit
def block_sparse_kernel(
    q: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    o: tl.tensor,
    lse: tl.tensor,
    bounds: tl.tensor,
    columns: tl.tensor,
    q_strides: tl.tuple,
    k_strides: tl.tuple,
    v_strides: tl.tuple,
    o_strides: tl.tuple,
    lse_strides: tl.tuple,
    list_strides: tl.tuple,
    query_count: tl.tensor,
    key_count: tl.tensor,
    scale_log2: tl.tensor,
    GROUP: tl.constexpr,
    CAUSAL: tl.constexpr,
    MASKED: tl.constexpr,
    DEPTH: tl.constexpr,
    VALUE_DEPTH: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_F: tl.constexpr,
) -> None:
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
    entry = bounds + sequence * list_strides[0] + head * list_strides[1] + tl.program_id(0) * 2
    for place in range(tl.load(entry), tl.load(entry + 1)):
        accumulator, row_max, row_sum = _visit_block(
            q_tile, accumulator, row_max, row_sum, k_head, v_head, k_strides, v_strides,
            tl.load(columns + place), rows, query_count, key_count, scale_log2, CAUSAL, MASKED, DEPTH,
            VALUE_DEPTH, BLOCK_N, BLOCK_E, BLOCK_F,
        )  # fmt: skip
    result, logarithm = softmax_end(accumulator, row_max, row_sum)
    o_head = o + sequence * o_strides[0] + head * o_strides[1]
    store_rows(o_head, o_strides, rows, query_count, result, VALUE_DEPTH, BLOCK_F)
    lse_rows = lse + sequence * lse_strides[0] + head * lse_strides[1] + rows * lse_strides[2]
    tl.store(lse_rows, logarithm, mask=rows < query_count)


def make_inputs(parameters: Mapping[str, Value], seed: int) -> dict[str, Any]:
    """Keyword arguments of :func:`block_sparse` for the parameters of ``block_sparse.yaml``, on the CPU.

    Each query block of each head keeps ``kept`` key blocks, or all it may see if they are fewer; they are
    drawn without replacement from a second generator, seeded with ``seed`` too, and listed in order.
    """
    sizes = counts(parameters)
    tile_queries, tile_keys = sizes["tile_queries"], sizes["tile_keys"]
    generator = torch.Generator().manual_seed(seed)
    key_blocks = triton.cdiv(sizes["sequence"], tile_keys)
    offsets: list[list[int]] = []
    columns: list[int] = []
    for _ in range(sizes["heads"]):
        offsets.append([len(columns)])
        for block in range(triton.cdiv(sizes["queries"], tile_queries)):
            last_row = min(sizes["queries"], (block + 1) * tile_queries) - 1
            last_key = last_row + sizes["sequence"] - sizes["queries"]
            seen = last_key // tile_keys + 1 if parameters["causal"] else key_blocks
            drawn = torch.randperm(max(0, seen), generator=generator)[: sizes["kept"]]
            columns += sorted(drawn.tolist())
            offsets[-1].append(len(columns))
    return {
        **attention_inputs(parameters, seed),
        "offsets": torch.tensor(offsets, dtype=torch.int32)[None],
        "columns": torch.tensor(columns, dtype=torch.int32),
        "causal": bool(parameters["causal"]),
        "tile_queries": tile_queries,
        "tile_keys": tile_keys,
    }


def _check_lists(
    offsets: torch.Tensor, columns: torch.Tensor, q: torch.Tensor, blocks: int, keys: int
) -> None:
    """Raise WorkloadError unless every query block has a list of different blocks that exist."""
    check_index("columns", columns, (None,), limit=keys)
    check_index("offsets", offsets, (None, None, blocks + 1), limit=columns.numel() + 1)
    lists = {(1, 1), (1, q.shape[1]), (q.shape[0], q.shape[1])}
    if tuple(offsets.shape[:2]) not in lists:
        raise WorkloadError(
            f"offsets hold lists for {tuple(offsets.shape[:2])} (batch, heads), q has {lists}"
        )
    if bool((offsets.diff(dim=-1) < 0).any()):
        raise WorkloadError("offsets must not decrease along the query blocks of a head")
    for start, stop in zip(
        offsets[..., :-1].flatten().tolist(), offsets[..., 1:].flatten().tolist(), strict=True
    ):
        listed = columns[start:stop].tolist()
        if len(set(listed)) != len(listed):
            raise WorkloadError(f"columns {start} to {stop}: a key block is listed twice for one query block")


def block_sparse(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    offsets: torch.Tensor,
    columns: torch.Tensor,
    causal: bool = False,
    tile_queries: int = 64,
    tile_keys: int = 64,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention over listed key blocks, and its natural log-sum-exp.

    Parameters
    ----------
    q, k, v
        ``(batch, heads, rows, depth)``; scores are scaled by ``1 / sqrt(depth)``.
    offsets
        int32 ``(batch or 1, heads or 1, query blocks + 1)``: where each query block's list starts in
        ``columns``; it ends where the next one starts.
    columns
        int32: key blocks, in the order they are visited.
    causal
        Whether a query sees only keys up to its own within the listed blocks.

    Raises
    ------
    WorkloadError
        If shapes, tiles or lists do not fit together.
    MissingDependencyError
        If the tensors are on the CPU and the interpreter is off.
    TraceError
        If the tensors are bf16 and the interpreter is on.
    """
    check_attention(q, k, v, (tile_queries, tile_keys))
    blocks = triton.cdiv(q.shape[2], tile_queries)
    _check_lists(offsets, columns, q, blocks, triton.cdiv(k.shape[2], tile_keys))
    bounds = torch.stack([offsets[..., :-1], offsets[..., 1:]], dim=-1).contiguous()
    return attend_blocks(q, k, v, bounds, columns, causal, tile_queries, tile_keys)


def attend_blocks(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    bounds: torch.Tensor,
    columns: torch.Tensor,
    causal: bool,
    tile_queries: int,
    tile_keys: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Launch the kernel on lists that need not lie one after the other in ``columns``.

    ``bounds`` holds the start and the end of each list: ``(batch or 1, heads or 1, query blocks, 2)``.
    """
    check_device(q, k, v)
    batch, heads, queries, depth = q.shape
    keys, value_depth = v.shape[2:]
    o, lse = output_tensors(q, value_depth)
    shared = (bounds.shape[0] == 1, bounds.shape[1] == 1)
    list_strides = tuple(0 if one else bounds.stride(axis) for axis, one in enumerate(shared))
    block_sparse_kernel[(triton.cdiv(queries, tile_queries), heads, batch)](
        q, k, v, o, lse, bounds, columns,
        q.stride(), k.stride(), v.stride(), o.stride(), lse.stride(), list_strides,
        queries, keys, depth**-0.5 * LOG2_E, GROUP=heads // k.shape[1], CAUSAL=causal,
        MASKED=causal or queries % tile_queries > 0 or keys % tile_keys > 0,
        DEPTH=depth, VALUE_DEPTH=value_depth, BLOCK_M=tile_queries, BLOCK_N=tile_keys,
        BLOCK_E=padded(depth), BLOCK_F=padded(value_depth),
    )  # fmt: skip
    return o, lse
