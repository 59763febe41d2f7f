# mypy: disallow-untyped-decorators=False
"""Unfused softmax attention, the baseline: three launches that keep scores and probabilities in memory.

Scores of all query-key pairs are written, masked pairs included; the softmax reads a whole row at once, hides
what the causal mask and the lengths exclude, and writes probabilities; the last launch multiplies them by the
values. Modelled: scores and probabilities in a precision of their own, causal masks aligned to the last key,
grouped heads, lengths that vary by sequence, log-sum-exp output. Not modelled: skipping of hidden pairs,
rows that do not fit a tile.

The same source runs on a CUDA GPU and, with TRITON_INTERPRET=1, in Triton's interpreter.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
import triton
import triton.language as tl

from dse.kernels import checks
from dse.kernels.common import (
    LOG2_E,
    PRECISIONS,
    attention_inputs,
    check_attention,
    counts,
    load_rows,
    output_tensors,
    padded,
    store_rows,
)
from dse.kernels.inputs import given_lengths
from dse.kernels.launch import check_device
from dse.kernels.masking import hide_scores
from dse.workloads.trace import Value

LONGEST_ROW = 1 << 16
Lengths: TypeAlias = tuple[torch.Tensor | None, torch.Tensor | None]


@triton.jit
def _lengths(
    query_lengths: tl.tensor,
    key_lengths: tl.tensor,
    sequence: tl.tensor,
    query_count: tl.tensor,
    key_count: tl.tensor,
    RAGGED: tl.constexpr,
) -> tl.tuple:
    """Query rows and keys in use of a sequence."""
    if RAGGED:
        query_count = tl.load(query_lengths + sequence)
        key_count = tl.load(key_lengths + sequence)
    return query_count, key_count


@triton.jit
def _tile_pointers(base: tl.tensor, strides: tl.tuple, rows: tl.tensor, keys: tl.tensor) -> tl.tensor:
    """Addresses of a tile of scores or probabilities."""
    return base + rows[:, None].to(tl.int64) * strides[2] + keys[None, :] * strides[3]


@triton.jit
def score_kernel(
    q: tl.tensor, k: tl.tensor, scores: tl.tensor, query_lengths: tl.tensor, key_lengths: tl.tensor,
    q_strides: tl.tuple, k_strides: tl.tuple, score_strides: tl.tuple, query_count: tl.tensor,
    key_count: tl.tensor, scale: tl.tensor, HEADS: tl.constexpr, GROUP: tl.constexpr, RAGGED: tl.constexpr,
    DEPTH: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_E: tl.constexpr,
) -> None:  # fmt: skip
    """One tile of scores: grid (query tiles, key tiles, heads of all sequences)."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    keys = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    head = (tl.program_id(2) % HEADS).to(tl.int64)
    sequence = (tl.program_id(2) // HEADS).to(tl.int64)
    query_count, key_count = _lengths(query_lengths, key_lengths, sequence, query_count, key_count, RAGGED)
    q += sequence * q_strides[0] + head * q_strides[1]
    k += sequence * k_strides[0] + (head // GROUP) * k_strides[1]
    q_tile = load_rows(q, q_strides, rows, query_count, DEPTH, BLOCK_E, True)
    k_tile = load_rows(k, k_strides, keys, key_count, DEPTH, BLOCK_E, True)
    tile = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * scale
    scores += sequence * score_strides[0] + head * score_strides[1]
    inside = (rows[:, None] < query_count) & (keys[None, :] < key_count)
    pointers = _tile_pointers(scores, score_strides, rows, keys)
    tl.store(pointers, tile.to(scores.dtype.element_ty), mask=inside)


@triton.jit
def softmax_kernel(
    scores: tl.tensor, probabilities: tl.tensor, lse: tl.tensor, query_lengths: tl.tensor,
    key_lengths: tl.tensor, score_strides: tl.tuple, probability_strides: tl.tuple, lse_strides: tl.tuple,
    query_count: tl.tensor, key_count: tl.tensor, log2_e: tl.tensor, CAUSAL: tl.constexpr,
    RAGGED: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
) -> None:  # fmt: skip
    """Softmax of whole rows: grid (row tiles, heads, sequences)."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    keys = tl.arange(0, BLOCK_N)
    head = tl.program_id(1).to(tl.int64)
    sequence = tl.program_id(2).to(tl.int64)
    query_count, key_count = _lengths(query_lengths, key_lengths, sequence, query_count, key_count, RAGGED)
    inside = (rows[:, None] < query_count) & (keys[None, :] < key_count)
    scores += sequence * score_strides[0] + head * score_strides[1]
    pointers = _tile_pointers(scores, score_strides, rows, keys)
    tile = tl.load(pointers, mask=inside, other=0.0).to(tl.float32)
    tile = hide_scores(tile, rows, query_count, keys, key_count, CAUSAL)
    row_max = tl.max(tile, 1)
    # A row that sees no key has the maximum -inf; subtracting it would give NaN.
    finite_max = tl.where(row_max == float("-inf"), 0.0, row_max)
    weights = tl.exp2((tile - finite_max[:, None]) * log2_e)
    row_sum = tl.sum(weights, 1)
    divisor = tl.where(row_sum > 0.0, row_sum, 1.0)
    logarithm = tl.where(row_sum > 0.0, finite_max + tl.log(divisor), float("-inf"))
    probabilities += sequence * probability_strides[0] + head * probability_strides[1]
    pointers = _tile_pointers(probabilities, probability_strides, rows, keys)
    result = weights / divisor[:, None]
    tl.store(pointers, result.to(probabilities.dtype.element_ty), mask=inside)
    lse_rows = lse + sequence * lse_strides[0] + head * lse_strides[1] + rows * lse_strides[2]
    tl.store(lse_rows, logarithm, mask=rows < query_count)


@triton.jit
def value_kernel(
    probabilities: tl.tensor, v: tl.tensor, o: tl.tensor, query_lengths: tl.tensor, key_lengths: tl.tensor,
    probability_strides: tl.tuple, v_strides: tl.tuple, o_strides: tl.tuple, query_count: tl.tensor,
    key_count: tl.tensor, GROUP: tl.constexpr, RAGGED: tl.constexpr, VALUE_DEPTH: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_F: tl.constexpr,
) -> None:  # fmt: skip
    """Probabilities times values: grid (query tiles, heads, sequences)."""
    first_row = tl.program_id(0) * BLOCK_M
    rows = first_row + tl.arange(0, BLOCK_M)
    head = tl.program_id(1).to(tl.int64)
    sequence = tl.program_id(2).to(tl.int64)
    query_count, key_count = _lengths(query_lengths, key_lengths, sequence, query_count, key_count, RAGGED)
    probabilities += sequence * probability_strides[0] + head * probability_strides[1]
    v += sequence * v_strides[0] + (head // GROUP) * v_strides[1]
    accumulator = tl.zeros((BLOCK_M, BLOCK_F), tl.float32)
    for start in range(0, tl.where(first_row < query_count, key_count, 0), BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        inside = (rows[:, None] < query_count) & (keys[None, :] < key_count)
        pointers = _tile_pointers(probabilities, probability_strides, rows, keys)
        v_tile = load_rows(v, v_strides, keys, key_count, VALUE_DEPTH, BLOCK_F, True)
        weights = tl.load(pointers, mask=inside, other=0.0).to(v_tile.dtype)
        accumulator = tl.dot(weights, v_tile, accumulator, input_precision="ieee")
    o += sequence * o_strides[0] + head * o_strides[1]
    store_rows(o, o_strides, rows, query_count, accumulator, VALUE_DEPTH, BLOCK_F)


def make_inputs(parameters: Mapping[str, Value], seed: int) -> dict[str, Any]:
    """Keyword arguments of :func:`unfused` for the parameters of ``unfused.yaml``, on the CPU.

    Q, K and V are standard normal, drawn in this order from one generator seeded with ``seed``.
    """
    sizes = counts(parameters)
    options = {name: sizes[name] for name in ("tile_queries", "tile_keys", "tile_rows")}
    lengths = given_lengths(parameters, query_lengths=sizes["queries"], key_lengths=sizes["sequence"])
    return {
        **attention_inputs(parameters, seed),
        **options,
        **lengths,
        "causal": bool(parameters["causal"]),
        "score_precision": str(parameters["score_precision"]),
    }


def _write_scores(
    q: torch.Tensor, k: torch.Tensor, scores: torch.Tensor, lengths: Lengths, tiles: tuple[int, int]
) -> None:
    batch, heads, queries, keys = scores.shape
    depth = q.shape[3]
    grid = (triton.cdiv(queries, tiles[0]), triton.cdiv(keys, tiles[1]), batch * heads)
    score_kernel[grid](
        q, k, scores, *lengths, q.stride(), k.stride(), scores.stride(), queries, keys, depth**-0.5,
        HEADS=heads, GROUP=heads // k.shape[1], RAGGED=lengths[0] is not None, DEPTH=depth, BLOCK_M=tiles[0],
        BLOCK_N=tiles[1], BLOCK_E=padded(depth),
    )  # fmt: skip


def _write_output(
    probabilities: torch.Tensor, v: torch.Tensor, o: torch.Tensor, lengths: Lengths, tiles: tuple[int, int]
) -> None:
    batch, heads, queries, keys = probabilities.shape
    depth = v.shape[3]
    value_kernel[(triton.cdiv(queries, tiles[0]), heads, batch)](
        probabilities, v, o, *lengths, probabilities.stride(), v.stride(), o.stride(), queries, keys,
        GROUP=heads // v.shape[1], RAGGED=lengths[0] is not None, VALUE_DEPTH=depth, BLOCK_M=tiles[0],
        BLOCK_N=tiles[1], BLOCK_F=padded(depth),
    )  # fmt: skip


def unfused(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool = False,
    query_lengths: torch.Tensor | None = None, key_lengths: torch.Tensor | None = None,
    score_precision: str = "fp32", tile_queries: int = 64, tile_keys: int = 64, tile_rows: int = 16,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Softmax attention over ``(batch, heads, rows, depth)`` tensors and its natural log-sum-exp.

    Scores are scaled by ``1 / sqrt(depth)``; a causal mask lets the last query see the last key. Rows at and
    beyond a sequence's query length, and rows that see no key, hold zeros and a log-sum-exp of -inf.
    ``score_precision`` is that of the scores and probabilities in memory.

    Returns
    -------
    tuple
        Output ``(batch, heads, queries, value depth)`` in the inputs' precision, and the log-sum-exp
        ``(batch, heads, queries)`` in fp32.

    Raises
    ------
    WorkloadError
        If shapes, head counts, lengths, tile sizes or the precision do not fit together, or rows are longer
        than the softmax takes.
    MissingDependencyError
        If the tensors are on the CPU and the interpreter is off.
    TraceError
        If the tensors are bf16 and the interpreter is on.
    """
    check_attention(q, k, v, (tile_queries, tile_keys))
    batch, heads, queries, _ = q.shape
    keys = v.shape[2]
    checks.refuse(
        checks.both_lengths(query_lengths, key_lengths, batch, (queries, keys)),
        checks.tiles(tile_rows=tile_rows),
        [f"{keys} keys: the softmax takes at most {LONGEST_ROW} in a row"] if keys > LONGEST_ROW else [],
        [] if score_precision in PRECISIONS else [f"score_precision '{score_precision}' is no precision"],
    )
    stored = PRECISIONS[score_precision]
    scores = torch.zeros(batch, heads, queries, keys, dtype=stored, device=q.device)
    check_device(q, k, v, scores)
    lengths, tiles = (query_lengths, key_lengths), (tile_queries, tile_keys)
    _write_scores(q, k, scores, lengths, tiles)
    probabilities = torch.zeros_like(scores)
    o, lse = output_tensors(q, v.shape[3])
    softmax_kernel[(triton.cdiv(queries, tile_rows), heads, batch)](
        scores, probabilities, lse, *lengths, scores.stride(), probabilities.stride(), lse.stride(), queries,
        keys, LOG2_E, CAUSAL=causal, RAGGED=query_lengths is not None, BLOCK_M=tile_rows,
        BLOCK_N=triton.next_power_of_2(keys),
    )  # fmt: skip
    _write_output(probabilities, v, o, lengths, tiles)
    return o, lse
