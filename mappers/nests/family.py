"""Partial mappings that share the loops of a group, joined over its Einsums, tile by tile.

All options of a family have the same shared loops and the same place of every tensor that several Einsums touch; own
tensors and units are chosen Einsum by Einsum. Ranks are decided one after another: a lower bound drops what cannot fit
or cannot improve, the rest is split further. At given tiles an Einsum's options are pruned to the Pareto front of their
cost vectors before they are joined with those of the next Einsum, and so are the joined ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dse.mappers.nests.option import OVERHEAD, Option
from dse.mappers.search.pareto import front, front_within
from dse.simulator.loop_nest.costs import overlapped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dse.mappers.nests.incumbents import Incumbents
    from dse.mappers.search.candidates import Codes
    from dse.simulator.arrays import Array
    from dse.simulator.loop_nest.plan import Plan

CHUNK = 32_768  # candidates counted at once, fewer where there are more options than these
OPTIONS = 16
BEAM = 32
JOULES, PATH, LIVE, STAGED = range(4)
BUSY = len(OVERHEAD)


@dataclass
class Family:
    """Options of every Einsum of a group under the same shared loops."""

    options: tuple[tuple[Option, ...], ...]
    tiles: dict[str, Array]
    windows: tuple[float, ...]
    capacity_bytes: float
    clock_hz: float
    resources: tuple[str, ...]
    places: dict[str, Codes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for options in self.options:
            for option in options:
                option.tabulate(self.tiles)
        self.places = {rank: np.arange(len(tiles), dtype=np.intp) for rank, tiles in self.tiles.items()}

    def _shrink(self, known: dict[bytes, Codes]) -> None:
        """Drop tiles that others are never worse than; ``known`` remembers decisions by the factors they rest on."""
        every = [option for options in self.options for option in options]
        for rank, tiles in self.tiles.items():
            self.places[rank] = _kept(self._factors(every, rank, len(tiles)), known)
        for option in every:
            option.restrict(self.places)

    def _factors(self, options: list[Option], rank: str, size: int) -> list[Array]:
        """What tiles of a rank do to any cost: different arrays over tiles, smaller never worse."""
        found: dict[bytes, Array] = {}
        for option in options:
            index, table = option.plan.index[rank], option.tables[rank]
            steps = option.plan.groups[0].iterations
            used = {int(index[number]) for number in _cost_terms(option.plan)} - {-1}
            factors = [table[place] for place in sorted(used) if len(table[place]) == size]
            if index[steps] >= 0 and max(self.windows) > 1.0:
                factors.append(-table[int(index[steps])])
            found.update((factor.tobytes(), factor) for factor in factors)
        return list(found.values())

    def search(
        self, best: Incumbents, watch: Callable[[int], None], known: dict[bytes, Codes] | None = None
    ) -> None:
        """Keep what improves on the best so far; ``watch`` is told how many partial mappings were counted."""
        self._shrink({} if known is None else known)
        ranks = sorted(self.places, key=lambda rank: len(self.places[rank]))
        self._dive(ranks, best, watch)
        self._expand({}, ranks, 1, best, watch)

    def bound(self) -> Array:
        """Lower bounds of everything in the family, shape (1, 3); infinite if nothing fits."""
        values = self._values(self._least(self._matrices({}, 1)), self._iterations({}, 1))
        found: Array = np.min(np.concatenate(values), axis=0, keepdims=True)
        return found

    def _expand(
        self,
        rows: dict[str, Codes],
        left: Sequence[str],
        size: int,
        best: Incumbents,
        watch: Callable[[int], None],
    ) -> None:
        """Bound ``size`` half-decided candidates, then split the open ones by the next rank, or join them."""
        matrices = self._matrices(rows, size)
        watch(self._count(size))
        iterations = self._iterations(rows, size)
        alive = np.zeros(size, dtype=bool)
        for values in self._values(self._least(matrices), iterations):
            alive |= np.isfinite(values[:, 0]) & best.open(values)
        if not alive.any():
            return
        open_rows = {rank: places[alive] for rank, places in rows.items()}
        if not left:
            kept = [matrix[:, :, alive] for matrix in matrices]
            self._join(open_rows, kept, iterations[alive], best)
            return
        rank, count = left[0], int(alive.sum())
        choices = np.arange(len(self.places[rank]), dtype=np.intp)
        step = max(1, CHUNK // (len(choices) * max(1, self._count(1) // OPTIONS)))
        for start in range(0, count, step):
            some = {name: places[start : start + step] for name, places in open_rows.items()}
            many = min(step, count - start)
            split = {name: np.repeat(places, len(choices)) for name, places in some.items()}
            split[rank] = np.tile(choices, many)
            self._expand(split, left[1:], many * len(choices), best, watch)

    def _count(self, size: int) -> int:
        return size * sum(len(options) for options in self.options)

    def _dive(self, ranks: Sequence[str], best: Incumbents, watch: Callable[[int], None]) -> None:
        """Follow the most promising tiles, rank by rank, to something good that lets bounds cut early."""
        rows: dict[str, Codes] = {}
        size = 1
        for rank in ranks:
            count = len(self.places[rank])
            rows = {name: np.repeat(places, count) for name, places in rows.items()}
            rows[rank] = np.tile(np.arange(count, dtype=np.intp), size)
            size *= count
            watch(self._count(size))
            values = self._values(self._least(self._matrices(rows, size)), self._iterations(rows, size))
            least = np.min(np.stack(values), axis=0)[:, list(best.aim.columns)]
            order = (
                np.lexsort(least.T[::-1])
                if best.aim.ordered
                else np.argsort(least.prod(axis=1), kind="stable")
            )
            picked = order[:BEAM]
            rows, size = {name: places[picked] for name, places in rows.items()}, len(picked)
        self._join(rows, self._matrices(rows, size), self._iterations(rows, size), best)

    def _matrices(self, rows: Mapping[str, Codes], size: int) -> list[Array]:
        """Cost vectors of each Einsum's options, shape (options, columns, size)."""
        return [
            np.stack([option.costs(rows).matrix(self.resources, size) for option in options])
            for options in self.options
        ]

    def _iterations(self, rows: Mapping[str, Codes], size: int) -> Array:
        """Iterations of the shared loops, the most where a rank is open."""
        option = self.options[0][0]
        number = option.plan.groups[0].iterations
        found = np.ones(size)
        for rank, index in option.plan.index.items():
            if index[number] >= 0:
                column = option.tables[rank][int(index[number])]
                open_rank = rank not in rows or len(column) == 1
                found = found * (column.max() if open_rank else column[rows[rank]])
        return found

    @staticmethod
    def _least(matrices: Sequence[Array]) -> tuple[Array, Array]:
        """Sums over Einsums of the smallest of every column, and of the times of each."""
        total, summed = np.zeros(matrices[0].shape[1:]), np.zeros(matrices[0].shape[2])
        for matrix in matrices:
            least = matrix.min(axis=0)
            total = total + least
            summed = summed + least[BUSY:].max(axis=0) + least[PATH]
        return total, summed

    def _values(self, sums: tuple[Array, Array], iterations: Array) -> list[Array]:
        """Latency, energy and capacity for each window, shape (n, 3); infinite where the tiles do not fit."""
        total, summed = sums
        found = []
        for window in self.windows:
            cycles = overlapped(summed, total[BUSY:].max(axis=0), iterations, np.full(1, window))
            live = total[LIVE] + total[STAGED] * window
            values = np.stack([cycles / self.clock_hz, total[JOULES], live], axis=1)
            values[live > self.capacity_bytes] = np.inf
            found.append(values)
        return found

    def _join(
        self, rows: dict[str, Codes], matrices: list[Array], iterations: Array, best: Incumbents
    ) -> None:
        """All combinations of the Einsums' options at decided tiles that can matter."""
        size = len(iterations)
        row = np.arange(size, dtype=np.intp)
        total, summed = np.zeros((size, matrices[0].shape[1])), np.zeros(size)
        chosen = np.zeros((size, 0), dtype=np.intp)
        for matrix in matrices:
            option, at, costs = _front_of_options(matrix)
            first, each = _runs(at, size)
            pairs = np.repeat(np.arange(len(row)), each[row])
            inner = first[row[pairs]] + _within(each[row])
            total = total[pairs] + costs[inner]
            summed = summed[pairs] + costs[inner, BUSY:].max(axis=1) + costs[inner, PATH]
            chosen = np.column_stack([chosen[pairs], option[inner]])
            row = row[pairs]
            if len(matrices) > 1 and matrix.shape[0] > 1:
                kept = front_within(row, np.column_stack([total, summed]))
                total, summed, chosen, row = total[kept], summed[kept], chosen[kept], row[kept]
        for number, values in enumerate(self._values((total.T, summed), iterations[row])):
            fits = np.flatnonzero(np.isfinite(values[:, 0]))
            fits = fits[best.open(values[fits])]
            codes = [chosen[fits], np.full((len(fits), 1), number)]
            codes += [self.places[rank][rows[rank][row[fits]]][:, None] for rank in self.tiles]
            best.add(values[fits], self, np.column_stack(codes))


