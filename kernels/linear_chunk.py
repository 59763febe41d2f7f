# mypy: disallow-untyped-decorators=False
"""Chunked linear attention with decay: products within a chunk, a key-value state between chunks.

Modelled: ``o[t] = q[t] S[t]`` with ``S[t] = decay S[t-1] + k[t]^T v[t]``, per head one decay in (0, 1];
optionally divided by ``q[t] z[t]`` with ``z[t] = decay z[t-1] + k[t]``; per-sequence lengths; the state after
the last row is an output. fp16, bf16 (on a GPU only) and fp32 operands, fp32 accumulation and state. Not
modelled: feature maps and score scale (applied to q and k before), gates that depend on data, backward.
"""

from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl

from dse.errors import WorkloadError
from dse.kernels.common import (
    PRECISIONS,
    SMALLEST_DOT,
    check_index,
    counts,
    load_rows,
    padded,
    standard_normal,
    store_rows,
)
from dse.kernels.launch import check_device
from dse.workloads.trace import Value


@triton.jit
def _visit_chunk(
    state: tl.tensor, key_sum: tl.tensor, q: tl.tensor, k: tl.tensor, v: tl.tensor, o: tl.tensor,
    q_strides: tl.tuple, k_strides: tl.tuple, v_strides: tl.tuple, o_strides: tl.tuple, first: tl.tensor,
    stop: tl.tensor, within: tl.tensor, since: tl.tensor, log2_decay: tl.tensor, NORMALISE: tl.constexpr,
    BOUNDED: tl.constexpr, DEPTH: tl.constexpr, VALUE_DEPTH: tl.constexpr, BLOCK_C: tl.constexpr,
    BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr,
) -> tl.tuple:  # fmt: skip
    """Output of one chunk, and the state and sum of keys after it.

    ``within`` is the decay from a key to a query of the chunk, ``since`` that from before it to a query.
    """
    places = tl.arange(0, BLOCK_C)
    rows = first + places
    size = tl.minimum(stop - first, BLOCK_C)
    until = tl.exp2(tl.maximum(size - 1 - places, 0) * log2_decay)
    q_tile = load_rows(q, q_strides, rows, stop, DEPTH, BLOCK_E, BOUNDED)
    k_tile = load_rows(k, k_strides, rows, stop, DEPTH, BLOCK_E, BOUNDED)
    v_tile = load_rows(v, v_strides, rows, stop, VALUE_DEPTH, BLOCK_F, BOUNDED)
    weights = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * within
    seen = (places[:, None] >= places[None, :]) & (rows[:, None] < stop)
    weights = tl.where(seen, weights, 0.0)
    result = tl.dot(
        (q_tile * since[:, None]).to(q_tile.dtype), state.to(q_tile.dtype), input_precision="ieee"
    )
    result = tl.dot(weights.to(v_tile.dtype), v_tile, result, input_precision="ieee")
    decayed = k_tile * until[:, None]
    after = tl.exp2(size * log2_decay)
    if NORMALISE:
        divisor = tl.sum(weights, 1) + tl.sum(q_tile * key_sum[None, :], 1) * since
        result = result / tl.where(rows < stop, divisor, 1.0)[:, None]
        key_sum = key_sum * after + tl.sum(decayed, 0)
    state = tl.dot(tl.trans(decayed.to(v_tile.dtype)), v_tile, state * after, input_precision="ieee")
    store_rows(o, o_strides, rows, stop, result, VALUE_DEPTH, BLOCK_F)
    return state, key_sum


@triton.jit
def linear_chunk_kernel(
    q: tl.tensor, k: tl.tensor, v: tl.tensor, decays: tl.tensor, o: tl.tensor, state_out: tl.tensor,
    key_sum_out: tl.tensor, lengths: tl.tensor, q_strides: tl.tuple, k_strides: tl.tuple, v_strides: tl.tuple,
    o_strides: tl.tuple, state_strides: tl.tuple, key_sum_strides: tl.tuple, row_count: tl.tensor,
    NORMALISE: tl.constexpr, RAGGED: tl.constexpr, DEPTH: tl.constexpr, VALUE_DEPTH: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr,
) -> None:  # fmt: skip
    """All chunks of one head in order: grid (heads, sequences)."""
    head = tl.program_id(0).to(tl.int64)
    sequence = tl.program_id(1).to(tl.int64)
    if RAGGED:
        row_count = tl.load(lengths + sequence)
    q_head = q + sequence * q_strides[0] + head * q_strides[1]
    k_head = k + sequence * k_strides[0] + head * k_strides[1]
    v_head = v + sequence * v_strides[0] + head * v_strides[1]
    o_head = o + sequence * o_strides[0] + head * o_strides[1]
    log2_decay = tl.log2(tl.load(decays + head))
    places = tl.arange(0, BLOCK_C)
    within = tl.exp2(tl.maximum(places[:, None] - places[None, :], 0) * log2_decay)
    since = tl.exp2((places + 1) * log2_decay)
    state = tl.zeros((BLOCK_E, BLOCK_F), tl.float32)
    key_sum = tl.zeros((BLOCK_E,), tl.float32)
    whole = row_count // BLOCK_C * BLOCK_C
    for first in range(0, whole, BLOCK_C):
        state, key_sum = _visit_chunk(
            state, key_sum, q_head, k_head, v_head, o_head, q_strides, k_strides, v_strides, o_strides, first,
            row_count, within, since, log2_decay, NORMALISE, False, DEPTH, VALUE_DEPTH, BLOCK_C, BLOCK_E,
            BLOCK_F,
        )  # fmt: skip
    for first in range(whole, row_count, BLOCK_C):
        state, key_sum = _visit_chunk(
            state, key_sum, q_head, k_head, v_head, o_head, q_strides, k_strides, v_strides, o_strides, first,
            row_count, within, since, log2_decay, NORMALISE, True, DEPTH, VALUE_DEPTH, BLOCK_C, BLOCK_E,
            BLOCK_F,
        )  # fmt: skip
    state_head = state_out + sequence * state_strides[0] + head * state_strides[1]
    store_rows(state_head, state_strides, tl.arange(0, BLOCK_E), DEPTH, state, VALUE_DEPTH, BLOCK_F)
    if NORMALISE:
        columns = tl.arange(0, BLOCK_E)
        key_sum_head = key_sum_out + sequence * key_sum_strides[0] + head * key_sum_strides[1]
        tl.store(key_sum_head + columns * key_sum_strides[2], key_sum, mask=columns < DEPTH)


