"""Partial mappings: one way for an Einsum of a group to keep its own tensors and use its unit, for many tiles at once.

What a partial mapping costs depends on the tiles of the shared loops alone, as products over ranks. Rank by rank the
factors of all tiles are tabulated once; a batch of candidates gathers and multiplies them. With a rank left open, the
smallest factors of its tiles give a lower bound of every cost: joules, busy cycles of each unit and port, cycles along
the path, and live bytes are nondecreasing in every product.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dse.mappers.nests.structure import tile_rows
from dse.simulator.arrays import ZERO
from dse.simulator.loop_nest.costs import part
from dse.simulator.loop_nest.sites import SHARED
from dse.simulator.loop_nest.terms import product_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.mappers.nests.structure import Layout
    from dse.mappers.search.candidates import Codes
    from dse.simulator.arrays import Array
    from dse.simulator.loop_nest.costs import Part
    from dse.simulator.loop_nest.plan import Plan

OVERHEAD = ("joules", "path", "live", "staged")


@dataclass(frozen=True)
class Vector:
    """Costs of partial mappings over candidates; one dominates another if none of these is larger.

    ``busy`` holds cycles of each unit and memory, ``path`` those that only delay, ``live`` bytes kept whatever the
    window, ``staged`` bytes kept for each tile in flight.
    """

    joules: Array
    busy: Mapping[str, Array]
    path: Array
    live: Array
    staged: Array

    def matrix(self, resources: Sequence[str], size: int) -> Array:
        """All columns, those of ``busy`` last; shape (columns, size)."""
        found = np.zeros((len(OVERHEAD) + len(resources), size))
        for row, column in enumerate((self.joules, self.path, self.live, self.staged)):
            found[row] = column
        for row, name in enumerate(resources, start=len(OVERHEAD)):
            if name in self.busy:
                found[row] = self.busy[name]
        return found


@dataclass
class Option:
    """One partial mapping: the layout it stands in, its counts, whose costs are its own, what was chosen for it."""

    layout: Layout
    plan: Plan
    einsum: str
    tensors: frozenset[str]
    choice: tuple[tuple[str, str], ...]
    tables: dict[str, list[Array]] = field(default_factory=dict)
    least: dict[str, list[Array]] = field(default_factory=dict)

    def tabulate(self, tiles: Mapping[str, Array]) -> None:
        """Work out the different factors of each rank over its tiles, and the smallest of each."""
        plan = self.plan
        rows = tile_rows(plan.problem, plan.hierarchy, (self.layout,), plan.nest, (tiles,))
        self.tables = {
            rank: plan.columns(rank, [rows[row] for row in plan.nest.rows_of(rank)]) for rank in plan.ranks
        }
        self.least = {
            rank: [column.min(keepdims=True) for column in columns] for rank, columns in self.tables.items()
        }

    def restrict(self, places: Mapping[str, Codes]) -> None:
        """Keep the factors of some tiles only."""
        for rank, kept in places.items():
            self.tables[rank] = [column[kept] if len(column) > 1 else column for column in self.tables[rank]]

    def products(self, rows: Mapping[str, Codes]) -> Products:
        """Every term at the tiles whose places are given; ranks left open at their smallest factors."""
        return Products(self, rows)

    def costs(self, rows: Mapping[str, Codes]) -> Vector:
        """Costs of the shared stores of its own tensors and, if it is of an Einsum, of that one's branch."""
        products = self.products(rows)
        found = [part(self.plan, 0, SHARED, products, self.tensors)]
        return _vector(found + ([part(self.plan, 0, self.einsum, products)] if self.einsum else []))


class Products:
    """Terms of a plan, each worked out when first asked for."""

    def __init__(self, option: Option, rows: Mapping[str, Codes]) -> None:
        self._option, self._rows = option, rows
        self._known: dict[int, Array] = {}
        self._gathered: dict[tuple[str, int], Array] = {}

    def __getitem__(self, number: int) -> Array:
        """Value of one term."""
        if number not in self._known:
            places = {rank: int(index[number]) for rank, index in self._option.plan.index.items()}
            self._known[number] = product_of(
                [self._factor(rank, place) for rank, place in places.items() if place >= 0]
            )
        return self._known[number]

    def _factor(self, rank: str, column: int) -> Array:
        if (rank, column) not in self._gathered:
            if rank in self._rows:
                table = self._option.tables[rank][column]
                found = table if len(table) == 1 else table[self._rows[rank]]
            else:
                found = self._option.least[rank][column]
            self._gathered[rank, column] = found
        return self._gathered[rank, column]


def _vector(parts: list[Part]) -> Vector:
    joules, path, live, staged = ZERO, ZERO, ZERO, ZERO
    busy: dict[str, Array] = {}
    for one in parts:
        joules = joules + one.joules
        for spent in one.busy.values():
            for name, value in spent.items():
                busy[name] = busy[name] + value if name in busy else value
        for value in one.ripple.values():
            path = path + value
        for value in one.live.values():
            live = live + value
        for value in one.staged.values():
            staged = staged + value
    return Vector(joules, busy, path, live, staged)
