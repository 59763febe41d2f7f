"""Tiles of one rank through nested loops, exactly, whether sizes divide each other or not.

A loop cuts what it is given into tiles of its size and a remainder; the next one cuts those. The tiles at any depth are
of few sizes: one full size and one remainder for each loop so far. All are float64 arrays over candidates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from dse.simulator.arrays import ONE, Array

if TYPE_CHECKING:
    from collections.abc import Mapping

POINT = -1  # stands for the steps through what is left of a tile, one point each
Chain: TypeAlias = (
    "tuple[tuple[int, bool], ...]"  # loops above a place: (row, only the first element's tile counts)
)
Classes: TypeAlias = "list[tuple[Array, Array]]"  # sizes of tiles and how many there are, the full size first


@dataclass
class Tiles:
    """Tiles of one rank of ``size`` under the tile sizes of its loops, by row."""

    size: Array
    rows: Mapping[int, Array]
    _classes: dict[Chain, Classes] = field(default_factory=dict)
    _counts: dict[Chain, Array] = field(default_factory=dict)

    def _tile(self, row: int) -> Array:
        return ONE if row == POINT else self.rows[row]

    def extent(self, chain: Chain) -> Array:
        """Points of the largest tile below these loops."""
        if not chain:
            return self.size
        if chain[-1][0] == POINT:
            return ONE
        return self.classes(chain)[0][0]

    def classes(self, chain: Chain) -> Classes:
        """Sizes of the tiles below these loops, with how many there are of each; a size may be zero."""
        if not chain:
            return [(self.size, ONE)]
        if chain not in self._classes:
            above, (row, first) = self.classes(chain[:-1]), chain[-1]
            tile = np.minimum(self._tile(row), above[0][0])
            self._classes[chain] = _first(above, tile) if first else _cut(above, tile)
        return self._classes[chain]

    def count(self, chain: Chain) -> Array:
        """Tiles below these loops."""
        if not chain:
            return ONE
        row, first = chain[-1]
        if row == POINT and not any(lock for _, lock in chain):
            return self.size
        if first:
            return self.count(chain[:-1])
        if chain not in self._counts:
            self._counts[chain] = self._counted(self.classes(chain[:-1]), row)
        return self._counts[chain]

    def _counted(self, above: Classes, row: int) -> Array:
        total: Array | None = None
        for size, times in above:
            pieces = size if row == POINT else np.ceil(size / self._tile(row))
            found = pieces if times is ONE else times * pieces
            total = found if total is None else total + found
        assert total is not None
        return total


def _cut(above: Classes, tile: Array) -> Classes:
    """Tiles of ``tile`` cut from tiles of the sizes above, with the remainders."""
    total: Array | None = None
    rests: Classes = []
    for size, times in above:
        pieces = np.floor(size / tile)
        rests.append((size - pieces * tile, times))
        found = pieces if times is ONE else times * pieces
        total = found if total is None else total + found
    assert total is not None
    return [(tile, total), *rests]


def _first(above: Classes, tile: Array) -> Classes:
    """What the first element gets of each tile above; the other elements work beside it."""
    return [(np.minimum(size, tile), times) for size, times in above]
