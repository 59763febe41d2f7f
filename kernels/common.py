# mypy: disallow-untyped-decorators=False
"""What several Triton kernels share: tiles of rows, steps of the online softmax, input tensors and checks.

A matrix product stays in the file of its kernel, because a trace tells products apart by their lines there.
"""

from collections.abc import Mapping, Sequence

import torch
import triton
import triton.language as tl

from dse.errors import WorkloadError
from dse.kernels import flash_forward
from dse.workloads.trace import Value

LOG2_E = flash_forward.LOG2_E
LN_2: tl.constexpr = flash_forward.LN_2
PRECISIONS = flash_forward.PRECISIONS
SMALLEST_DOT = flash_forward.SMALLEST_DOT

load_rows = flash_forward._load_rows
store_rows = flash_forward._store_rows


@triton.jit
def softmax_step(
    scores: tl.tensor, row_max: tl.tensor, row_sum: tl.tensor, GUARDED: tl.constexpr
) -> tl.tuple:
    """Weights of a tile of base-2 scores, the factor for what came before, and the new maximum and sum.

    A row may have seen no key yet only if ``GUARDED``: its maximum is -inf, and subtracting it gives NaN.
    """
    return softmax_rescale(scores, tl.max(scores, 1), row_max, row_sum, GUARDED)


@triton.jit
def softmax_rescale(
    scores: tl.tensor, largest: tl.tensor, row_max: tl.tensor, row_sum: tl.tensor, GUARDED: tl.constexpr
) -> tl.tuple:
    """The same where the largest score of each row of the tile is known."""
    new_max = tl.maximum(row_max, largest)
    finite_max = new_max
    if GUARDED:
        finite_max = tl.where(new_max == float("-inf"), 0.0, new_max)
    weights = tl.exp2(scores - finite_max[:, None])
    rescale = tl.exp2(row_max - finite_max)
    return weights, rescale, new_max, row_sum * rescale + tl.sum(weights, 1)


@triton.jit
def softmax_end(accumulator: tl.tensor, row_max: tl.tensor, row_sum: tl.tensor) -> tl.tuple:
    """Normalised output and natural log-sum-exp; rows that saw no key give zeros and -inf."""
    divisor = tl.where(row_sum > 0.0, row_sum, 1.0)
    logarithm = tl.where(row_sum > 0.0, (row_max + tl.log2(divisor)) * LN_2, float("-inf"))
    return accumulator / divisor[:, None], logarithm


def padded(depth: int) -> int:
    """Smallest tile extent that holds ``depth``: a power of two that a matrix product accepts."""
    return max(SMALLEST_DOT, int(triton.next_power_of_2(depth)))


def standard_normal(
    shapes: Mapping[str, Sequence[int]], precision: Value, seed: int
) -> dict[str, torch.Tensor]:
    """Tensors of the given shapes on the CPU, drawn in order from one generator seeded with ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    dtype = PRECISIONS[str(precision)]
    return {name: torch.randn(tuple(shape), generator=generator).to(dtype) for name, shape in shapes.items()}


def counts(parameters: Mapping[str, Value]) -> dict[str, int]:
    """The parameters that are whole numbers."""
    return {
        name: value
        for name, value in parameters.items()
        if isinstance(value, int) and not isinstance(value, bool)
    }


def attention_inputs(parameters: Mapping[str, Value], seed: int) -> dict[str, torch.Tensor]:
    """Standard normal ``q``, ``k`` and ``v`` of ``(batch, heads, rows, depth)`` for the usual parameters."""
    sizes = counts(parameters)
    keys = (sizes["batch"], sizes["kv_heads"], sizes["sequence"])
    shapes = {
        "q": (sizes["batch"], sizes["heads"], sizes["queries"], sizes["head_dim"]),
        "k": (*keys, sizes["head_dim"]),
        "v": (*keys, sizes["value_dim"]),
    }
    return standard_normal(shapes, parameters["precision"], seed)


def check_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, tiles: tuple[int, int]) -> None:
    """Raise WorkloadError naming every shape, head ratio or tile size that softmax attention cannot have.

    Keys and values must have the same heads: only ``flash_forward`` takes others.
    """
    flash_forward._check_shapes(q, k, v, tiles, same_heads=True)


def check_index(
    name: str, tensor: torch.Tensor, shape: tuple[int | None, ...], limit: int | None = None
) -> None:
    """Raise WorkloadError unless ``tensor`` is int32, has the shape (None: any) and lies in 0..limit-1."""
    fits = tensor.dim() == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, tensor.shape, strict=True)
    )
    if not fits or tensor.dtype != torch.int32:
        wanted = tuple("any" if size is None else size for size in shape)
        raise WorkloadError(
            f"{name} must be int32 of shape {wanted}, not {tensor.dtype} {tuple(tensor.shape)}"
        )
    if limit is not None and tensor.numel() and not 0 <= int(tensor.min()) <= int(tensor.max()) < limit:
        raise WorkloadError(
            f"{name} must lie from 0 to {limit - 1}, not {int(tensor.min())} to {int(tensor.max())}"
        )


def output_tensors(q: torch.Tensor, value_depth: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and log-sum-exp of a softmax attention that no program has written yet: zeros and -inf."""
    o = torch.zeros(*q.shape[:3], value_depth, dtype=q.dtype, device=q.device)
    return o, torch.full(q.shape[:3], float("-inf"), device=q.device)
