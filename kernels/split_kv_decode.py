# mypy: disallow-untyped-decorators=False
"""Decode attention over independent splits of the keys, merged by a second launch (flash decoding).

Modelled: one query per sequence, grouped and multi-query heads (the queries of a group share a tile, padded
to 16 rows), key lengths that vary by sequence, splits of whole key tiles balanced for each sequence, fp32
partial results, log-sum-exp output. Not modelled: paged keys, several queries per sequence, a number of
splits chosen by the machine.

The same source runs on a CUDA GPU and, with TRITON_INTERPRET=1, in Triton's interpreter.
"""

from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl

from dse.kernels import checks
from dse.kernels.common import (
    counts,
    load_rows,
    padded,
    softmax_end,
    softmax_step,
    standard_normal,
    store_rows,
)
from dse.kernels.inputs import given_lengths, score_scale
from dse.kernels.launch import check_device
from dse.kernels.masking import hide_scores
from dse.workloads.trace import Value


@triton.jit
def _visit_tile(
    q_tile: tl.tensor, accumulator: tl.tensor, row_max: tl.tensor, row_sum: tl.tensor, k: tl.tensor,
    v: tl.tensor, k_strides: tl.tuple, v_strides: tl.tuple, start: tl.tensor, key_count: tl.tensor,
    scale_log2: tl.tensor, GROUP: tl.constexpr, MASKED: tl.constexpr, DEPTH: tl.constexpr,
    VALUE_DEPTH: tl.constexpr, BLOCK_G: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_E: tl.constexpr,
    BLOCK_F: tl.constexpr,
) -> tl.tuple:  # fmt: skip
    """One key tile of the online softmax for the queries of a group."""
    keys = start + tl.arange(0, BLOCK_N)
    k_tile = load_rows(k, k_strides, keys, key_count, DEPTH, BLOCK_E, MASKED)
    scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * scale_log2
    if MASKED:
        scores = hide_scores(scores, tl.arange(0, BLOCK_G), GROUP, keys, key_count, False)
    weights, rescale, row_max, row_sum = softmax_step(scores, row_max, row_sum, MASKED)
    v_tile = load_rows(v, v_strides, keys, key_count, VALUE_DEPTH, BLOCK_F, MASKED)
    accumulator = accumulator * rescale[:, None]
    accumulator = tl.dot(weights.to(v_tile.dtype), v_tile, accumulator, input_precision="ieee")
    return accumulator, row_max, row_sum


