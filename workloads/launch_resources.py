"""What a thread block of attention or of a matrix product takes of an SM, estimated from its tiles.

For kernels that were not compiled. Shared memory holds the query tile and ``stages`` tiles of keys and values (or of
both operands); registers hold the accumulators, two tiles of scores in FP32, and a fixed part for addresses and state.
Compiled with Triton 3.7.1 for sm_90, flash attention takes exactly this shared memory, and registers within 10%; for
sm_80 one stage less, and up to 25% more registers. Compiled figures replace these where a trace has them. Not modelled:
spilling, layouts, what the compiler keeps in registers instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.workloads.launches import Resources

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.workloads.launches import Array

OVERHEAD_REGISTERS = 40.0
MOST_REGISTERS = 255.0
THREADS = 32.0
DEFAULT_WARPS, DEFAULT_STAGES = 4.0, 3.0


def attention_resources(
    rows: Array, keys: Array, depth: Array, value_depth: Array, size: float, warps: Array, stages: Array
) -> Resources:
    """Estimate for attention with a tile of rows × keys; ``size`` is bytes of an element."""
    shared = rows * depth * size + stages * keys * (depth + value_depth) * size
    held = rows * value_depth + 2.0 * rows * keys
    return Resources(shared, _registers(held, warps), warps * np.ones(1), stages * np.ones(1))


def gemm_resources(
    rows: Array, cols: Array, depth: Array, size: float, warps: Array, stages: Array
) -> Resources:
    """Estimate for a block that owns rows × cols of a product's output."""
    shared = stages * (rows + cols) * depth * size
    return Resources(shared, _registers(rows * cols, warps), warps * np.ones(1), stages * np.ones(1))


def traced_resources(outputs: Sequence[float], scores: float, staged_bytes: float) -> Resources:
    """Estimate for a traced kernel with Triton's default launch parameters.

    ``outputs`` are the elements of each matrix product's result, ``scores`` those of a tile of scores (held a second
    time), ``staged_bytes`` what one trip loads for products.
    """
    words = np.full(1, float(sum(outputs)) + scores)
    warps, stages = np.full(1, DEFAULT_WARPS), np.full(1, DEFAULT_STAGES)
    shared = np.full(1, DEFAULT_STAGES * staged_bytes)
    return Resources(shared, _registers(words, warps), warps, stages, assumed=True)


def _registers(words: Array, warps: Array) -> Array:
    found: Array = np.minimum(np.ceil(words / (warps * THREADS)) + OVERHEAD_REGISTERS, MOST_REGISTERS)
    return found
