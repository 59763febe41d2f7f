"""What a thread block of attention or of a matrix product takes of an SM, estimated from its tiles.

For kernels that were not compiled. Shared memory holds the query tile and ``stages`` tiles of keys and values (or of
both operands); registers hold accumulators and a tile of scores in FP32, the scores once more in the operands' type,
and a fixed part for addresses and state. Compiled figures (``dse trace --targets``) replace these. Not modelled:
spilling, layouts, what the compiler keeps in registers instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.workloads.launches import Resources

if TYPE_CHECKING:
    from dse.workloads.launches import Array

OVERHEAD_REGISTERS = 40.0
MOST_REGISTERS = 255.0
THREADS = 32.0


def attention_resources(
    rows: Array, keys: Array, depth: Array, value_depth: Array, size: float, warps: Array, stages: Array
) -> Resources:
    """Estimate for attention with a tile of rows × keys; ``size`` is bytes of an element."""
    shared = rows * depth * size + stages * keys * (depth + value_depth) * size
    held = rows * value_depth + rows * keys * (1.0 + size / 4.0)
    return Resources(shared, _registers(held, warps), warps * np.ones(1), stages * np.ones(1))


def gemm_resources(
    rows: Array, cols: Array, depth: Array, size: float, warps: Array, stages: Array
) -> Resources:
    """Estimate for a block that owns rows × cols of a product's output."""
    shared = stages * (rows + cols) * depth * size
    return Resources(shared, _registers(rows * cols, warps), warps * np.ones(1), stages * np.ones(1))


def _registers(words: Array, warps: Array) -> Array:
    found: Array = np.minimum(np.ceil(words / (warps * THREADS)) + OVERHEAD_REGISTERS, MOST_REGISTERS)
    return found