def _cost_terms(plan: Plan) -> set[int]:
    """Terms that a cost rises with; iterations are among them only where something happens once in each.

    Elements used on an axis are not: tiles on axes are chosen so that they always fit.
    """
    group, counted = plan.groups[0], plan.conventions.array_fill == "counted"
    found = {number for move in group.moves for number in (move.words, move.visits) if number is not None}
    found |= {number for footprint in group.footprints for number in footprint.terms}
    found |= {number for _, number in group.single_steps}
    for branch in group.branches:
        found |= {work.count for work in branch.work}
        found |= {work.steps for work in branch.work if work.steps is not None}
        found |= {branch.ripple, branch.runs} if branch.ripple is not None and counted else set()
    return found


def _kept(factors: list[Array], known: dict[bytes, Codes]) -> Codes:
    """Places where no other place is nowhere larger."""
    if not factors:
        return np.zeros(1, dtype=np.intp)
    key = b"".join(sorted(factor.tobytes() for factor in factors)) + bytes(str(len(factors)), "ascii")
    if key not in known:
        known[key] = front(np.column_stack(factors))
    return known[key]


def _front_of_options(matrix: Array) -> tuple[Codes, Codes, Array]:
    """Option, row and cost vector of what is not dominated at each row, by row."""
    options, columns, size = matrix.shape
    option, at = np.repeat(np.arange(options), size), np.tile(np.arange(size), options)
    costs = matrix.transpose(0, 2, 1).reshape(options * size, columns)
    if options > 1:
        kept = front_within(at, costs)
        option, at, costs = option[kept], at[kept], costs[kept]
    order = np.argsort(at, kind="stable")
    return option[order], at[order], costs[order]


def _runs(at: Codes, size: int) -> tuple[Codes, Codes]:
    """Start and length of each row's run in sorted ``at``."""
    each = np.bincount(at, minlength=size)
    return np.cumsum(each) - each, each


def _within(lengths: Codes) -> Codes:
    """0, 1 ... within each of consecutive runs."""
    return np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
