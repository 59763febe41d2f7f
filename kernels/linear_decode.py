# mypy: disallow-untyped-decorators=False
"""One step of linear attention with decay: the state takes in one key and value and answers one query.

Modelled: the recurrence of ``linear_chunk`` for one new row per sequence, at a cost that does not depend on
the rows before; fp16, bf16 (on a GPU only) and fp32 rows, fp32 state; optionally the divisor. The new state
is written to tensors of its own. Not modelled: several rows at once, gates that depend on data.
"""

from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl

from dse.errors import WorkloadError
from dse.kernels.common import counts, padded
from dse.kernels.launch import check_device
from dse.kernels.linear_chunk import check_linear, unit_rows
from dse.kernels.linear_chunk_naive import linear_chunk_naive
from dse.workloads.trace import Value


@triton.jit
def linear_decode_kernel(
    q: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    decays: tl.tensor,
    state: tl.tensor,
    key_sum: tl.tensor,
    o: tl.tensor,
    state_out: tl.tensor,
    key_sum_out: tl.tensor,
    heads: tl.tensor,
    NORMALISE: tl.constexpr,
    DEPTH: tl.constexpr,
    VALUE_DEPTH: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_F: tl.constexpr,
) -> None:
    """A tile of value columns of one head: grid (value tiles, heads, sequences); tensors are contiguous."""
    head = tl.program_id(1).to(tl.int64)
    place = tl.program_id(2).to(tl.int64) * heads + head
    rows = tl.arange(0, BLOCK_E)
    columns = tl.program_id(0) * BLOCK_F + tl.arange(0, BLOCK_F)
    in_row, in_column = rows < DEPTH, columns < VALUE_DEPTH
    inside = in_row[:, None] & in_column[None, :]
    decay = tl.load(decays + head)
    query = tl.load(q + place * DEPTH + rows, mask=in_row, other=0.0).to(tl.float32)
    key = tl.load(k + place * DEPTH + rows, mask=in_row, other=0.0).to(tl.float32)
    value = tl.load(v + place * VALUE_DEPTH + columns, mask=in_column, other=0.0).to(tl.float32)
    elements = place * (DEPTH * VALUE_DEPTH) + rows[:, None] * VALUE_DEPTH + columns[None, :]
    before = tl.load(state + elements, mask=inside, other=0.0)
    after = before * decay + key[:, None] * value[None, :]
    result = tl.sum(query[:, None] * after, 0)
    if NORMALISE:
        sums = tl.load(key_sum + place * DEPTH + rows, mask=in_row, other=0.0) * decay + key
        result = result / tl.sum(query * sums, 0)
        if tl.program_id(0) == 0:
            tl.store(key_sum_out + place * DEPTH + rows, sums, mask=in_row)
    tl.store(state_out + elements, after, mask=inside)
    tl.store(o + place * VALUE_DEPTH + columns, result.to(o.dtype.element_ty), mask=in_column)


def make_inputs(parameters: Mapping[str, Value], seed: int) -> dict[str, Any]:
    """Keyword arguments of :func:`linear_decode` for the parameters of ``linear_decode.yaml``, on the CPU.

    The state is that of ``history`` rows before this one.
    """
    sizes = counts(parameters)
    rows = unit_rows(parameters, sizes["history"] + 1, seed)
    decays = rows.pop("decays")
    q, k, v = (rows[name][:, :, :-1] for name in "qkv")
    state = linear_chunk_naive(q, k, v, decays)[1]
    return {
        **{name: tensor[:, :, -1:].contiguous() for name, tensor in rows.items()},
        "decays": decays,
        "state": state.float(),
        "tile_values": sizes["tile_values"],
    }


def _check_state(name: str, tensor: torch.Tensor, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape or tensor.dtype != torch.float32:
        raise WorkloadError(f"{name} must be fp32 of shape {shape}, not {tensor.dtype} {tuple(tensor.shape)}")


def linear_decode(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    decays: torch.Tensor,
    state: torch.Tensor,
    key_sum: torch.Tensor | None = None,
    tile_values: int = 64,
) -> tuple[torch.Tensor, ...]:
    """Answer of one row ``(batch, heads, 1, depth)`` and the state after it.

    Parameters
    ----------
    state
        ``(batch, heads, depth, value depth)``, fp32.
    key_sum
        Decayed sum of keys ``(batch, heads, depth)``, fp32; if given, the answer is divided as in
        ``linear_chunk`` with ``normalise``, and the new sum is returned last.

    Raises
    ------
    WorkloadError
        If shapes, decays or the tile do not fit together.
    MissingDependencyError
        If the tensors are on the CPU and the interpreter is off.
    TraceError
        If the tensors are bf16 and the interpreter is on.
    """
    if {q.dim(), k.dim(), v.dim()} != {4} or q.shape[2] != 1:
        raise WorkloadError("q, k and v must have 4 dimensions: batch, heads, 1 row, depth")
    check_linear(q, k, v, decays)
    batch, heads, _, depth = q.shape
    value_depth = v.shape[3]
    _check_state("state", state, (batch, heads, depth, value_depth))
    if key_sum is not None:
        _check_state("key_sum", key_sum, (batch, heads, depth))
    if tile_values < 1 or tile_values & (tile_values - 1):
        raise WorkloadError(f"tile_values {tile_values} must be a power of two")
    check_device(q, k, v)
    tile = min(tile_values, padded(value_depth))
    o, state_out = torch.empty_like(v), torch.empty_like(state)
    key_sum_out = None if key_sum is None else torch.empty_like(key_sum)
    linear_decode_kernel[(triton.cdiv(value_depth, tile), heads, batch)](
        q.contiguous(), k.contiguous(), v.contiguous(), decays, state.contiguous(),
        None if key_sum is None else key_sum.contiguous(), o, state_out, key_sum_out, heads,
        NORMALISE=key_sum is not None, DEPTH=depth, VALUE_DEPTH=value_depth, BLOCK_E=padded(depth),
        BLOCK_F=tile,
    )  # fmt: skip
    return (o, state_out) if key_sum_out is None else (o, state_out, key_sum_out)