@triton.jit
def split_kernel(
    q: tl.tensor, k: tl.tensor, v: tl.tensor, partial: tl.tensor, partial_lse: tl.tensor,
    key_lengths: tl.tensor, q_strides: tl.tuple, k_strides: tl.tuple, v_strides: tl.tuple,
    partial_strides: tl.tuple, lse_strides: tl.tuple, key_count: tl.tensor, scale_log2: tl.tensor,
    SPLITS: tl.constexpr, GROUP: tl.constexpr, RAGGED: tl.constexpr, DEPTH: tl.constexpr,
    VALUE_DEPTH: tl.constexpr, BLOCK_G: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_E: tl.constexpr,
    BLOCK_F: tl.constexpr,
) -> None:  # fmt: skip
    """Attention of the queries of a group over one split: grid (splits, key heads, sequences)."""
    split = tl.program_id(0)
    kv_head = tl.program_id(1).to(tl.int64)
    sequence = tl.program_id(2).to(tl.int64)
    if RAGGED:
        key_count = tl.load(key_lengths + sequence)
    rows = tl.arange(0, BLOCK_G)
    split_keys = tl.cdiv(tl.cdiv(key_count, BLOCK_N), SPLITS) * BLOCK_N
    start = split * split_keys
    stop = tl.minimum(start + split_keys, key_count)
    # Padded rows need the mask in every tile, so that only real queries count as useful.
    unmasked = start
    if GROUP == BLOCK_G:
        unmasked = tl.maximum(start, stop // BLOCK_N * BLOCK_N)
    q_group = q + sequence * q_strides[0] + kv_head * q_strides[1]
    q_tile = load_rows(q_group, q_strides, rows, GROUP, DEPTH, BLOCK_E, True)
    k_head = k + sequence * k_strides[0] + kv_head * k_strides[1]
    v_head = v + sequence * v_strides[0] + kv_head * v_strides[1]
    accumulator = tl.zeros((BLOCK_G, BLOCK_F), tl.float32)
    row_max = tl.full((BLOCK_G,), float("-inf"), tl.float32)
    row_sum = tl.zeros((BLOCK_G,), tl.float32)
    for first in range(start, unmasked, BLOCK_N):
        accumulator, row_max, row_sum = _visit_tile(
            q_tile, accumulator, row_max, row_sum, k_head, v_head, k_strides, v_strides, first, key_count,
            scale_log2, GROUP, False, DEPTH, VALUE_DEPTH, BLOCK_G, BLOCK_N, BLOCK_E, BLOCK_F,
        )  # fmt: skip
    for first in range(unmasked, stop, BLOCK_N):
        accumulator, row_max, row_sum = _visit_tile(
            q_tile, accumulator, row_max, row_sum, k_head, v_head, k_strides, v_strides, first, key_count,
            scale_log2, GROUP, True, DEPTH, VALUE_DEPTH, BLOCK_G, BLOCK_N, BLOCK_E, BLOCK_F,
        )  # fmt: skip
    result, logarithm = softmax_end(accumulator, row_max, row_sum)
    partial += (
        sequence * partial_strides[0] + split * partial_strides[1] + kv_head * GROUP * partial_strides[2]
    )
    store_rows(partial, partial_strides, rows, GROUP, result, VALUE_DEPTH, BLOCK_F)
    heads = sequence * lse_strides[0] + split * lse_strides[1] + (kv_head * GROUP + rows) * lse_strides[2]
    tl.store(partial_lse + heads, logarithm, mask=rows < GROUP)


@triton.jit
def combine_kernel(
    partial: tl.tensor, partial_lse: tl.tensor, o: tl.tensor, lse: tl.tensor, partial_strides: tl.tuple,
    partial_lse_strides: tl.tuple, o_strides: tl.tuple, lse_strides: tl.tuple, SPLITS: tl.constexpr,
    VALUE_DEPTH: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_F: tl.constexpr,
) -> None:  # fmt: skip
    """Merge the splits of one head by their log-sum-exps: grid (heads, sequences)."""
    head = tl.program_id(0).to(tl.int64)
    sequence = tl.program_id(1).to(tl.int64)
    splits = tl.arange(0, BLOCK_S)
    columns = tl.arange(0, BLOCK_F)
    part_lse = tl.load(
        partial_lse + sequence * partial_lse_strides[0] + splits * partial_lse_strides[1]
        + head * partial_lse_strides[2], mask=splits < SPLITS, other=float("-inf"),
    )  # fmt: skip
    partial += sequence * partial_strides[0] + head * partial_strides[2]
    pointers = partial + splits[:, None] * partial_strides[1] + columns[None, :] * partial_strides[3]
    inside = (splits[:, None] < SPLITS) & (columns[None, :] < VALUE_DEPTH)
    part = tl.load(pointers, mask=inside, other=0.0)
    largest = tl.max(part_lse, 0)
    finite = tl.where(largest == float("-inf"), 0.0, largest)
    weights = tl.exp(part_lse - finite)
    total = tl.sum(weights, 0)
    # A sequence without keys has no split with a weight: zeros and a log-sum-exp of -inf.
    divisor = tl.where(total > 0.0, total, 1.0)
    merged = tl.sum(weights[:, None] * part, 0) / divisor
    o_row = o + sequence * o_strides[0] + head * o_strides[1] + columns * o_strides[2]
    tl.store(o_row, merged.to(o.dtype.element_ty), mask=columns < VALUE_DEPTH)
    logarithm = tl.where(total > 0.0, finite + tl.log(divisor), float("-inf"))
    tl.store(lse + sequence * lse_strides[0] + head * lse_strides[1], logarithm)


def make_inputs(parameters: Mapping[str, Value], seed: int) -> dict[str, Any]:
    """Keyword arguments of :func:`split_kv_decode` for the parameters of its annotation, on the CPU.

    Q, K and V are standard normal, drawn in this order from one generator seeded with ``seed``.
    """
    sizes = counts(parameters)
    batch, kv_heads, keys = sizes["batch"], sizes["kv_heads"], sizes["sequence"]
    shapes = {
        "q": (batch, sizes["heads"], sizes["head_dim"]),
        "k": (batch, kv_heads, keys, sizes["head_dim"]),
        "v": (batch, kv_heads, keys, sizes["value_dim"]),
    }
    options = {name: sizes[name] for name in ("splits", "tile_keys")}
    tensors = standard_normal(shapes, parameters["precision"], seed)
    return tensors | options | given_lengths(parameters, key_lengths=keys)


def _check(tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise WorkloadError naming every tensor that does not fit the others."""
    checks.refuse(checks.dimensions(tensors, {"q": 3, "k": 4, "v": 4}))
    batch, heads, depth = tensors["q"].shape
    kv_heads, keys, value_depth = tensors["v"].shape[1:]
    checks.refuse(
        checks.shapes(
            tensors,
            {"k": (batch, kv_heads, keys, depth), "v": (batch, kv_heads, keys, value_depth)},
            "batch and depth of q, heads and keys of v",
        ),
        [f"{heads} heads are no multiple of {kv_heads} kv heads"] if heads % max(1, kv_heads) else [],
        checks.operands(tensors),
    )


def _split(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    key_lengths: torch.Tensor | None,
    splits: int,
    tile: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and log-sum-exp of every split, ``(batch, splits, heads, value depth)`` in fp32."""
    (batch, heads, depth), (kv_heads, keys, value_depth) = q.shape, v.shape[1:]
    group = heads // kv_heads
    partial = torch.empty(batch, splits, heads, value_depth, device=q.device)
    partial_lse = torch.empty(batch, splits, heads, device=q.device)
    q = q.reshape(batch, kv_heads, group, depth)
    split_kernel[(splits, kv_heads, batch)](
        q, k, v, partial, partial_lse, key_lengths, q.stride(), k.stride(), v.stride(), partial.stride(),
        partial_lse.stride(), keys, score_scale(depth), SPLITS=splits, GROUP=group,
        RAGGED=key_lengths is not None, DEPTH=depth, VALUE_DEPTH=value_depth, BLOCK_G=padded(group),
        BLOCK_N=tile, BLOCK_E=padded(depth), BLOCK_F=padded(value_depth),
    )  # fmt: skip
    return partial, partial_lse


def split_kv_decode(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    key_lengths: torch.Tensor | None = None,
    splits: int = 8,
    tile_keys: int = 128,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention of one query per head ``(batch, heads, depth)``, and its natural log-sum-exp.

    Scores are scaled by ``1 / sqrt(depth)``. The key tiles of a sequence are dealt out to ``splits`` programs
    in runs of equal length; a short sequence leaves the last ones without work. A sequence without keys
    holds zeros and a log-sum-exp of -inf.

    Returns
    -------
    tuple
        Output ``(batch, heads, value depth)`` in the inputs' precision, log-sum-exp ``(batch, heads)`` in
        fp32.

    Raises
    ------
    WorkloadError
        If shapes, head counts, lengths, splits or tile size do not fit together.
    MissingDependencyError
        If the tensors are on the CPU and the interpreter is off.
    TraceError
        If the tensors are bf16 and the interpreter is on.
    """
    _check({"q": q, "k": k, "v": v})
    batch, heads, _ = q.shape
    keys, value_depth = v.shape[2:]
    few = [f"splits is {splits}: there must be at least 1"] if splits < 1 else []
    lengths = checks.lengths("key_lengths", key_lengths, batch, keys)
    checks.refuse(lengths, few, checks.tiles(tile_keys=tile_keys))
    check_device(q, k, v)
    partial, partial_lse = _split(q, k, v, key_lengths, splits, tile_keys)
    o = torch.empty(batch, heads, value_depth, dtype=q.dtype, device=q.device)
    lse = torch.empty(batch, heads, device=q.device)
    combine_kernel[(heads, batch)](
        partial, partial_lse, o, lse, partial.stride(), partial_lse.stride(), o.stride(), lse.stride(),
        SPLITS=splits, VALUE_DEPTH=value_depth, BLOCK_S=triton.next_power_of_2(splits),
        BLOCK_F=padded(value_depth),
    )  # fmt: skip
    return o, lse