def unit_rows(
    parameters: Mapping[str, Value], rows: int, seed: int, positive: bool = False
) -> dict[str, torch.Tensor]:
    """Features ``q`` and ``k``, normal ``v``, and decays of heads as RetNet sets them.

    Keys are of unit length, queries of a length that keeps outputs at unit scale however long the sequence.
    ``positive`` features are what a divisor needs.
    """
    sizes = counts(parameters)
    outer = (sizes["batch"], sizes["heads"], rows)
    shapes = {
        "q": (*outer, sizes["head_dim"]),
        "k": (*outer, sizes["head_dim"]),
        "v": (*outer, sizes["value_dim"]),
    }
    tensors = standard_normal(shapes, "fp32", seed)
    for name in ("q", "k"):
        features = tensors[name].abs() if positive else tensors[name]
        tensors[name] = torch.nn.functional.normalize(features, dim=-1)
    decays = 1.0 - 2.0 ** (-5.0 - torch.arange(sizes["heads"]) % 8)
    tensors["q"] = tensors["q"] * (1.0 - decays**2).sqrt()[:, None, None]
    dtype = PRECISIONS[str(parameters["precision"])]
    return {name: tensor.to(dtype) for name, tensor in tensors.items()} | {"decays": decays}


def make_inputs(parameters: Mapping[str, Value], seed: int) -> dict[str, Any]:
    """Keyword arguments of :func:`linear_chunk` for the parameters of ``linear_chunk.yaml``, on the CPU."""
    sizes = counts(parameters)
    inputs: dict[str, Any] = dict(unit_rows(parameters, sizes["sequence"], seed))
    if parameters["lengths"]:
        inputs["lengths"] = torch.tensor(parameters["lengths"], dtype=torch.int32)
    return inputs | {"chunk": sizes["chunk"]}


def check_linear(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, decays: torch.Tensor) -> None:
    """Raise WorkloadError naming every shape or decay that linear attention cannot have."""
    problems = []
    if q.shape != k.shape or q.shape[:-1] != v.shape[:-1] or 0 in (*q.shape, *v.shape):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (q, k, v))
        problems.append(f"q, k, v are {shapes}: they must agree but for the value depth, and not be empty")
    if len({q.dtype, k.dtype, v.dtype}) > 1:
        problems.append(f"q, k and v have precisions {q.dtype}, {k.dtype}, {v.dtype}: they must agree")
    if decays.shape != (q.shape[1],) or not bool(((decays > 0) & (decays <= 1)).all()):
        problems.append(f"decays must hold a number above 0 and up to 1 for each of {q.shape[1]} heads")
    if problems:
        raise WorkloadError(*problems)


def linear_chunk(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    decays: torch.Tensor,
    lengths: torch.Tensor | None = None,
    normalise: bool = False,
    chunk: int = 64,
) -> tuple[torch.Tensor, ...]:
    """Causal linear attention of ``(batch, heads, rows, depth)`` tensors, and the state after the last row.

    Returns
    -------
    tuple
        Output in the inputs' precision, zero at and beyond a sequence's length; in fp32 the state ``(batch,
        heads, depth, value depth)`` and, with ``normalise``, the sum of keys ``(batch, heads, depth)``.

    Raises
    ------
    WorkloadError
        If shapes, decays, lengths or the chunk do not fit together.
    MissingDependencyError
        If the tensors are on the CPU and the interpreter is off.
    TraceError
        If the tensors are bf16 and the interpreter is on.
    """
    if {q.dim(), k.dim(), v.dim()} != {4}:
        raise WorkloadError("q, k and v must have 4 dimensions: batch, heads, rows, depth")
    check_linear(q, k, v, decays)
    if chunk < SMALLEST_DOT or chunk & (chunk - 1):
        raise WorkloadError(f"chunk {chunk} must be a power of two from {SMALLEST_DOT} up")
    batch, heads, rows, depth = q.shape
    value_depth = v.shape[3]
    if lengths is not None:
        check_index("lengths", lengths, (batch,), limit=rows + 1)
    check_device(q, k, v)
    o = torch.zeros_like(v)
    state = torch.empty(batch, heads, depth, value_depth, device=q.device)
    key_sum = torch.empty(batch, heads, depth, device=q.device) if normalise else None
    linear_chunk_kernel[(heads, batch)](
        q, k, v, decays, o, state, key_sum, lengths, q.stride(), k.stride(), v.stride(), o.stride(),
        state.stride(), (0, 0, 0) if key_sum is None else key_sum.stride(), rows, NORMALISE=normalise,
        RAGGED=lengths is not None, DEPTH=depth, VALUE_DEPTH=value_depth, BLOCK_C=chunk,
        BLOCK_E=padded(depth), BLOCK_F=padded(value_depth),
    )  # fmt: skip
    return (o, state) if key_sum is None else (o, state, key_sum)
