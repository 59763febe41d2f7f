"""Products over ranks: every count of a loop nest is one, with one factor for each rank.

A factor depends on the tiles of its own rank only. Equal factors and equal terms are kept once, so that a batch of
candidates costs a few array operations for each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from dse.simulator.arrays import ONE, Array

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.simulator.loop_nest.chains import Chain, Tiles


@dataclass(frozen=True, slots=True)
class Factor:
    """What one rank contributes.

    ``span``: ``whole`` × size + ``each`` × tiles below ``chain`` + ``once``; ``extent``: largest tile below ``chain`` +
    ``once``; ``pieces``: tiles the last loop of ``chain`` makes of the largest tile above it; ``share``: what each of
    those pieces gets of the tile below the first ``shared`` loops of the chain.
    """

    kind: Literal["span", "extent", "pieces", "share"]
    chain: Chain = ()
    shared: int = 0
    whole: float = 0.0
    each: float = 0.0
    once: float = 0.0

    def value(self, tiles: Tiles) -> Array:
        """Value over candidates, shape (1,) or (n,)."""
        if self.kind == "pieces":
            found: Array = np.ceil(tiles.extent(self.chain[:-1]) / tiles.extent(self.chain))
            return found
        if self.kind == "share":
            pieces = np.ceil(tiles.extent(self.chain[:-1]) / tiles.extent(self.chain))
            return np.ceil(tiles.extent(self.chain[: self.shared]) / pieces) + self.once
        if self.kind == "extent":
            extent = tiles.extent(self.chain)
            return extent + self.once if self.once else extent
        return self._span(tiles)

    def _span(self, tiles: Tiles) -> Array:
        total: Array | None = None
        if self.whole:
            total = tiles.size if self.whole == 1.0 else self.whole * tiles.size
        if self.each:
            count = tiles.count(self.chain)
            part = count if self.each == 1.0 else self.each * count
            total = part if total is None else total + part
        assert total is not None
        return total + self.once if self.once else total


ONE_FACTOR = Factor("span", each=1.0)


@dataclass(frozen=True)
class Term:
    """A product over ranks; ranks without a factor contribute 1. ``name`` is its first use."""

    name: str
    factors: Mapping[str, Factor] = field(default_factory=dict)


class ByTerm(Protocol):
    """Values of terms by number."""

    def __getitem__(self, number: int, /) -> Array:
        """Value of one term over candidates."""
        ...


@dataclass
class TermTable:
    """Terms found so far, each once."""

    terms: list[Term] = field(default_factory=list)
    _known: dict[frozenset[tuple[str, Factor]], int] = field(default_factory=dict)

    def add(self, name: str, factors: Mapping[str, Factor]) -> int:
        """Number of the term with these factors."""
        kept = {rank: factor for rank, factor in factors.items() if factor != ONE_FACTOR}
        key = frozenset(kept.items())
        if key not in self._known:
            self._known[key] = len(self.terms)
            self.terms.append(Term(name, kept))
        return self._known[key]


def product_of(columns: list[Array]) -> Array:
    """Product, left to right; 1 of none."""
    found = ONE
    for column in columns:
        found = column if found is ONE else found * column
    return found
