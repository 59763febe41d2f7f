"""Pivot rules of a quick-select engine: which of the elements left a round compares the others with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from dse.simulator.topk.parameters import TopK


def pivot_index(engine: TopK, alive: npt.NDArray[Any], generator: np.random.Generator) -> int:
    """Place of the pivot among the elements left, in order of arrival."""
    n = len(alive)
    match engine.pivot:
        case "uniform":
            return int(generator.integers(n))
        case "row_head":
            return _row_head(n, engine.lanes, generator)
        case "first":
            return 0
        case "median_of_three":
            places = [0, n // 2, n - 1]
            return sorted(places, key=lambda place: (alive[place], place))[1]
        case _:
            return int(np.argsort(alive, kind="stable")[n // 2])


def _row_head(n: int, lanes: int, generator: np.random.Generator) -> int:
    """Head of the last row whose hash is zero in as many bits as the row's number has.

    The released code replaces the pivot by a row's head when the hash of a counter, masked to the bits of the row's
    number, is zero: the first row always, later ones ever less likely, so that rows are chosen about equally.
    """
    rows = np.arange((n + lanes - 1) // lanes)
    masks = np.zeros_like(rows)
    for bit in range(int(rows[-1]).bit_length()):
        masks |= rows >> bit
    passed = (generator.integers(0, 1 << 30, len(rows)) & masks) == 0
    return int(np.flatnonzero(passed)[-1]) * lanes
