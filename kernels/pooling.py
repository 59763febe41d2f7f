# mypy: disallow-untyped-decorators=False
"""Means of blocks of rows: the cheap stand-in for queries and keys that estimators and agents use.

Modelled: blocks of equal size, the last one the mean of the rows it has; fp32 results. A launch of other
kernels, not a kernel with an annotation of its own.
"""

import torch
import triton
import triton.language as tl

from dse.kernels.common import load_rows, padded


@triton.jit
def pool_rows_kernel(
    rows_in: tl.tensor,
    means: tl.tensor,
    in_strides: tl.tuple,
    out_strides: tl.tuple,
    row_count: tl.tensor,
    SIZE: tl.constexpr,
    DEPTH: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_E: tl.constexpr,
) -> None:
    """Mean of one block of ``SIZE`` rows: grid (blocks, heads, sequences)."""
    block = tl.program_id(0)
    head = tl.program_id(1).to(tl.int64)
    sequence = tl.program_id(2).to(tl.int64)
    stop = tl.minimum(row_count, (block + 1) * SIZE)
    base = rows_in + sequence * in_strides[0] + head * in_strides[1]
    total = tl.zeros((BLOCK_E,), tl.float32)
    for first in range(block * SIZE, stop, BLOCK_M):
        tile = load_rows(base, in_strides, first + tl.arange(0, BLOCK_M), stop, DEPTH, BLOCK_E, True)
        total += tl.sum(tile.to(tl.float32), 0)
    columns = tl.arange(0, BLOCK_E)
    place = means + sequence * out_strides[0] + head * out_strides[1] + block.to(tl.int64) * out_strides[2]
    tl.store(place + columns * out_strides[3], total / (stop - block * SIZE), mask=columns < DEPTH)


def pool_rows(tensor: torch.Tensor, size: int, tile: int = 64) -> torch.Tensor:
    """Means of blocks of ``size`` rows of ``(batch, heads, rows, depth)``, in fp32."""
    batch, heads, rows, depth = tensor.shape
    blocks = triton.cdiv(rows, size)
    means = torch.empty(batch, heads, blocks, depth, dtype=torch.float32, device=tensor.device)
    pool_rows_kernel[(blocks, heads, batch)](
        tensor, means, tensor.stride(), means.stride(), rows,
        SIZE=size, DEPTH=depth, BLOCK_M=tile, BLOCK_E=padded(depth),
    )  # fmt: skip
    return means
