# mypy: disallow-untyped-decorators=False
"""Flash attention with modified scores and a choice of normaliser: softmax or sigmoid.

Modelled: scores as they are, soft-capped (``cap tanh(score / cap)``), or with a linear bias by distance
(ALiBi, slopes per head); softmax with log-sum-exp output, or an element-wise sigmoid with a constant bias,
which needs no maximum and no sum; causal masks, grouped heads; fp16, bf16 (on a GPU only) and fp32 operands,
fp32 accumulation. Not modelled: modifications that need their own matrix product, backward.
"""

import math
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
    softmax_step,
    store_rows,
)
from dse.kernels.launch import check_device
from dse.workloads.trace import Value

MODIFICATIONS = ("none", "softcap", "alibi")
NORMALISERS = ("softmax", "sigmoid")


@triton.jit
def _modified(
    scores: tl.tensor,
    keys: tl.tensor,
    rows: tl.tensor,
    slope: tl.tensor,
    cap: tl.tensor,
    exponent: tl.tensor,
    MODIFICATION: tl.constexpr,
) -> tl.tensor:
    """Scores in base 2 after their modification; tanh is written with one exponential and one division."""
    if MODIFICATION == "softcap":
        scores = cap - 2.0 * cap / (1.0 + tl.exp2(scores * exponent))
    if MODIFICATION == "alibi":
        scores = scores - slope * tl.abs(rows[:, None] - keys[None, :]).to(tl.float32)
    return scores


