# mypy: disallow-untyped-decorators=False
"""Importance of keys: column sums of the attention probabilities, from scores and log-sum-exps.

A one-pass softmax never holds normalised probabilities; with its log-sum-exps they follow from the scores,
``p = exp(s - lse)``. Modelled: causal masks aligned to the last key (tiles of rows that see none of the keys
are skipped), lengths that vary by sequence. Not modelled: sums over heads, layers and steps, which are sums
of the results.

The same source runs on a CUDA GPU and, with TRITON_INTERPRET=1, in Triton's interpreter.
"""

from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl

from dse.kernels import checks
from dse.kernels.common import LOG2_E, counts, standard_normal
from dse.kernels.inputs import given_lengths
from dse.kernels.launch import check_device
from dse.workloads.trace import Value


@triton.jit
def importance_kernel(
    scores: tl.tensor, lse: tl.tensor, importance: tl.tensor, query_lengths: tl.tensor,
    key_lengths: tl.tensor, score_strides: tl.tuple, lse_strides: tl.tuple, importance_strides: tl.tuple,
    query_count: tl.tensor, key_count: tl.tensor, log2_e: tl.tensor, CAUSAL: tl.constexpr,
    RAGGED: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
) -> None:  # fmt: skip
    """Sums of a tile of columns: grid (key tiles, heads, sequences)."""
    first_key = tl.program_id(0) * BLOCK_N
    head = tl.program_id(1).to(tl.int64)
    sequence = tl.program_id(2).to(tl.int64)
    if RAGGED:
        query_count = tl.load(query_lengths + sequence)
        key_count = tl.load(key_lengths + sequence)
    keys = first_key + tl.arange(0, BLOCK_N)
    scores += sequence * score_strides[0] + head * score_strides[1]
    lse += sequence * lse_strides[0] + head * lse_strides[1]
    total = tl.zeros((BLOCK_N,), tl.float32)
    first_row = 0
    if CAUSAL:
        # The first row that sees the first key of the tile; whole tiles of rows before it see none.
        first_row = tl.maximum(0, first_key - (key_count - query_count)) // BLOCK_M * BLOCK_M
    for start in range(first_row, tl.where(first_key < key_count, query_count, 0), BLOCK_M):
        rows = start + tl.arange(0, BLOCK_M)
        visible = (rows[:, None] < query_count) & (keys[None, :] < key_count)
        pointers = scores + rows[:, None].to(tl.int64) * score_strides[2] + keys[None, :] * score_strides[3]
        tile = tl.load(pointers, mask=visible, other=0.0).to(tl.float32)
        row_lse = tl.load(lse + rows * lse_strides[2], mask=rows < query_count, other=0.0)
        # A row that sees no key has the log-sum-exp -inf, and every key of it is hidden below.
        row_lse = tl.where(row_lse == float("-inf"), 0.0, row_lse)
        if CAUSAL:
            visible = visible & (keys[None, :] <= rows[:, None] + (key_count - query_count))
        tile = tl.where(visible, (tile - row_lse[:, None]) * log2_e, float("-inf"))
        total += tl.sum(tl.exp2(tile), 0)
    columns = importance + sequence * importance_strides[0] + head * importance_strides[1]
    tl.store(columns + keys * importance_strides[2], total, mask=(keys < key_count) & (query_count > 0))


def make_inputs(parameters: Mapping[str, Value], seed: int) -> dict[str, Any]:
    """Keyword arguments of :func:`importance` for the parameters of ``importance.yaml``, on the CPU.

    Scores are standard normal and rounded to their precision, log-sum-exps those of the visible scores.
    """
    from dse.kernels.importance_naive import visible_pairs

    sizes = counts(parameters)
    shape = (sizes["batch"], sizes["heads"], sizes["queries"], sizes["sequence"])
    scores = standard_normal({"scores": shape}, parameters["precision"], seed)["scores"]
    lengths = given_lengths(parameters, query_lengths=sizes["queries"], key_lengths=sizes["sequence"])
    causal = bool(parameters["causal"])
    seen = visible_pairs(shape, causal, lengths.get("query_lengths"), lengths.get("key_lengths"))
    lse = torch.logsumexp(scores.double().masked_fill(~seen, float("-inf")), dim=-1).float()
    options = {name: sizes[name] for name in ("tile_queries", "tile_keys")}
    return {"scores": scores, "lse": lse, "causal": causal, **lengths, **options}


def importance(
    scores: torch.Tensor, lse: torch.Tensor, causal: bool = False,
    query_lengths: torch.Tensor | None = None, key_lengths: torch.Tensor | None = None,
    tile_queries: int = 64, tile_keys: int = 64,
) -> tuple[torch.Tensor]:  # fmt: skip
    """Sum over queries of the probability of each key, ``(batch, heads, keys)`` in fp32.

    Scores ``(batch, heads, queries, keys)`` and log-sum-exps ``(batch, heads, queries)`` are natural, scaled
    and finite where a row sees a key; hidden scores are not read. Keys beyond a sequence's length hold 0.

    Raises
    ------
    WorkloadError
        If shapes, lengths or tile sizes do not fit together.
    MissingDependencyError
        If the tensors are on the CPU and the interpreter is off.
    TraceError
        If the scores are bf16 and the interpreter is on.
    """
    tensors = {"scores": scores, "lse": lse}
    checks.refuse(checks.dimensions(tensors, {"scores": 4, "lse": 3}))
    batch, heads, queries, keys = scores.shape
    checks.refuse(
        checks.shapes(tensors, {"lse": (batch, heads, queries)}, "batch, heads and queries of scores"),
        checks.operands({"scores": scores}),
        checks.both_lengths(query_lengths, key_lengths, batch, (queries, keys)),
        checks.tiles(tile_queries=tile_queries, tile_keys=tile_keys),
    )
    check_device(scores, lse)
    sums = torch.zeros(batch, heads, keys, device=scores.device)
    importance_kernel[(triton.cdiv(keys, tile_keys), heads, batch)](
        scores, lse, sums, query_lengths, key_lengths, scores.stride(), lse.stride(), sums.stride(), queries,
        keys, LOG2_E, CAUSAL=causal, RAGGED=query_lengths is not None, BLOCK_M=tile_queries,
        BLOCK_N=tile_keys,
    )  # fmt: skip
    return (sums,)
