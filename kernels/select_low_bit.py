# mypy: disallow-untyped-decorators=False
"""Estimate, select, attend with low-bit scores: integer products of quantised queries and keys.

Modelled: the largest low-bit score of each pair of blocks as its estimate; selection and attention are those
of ``select_attend``. Launches: estimate, select, attend. Codes take one byte each whatever their bits. Not
modelled: quantising (codes and scales are inputs of the estimate, as a cache would hold them).
"""

from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl

from dse.errors import WorkloadError
from dse.kernels import select_attend
from dse.kernels.common import check_attention, counts, load_rows, padded
from dse.kernels.launch import check_device
from dse.workloads.trace import Value

SMALLEST_INTEGER_DOT = 32


@triton.jit
def low_bit_estimate_kernel(
    q_codes: tl.tensor,
    k_codes: tl.tensor,
    q_scales: tl.tensor,
    k_scales: tl.tensor,
    estimates: tl.tensor,
    q_strides: tl.tuple,
    k_strides: tl.tuple,
    q_scale_strides: tl.tuple,
    k_scale_strides: tl.tuple,
    estimate_strides: tl.tuple,
    query_count: tl.tensor,
    key_count: tl.tensor,
    GROUP: tl.constexpr,
    DEPTH: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
) -> None:
    """Largest score of a query block with each key block: grid (query blocks, heads, sequences)."""
    head = tl.program_id(1).to(tl.int64)
    sequence = tl.program_id(2).to(tl.int64)
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    q_head = q_codes + sequence * q_strides[0] + head * q_strides[1]
    k_head = k_codes + sequence * k_strides[0] + (head // GROUP) * k_strides[1]
    row_scales = q_scales + sequence * q_scale_strides[0] + head * q_scale_strides[1] + rows
    key_scales = k_scales + sequence * k_scale_strides[0] + (head // GROUP) * k_scale_strides[1]
    out = estimates + sequence * estimate_strides[0] + head * estimate_strides[1]
    out += tl.program_id(0).to(tl.int64) * estimate_strides[2]
    q_tile = load_rows(q_head, q_strides, rows, query_count, DEPTH, BLOCK_E, True)
    row_scale = tl.load(row_scales, mask=rows < query_count, other=0.0)
    for first in range(0, key_count, BLOCK_N):
        keys = first + tl.arange(0, BLOCK_N)
        k_tile = load_rows(k_head, k_strides, keys, key_count, DEPTH, BLOCK_E, True)
        key_scale = tl.load(key_scales + keys, mask=keys < key_count, other=0.0)
        products = tl.dot(q_tile, tl.trans(k_tile), out_dtype=tl.int32).to(tl.float32)
        scores = products * row_scale[:, None] * key_scale[None, :]
        inside = (rows[:, None] < query_count) & (keys[None, :] < key_count)
        largest = tl.max(tl.max(tl.where(inside, scores, float("-inf")), 1), 0)
        tl.store(out + first // BLOCK_N, largest)


def make_inputs(parameters: Mapping[str, Value], seed: int) -> dict[str, Any]:
    """Keyword arguments of :func:`select_low_bit` for the parameters of ``select_low_bit.yaml``, on the CPU."""
    return select_attend.make_inputs(parameters, seed) | {"bits": counts(parameters)["bits"]}


def quantised(tensor: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Symmetric int8 codes and the fp32 scale of each row; its largest element sets the scale."""
    largest = tensor.float().abs().amax(dim=-1)
    scales = torch.where(largest > 0, largest, 1.0) / (2 ** (bits - 1) - 1)
    return torch.round(tensor.float() / scales[..., None]).to(torch.int8), scales


def select_low_bit(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    keep: int,
    bits: int = 4,
    causal: bool = False,
    tile_queries: int = 64,
    tile_keys: int = 64,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention over the ``keep`` key blocks that hold the largest score in ``bits`` (2 to 8) bits.

    Tensors are ``(batch, heads, rows, depth)``; scores are scaled by ``1 / sqrt(depth)``. The causal mask hides
    keys from the attention and blocks from the selection, not keys from the estimate.

    Returns
    -------
    tuple
        Output in the inputs' precision, and the natural log-sum-exp over the selected blocks in fp32.

    Raises
    ------
    WorkloadError
        If shapes, tiles, ``keep`` or ``bits`` do not fit.
    MissingDependencyError
        If the tensors are on the CPU and the interpreter is off.
    TraceError
        If the tensors are bf16 and the interpreter is on.
    """
    check_attention(q, k, v, (tile_queries, tile_keys))
    if not 2 <= bits <= 8:
        raise WorkloadError(f"bits {bits} must lie from 2 to 8")
    check_device(q, k, v)
    batch, heads, queries, depth = q.shape
    keys = k.shape[2]
    query_blocks, key_blocks = triton.cdiv(queries, tile_queries), triton.cdiv(keys, tile_keys)
    estimates = torch.empty(batch, heads, query_blocks, key_blocks, device=q.device)
    (q_codes, q_scales), (k_codes, k_scales) = quantised(q, bits), quantised(k, bits)
    low_bit_estimate_kernel[(query_blocks, heads, batch)](
        q_codes, k_codes, q_scales, k_scales, estimates, q_codes.stride(), k_codes.stride(),
        q_scales.stride(), k_scales.stride(), estimates.stride(), queries, keys,
        GROUP=heads // k.shape[1], DEPTH=depth, BLOCK_M=tile_queries, BLOCK_N=tile_keys,
        BLOCK_E=max(SMALLEST_INTEGER_DOT, padded(depth)),
    )  # fmt: skip
    return select_attend.attend_selected(q, k, v, estimates, keep, causal, tile_queries, tile_keys)