@triton.jit
def score_mod_kernel(
    q: tl.tensor, k: tl.tensor, v: tl.tensor, slopes: tl.tensor, o: tl.tensor, lse: tl.tensor,
    q_strides: tl.tuple, k_strides: tl.tuple, v_strides: tl.tuple, o_strides: tl.tuple, lse_strides: tl.tuple,
    query_count: tl.tensor, key_count: tl.tensor, scale_log2: tl.tensor, cap_log2: tl.tensor,
    exponent: tl.tensor, bias_log2: tl.tensor, GROUP: tl.constexpr, CAUSAL: tl.constexpr,
    MODIFICATION: tl.constexpr, SIGMOID: tl.constexpr, DEPTH: tl.constexpr, VALUE_DEPTH: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr,
) -> None:  # fmt: skip
    """One tile of query rows of one head: grid (query tiles, heads, sequences)."""
    head = tl.program_id(1).to(tl.int64)
    sequence = tl.program_id(2).to(tl.int64)
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    k_head = k + sequence * k_strides[0] + (head // GROUP) * k_strides[1]
    v_head = v + sequence * v_strides[0] + (head // GROUP) * v_strides[1]
    q_head = q + sequence * q_strides[0] + head * q_strides[1]
    q_tile = load_rows(q_head, q_strides, rows, query_count, DEPTH, BLOCK_E, True)
    slope = cap_log2
    if MODIFICATION == "alibi":
        slope = tl.load(slopes + head)
    accumulator = tl.zeros((BLOCK_M, BLOCK_F), tl.float32)
    row_max = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    row_sum = tl.zeros((BLOCK_M,), tl.float32)
    last = rows + (key_count - query_count)
    stop = key_count
    if CAUSAL:
        end_row = tl.minimum(query_count, (tl.program_id(0) + 1) * BLOCK_M)
        stop = tl.maximum(0, tl.minimum(key_count, end_row + (key_count - query_count)))
    for first in range(0, stop, BLOCK_N):
        keys = first + tl.arange(0, BLOCK_N)
        k_tile = load_rows(k_head, k_strides, keys, key_count, DEPTH, BLOCK_E, True)
        scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * scale_log2
        scores = _modified(scores, keys, last, slope, cap_log2, exponent, MODIFICATION)
        visible = (keys[None, :] < key_count) & (rows[:, None] < query_count)
        if CAUSAL:
            visible = visible & (keys[None, :] <= last[:, None])
        scores = tl.where(visible, scores, float("-inf"))
        v_tile = load_rows(v_head, v_strides, keys, key_count, VALUE_DEPTH, BLOCK_F, True)
        if SIGMOID:
            weights = 1.0 / (1.0 + tl.exp2(-bias_log2 - scores))
        else:
            weights, rescale, row_max, row_sum = softmax_step(scores, row_max, row_sum, True)
            accumulator = accumulator * rescale[:, None]
        accumulator = tl.dot(weights.to(v_tile.dtype), v_tile, accumulator, input_precision="ieee")
    if not SIGMOID:
        accumulator, logarithm = softmax_end(accumulator, row_max, row_sum)
        lse_rows = lse + sequence * lse_strides[0] + head * lse_strides[1] + rows * lse_strides[2]
        tl.store(lse_rows, logarithm, mask=rows < query_count)
    o_head = o + sequence * o_strides[0] + head * o_strides[1]
    store_rows(o_head, o_strides, rows, query_count, accumulator, VALUE_DEPTH, BLOCK_F)


def make_inputs(parameters: Mapping[str, Value], seed: int) -> dict[str, Any]:
    """Keyword arguments of :func:`score_mod` for the parameters of ``score_mod.yaml``, on the CPU."""
    sizes = counts(parameters)
    return {
        **attention_inputs(parameters, seed),
        "modification": str(parameters["modification"]),
        "normaliser": str(parameters["normaliser"]),
        "cap": float(str(parameters.get("cap", 20.0))),
        "causal": bool(parameters["causal"]),
        "tile_queries": sizes["tile_queries"],
        "tile_keys": sizes["tile_keys"],
    }


def alibi_slopes(heads: int) -> torch.Tensor:
    """Slope of each head: powers of ``2 ** (-8 / heads)``; ALiBi's rule for a power of two of heads."""
    return 2.0 ** (-8.0 / heads * (torch.arange(heads, dtype=torch.float32) + 1.0))


def score_mod(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    modification: str = "none",
    normaliser: str = "softmax",
    cap: float = 20.0,
    causal: bool = False,
    tile_queries: int = 64,
    tile_keys: int = 64,
) -> tuple[torch.Tensor, ...]:
    """Attention with modified scores, and with softmax also its natural log-sum-exp.

    Tensors are ``(batch, heads, rows, depth)``. Scores are scaled by ``1 / sqrt(depth)``, then modified: by
    ``none``, ``softcap`` with ``cap``, or ``alibi``, whose distances count from the key a row is aligned to.
    The ``sigmoid`` normaliser adds the bias ``-ln(keys)`` and has no log-sum-exp.

    Raises
    ------
    WorkloadError
        If shapes or tiles do not fit, or a choice is unknown.
    MissingDependencyError
        If the tensors are on the CPU and the interpreter is off.
    TraceError
        If the tensors are bf16 and the interpreter is on.
    """
    check_attention(q, k, v, (tile_queries, tile_keys))
    if modification not in MODIFICATIONS or normaliser not in NORMALISERS or not cap > 0:
        raise WorkloadError(
            f"modification '{modification}' must be one of {', '.join(MODIFICATIONS)}, "
            f"normaliser '{normaliser}' one of {', '.join(NORMALISERS)}, cap {cap:g} more than 0"
        )
    check_device(q, k, v)
    batch, heads, queries, depth = q.shape
    keys, value_depth = v.shape[2:]
    o, lse = output_tensors(q, value_depth)
    sigmoid = normaliser == "sigmoid"
    slopes = (alibi_slopes(heads) * LOG2_E).to(q.device) if modification == "alibi" else None
    score_mod_kernel[(triton.cdiv(queries, tile_queries), heads, batch)](
        q, k, v, slopes, o, None if sigmoid else lse, q.stride(), k.stride(), v.stride(), o.stride(),
        lse.stride(), queries, keys, depth**-0.5 * LOG2_E, cap * LOG2_E, 2.0 / cap, -math.log2(keys),
        GROUP=heads // k.shape[1], CAUSAL=causal, MODIFICATION=modification, SIGMOID=sigmoid, DEPTH=depth,
        VALUE_DEPTH=value_depth, BLOCK_M=tile_queries, BLOCK_N=tile_keys, BLOCK_E=padded(depth),
        BLOCK_F=padded(value_depth),
    )  # fmt: skip
    return (o,) if sigmoid else (o, lse)
