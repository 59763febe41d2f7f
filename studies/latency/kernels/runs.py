"""Blocks of many rows as arithmetic runs: what each row's blocks visit, counted exactly, then padded to equal runs.

Not modelled: order beyond that of the number of tiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dse.workloads.launches import Blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.workloads.launches import Demand

Floats: TypeAlias = NDArray[np.float64]
Segments: TypeAlias = list[tuple[float, float, float, float]]


def segments(tiles: NDArray[np.int64]) -> Segments:
    """Blocks of one row as (first, step, classes, blocks of each), from the tiles each block visits."""
    values, counts = np.unique(tiles[tiles > 0], return_counts=True)
    found: Segments = []
    start = 0
    while start < len(values):
        end = start + 1
        step = values[end] - values[start] if end < len(values) else 0
        while end < len(values) and counts[end] == counts[start] and values[end] - values[end - 1] == step:
            end += 1
        classes = end - start
        found.append((values[start], step if classes > 1 else 0, classes, counts[start]))
        start = end
    return found


def blocks(rows: Sequence[Segments], repeats: Floats, tile: Demand, once: Demand) -> tuple[Blocks, ...]:
    """Runs over all rows; each row's blocks occur ``repeats`` times, and rows with fewer runs have empty ones."""
    most = max(len(one) for one in rows)
    padded = np.zeros((4, most, len(rows)))
    for i, one in enumerate(rows):
        if one:
            padded[:, : len(one), i] = np.array(one, dtype=np.float64).T
    first, step, classes, each = padded
    return tuple(Blocks(first[j], step[j], classes[j], each[j] * repeats, tile, once) for j in range(most))
