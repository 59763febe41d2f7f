"""Exhaustive search of loop nests without counting every candidate: group by group, family by family, tile by tile.

Optimal within the space it is given. What is dropped is shown to be no better than what stays:

- a tile, if another has no larger factor in any product of the family's counts;
- a place of a tensor, if another place moves no more and takes no more room at any tiles;
- a partial mapping, if another at the same shared tiles needs no more joules, busy cycles of any unit or port, cycles
  along the path, or live bytes - latency alone would not do once units overlap;
- a half-decided mapping, if the lower bound of its costs is no better than what has been found.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import DseError
from dse.mappers.nests.family import Family
from dse.mappers.nests.incumbents import CAPACITY, Incumbents, aim_of
from dse.mappers.nests.option import Option
from dse.mappers.nests.part import use_of
from dse.mappers.nests.structure import (
    BYPASS,
    Layout,
    accessors,
    alone,
    group_tensors,
    inside,
    nest_of,
    shared_ranks,
    useful_places,
)
from dse.mappers.search.candidates import Axis
from dse.mappers.search.search import StopSearch
from dse.simulator.loop_nest.costs import resources_of
from dse.simulator.loop_nest.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Mapping as Dict

    from dse.mappers.nests.part import NestPart
    from dse.mappers.search.candidates import Codes
    from dse.mappers.search.search import Search
    from dse.simulator.arrays import Array
    from dse.simulator.loop_nest.problem import Problem


HALF = 0.5
FEW = 32


def explore_part(part: NestPart, search: Search) -> None:
    """Find what is best of a part, and measure it in full."""
    for box in boxes(part, search.space.forbid):
        groups = [GroupSearch(box, number, search) for number in range(len(box.groups))]
        found = [Incumbents(aim_of(search.objective)) for _ in groups]
        try:
            for group, best in zip(groups, found, strict=True):
                group.run(best)
        except (StopSearch, KeyboardInterrupt):
            _settle(search, box, groups, found, whole=False)
            raise
        _settle(search, box, groups, found, whole=True)


def _settle(
    search: Search,
    part: NestPart,
    groups: Sequence[GroupSearch],
    found: Sequence[Incumbents],
    whole: bool,
) -> None:
    """Measure in full what has been found; where nothing has, the smallest tiles, or a few drawn at random.

    After a ``whole`` search nothing fits, and the smallest tiles are nearest to it.
    """
    if all(len(best.values) for best in found):
        search.settle(part, _together(part, found, groups))
    elif search.best is None:
        search.settle(part, _smallest(part, groups) if whole else _some(part, search.limits.seed))


def _some(part: NestPart, seed: int) -> Codes:
    """The candidate of first choices, which keeps next to nothing, and a few random ones."""
    lengths = [len(axis.choices) for axis in part.axes]
    drawn = np.random.default_rng(seed).integers(0, lengths, size=(FEW, len(lengths)))
    drawn[0] = 0
    return drawn.astype(np.intp)


def boxes(part: NestPart, rules: Sequence[Dict[str, str | float]]) -> Iterator[NestPart]:
    """Parts of a part that hold every candidate no rule forbids, each once: axes with some of their choices."""
    names = [axis.name for axis in part.axes]
    here = [
        rule
        for rule in rules
        if all(n in names and c in part.axes[names.index(n)].choices for n, c in rule.items())
    ]
    if not here:
        yield part
        return
    axes = list(part.axes)
    for name, choice in here[0].items():
        place = names.index(name)
        others = tuple(c for c in axes[place].choices if c != choice)
        if others:
            split = [*axes[:place], Axis(name, others), *axes[place + 1 :]]
            yield from boxes(part.narrowed(tuple(split)), here[1:])
        axes[place] = Axis(name, (choice,))


def _smallest(part: NestPart, groups: Sequence[GroupSearch]) -> Codes:
    """Candidates of the smallest tiles: the nearest to fitting."""
    some = [group.smallest() for group in groups]
    codes = np.zeros((max(len(rows) for rows in some), len(part.axes)), dtype=np.intp)
    for rows in some:
        codes[: len(rows)] += rows
    return codes


def _together(part: NestPart, found: Sequence[Incumbents], groups: Sequence[GroupSearch]) -> Codes:
    """Candidates from the groups' results: latencies and energies add up, of live bytes the most counts."""
    total = Incumbents(
        found[0].aim, np.zeros((1, 3)), [None], np.zeros(1, np.intp), np.zeros((1, 0), np.intp)
    )
    for one in found:
        first = np.repeat(np.arange(len(total.values)), len(one.values))
        second = np.tile(np.arange(len(one.values)), len(total.values))
        values = total.values[first] + one.values[second]
        values[:, CAPACITY] = np.maximum(total.values[first, CAPACITY], one.values[second, CAPACITY])
        joined = Incumbents(found[0].aim)
        joined.add(values, None, np.column_stack([total.codes[first], second]))
        total = joined
    codes = np.zeros((len(total.values), len(part.axes)), dtype=np.intp)
    for row, places in enumerate(total.codes):
        for one, group, place in zip(found, groups, places, strict=True):
            group.write(one, int(place), codes[row])
    return codes


@dataclass
class GroupSearch:
    """Search of one group of a part."""

    part: NestPart
    number: int
    search: Search

    def __post_init__(self) -> None:
        self.einsums = self.part.groups[self.number]
        self.problem: Problem = alone(self.part.setting.problem, self.einsums)
        self.ranks = shared_ranks(self.part.setting.problem, self.einsums)
        self.end = self.part.suffix(self.number)
        self._seen: set[object] = set()
        self._every = self._faulty = self._listing = False

    def choices(self, name: str) -> tuple[str | float, ...]:
        """Choices of one of the part's axes."""
        return self.part.axes[self.part.places[name]].choices

    def run(self, best: Incumbents) -> None:
        """Search all families, the most promising first; those that are listed in half of the time there is.

        Raises
        ------
        StopSearch
            A limit is reached; what came before it is among the best.
        """
        known: dict[bytes, Codes] = {}
        queue: list[tuple[float, int, Array, Family]] = []
        self._listing = True
        try:
            for family in self.families():
                bound = family.bound()
                if np.isfinite(bound[0, 0]):
                    queue.append(
                        (float(np.prod(bound[0, list(best.aim.columns)])), len(queue), bound, family)
                    )
        except StopSearch:
            late = True
        else:
            late = False
        self._listing = False
        for _, _, bound, family in sorted(queue, key=lambda entry: entry[:2]):
            if best.open(bound)[0]:
                family.search(best, self.search.counted, known)
        if late:
            self.search.stop()

    def smallest(self) -> Codes:
        """One candidate of each family, with its smallest tiles: the nearest to fitting."""
        rows = [np.zeros(len(self.part.axes), dtype=np.intp)]
        for family in self.families():
            code = np.zeros(len(self.part.axes), dtype=np.intp)
            places = [0] * len(family.options) + [0]
            tiles = [int(np.argmin(family.tiles[rank])) for rank in family.tiles]
            self._write(family, [*places, *tiles], code)
            rows.append(code)
        return np.array(rows[1:] or rows)

    def write(self, best: Incumbents, place: int, code: Codes) -> None:
        """Write what one of the best chose into a candidate of the part."""
        family = best.owners[int(best.owner[place])]
        assert isinstance(family, Family)
        self._write(family, best.codes[place].tolist(), code)

    def _write(self, family: Family, chosen: Sequence[int], code: Codes) -> None:
        picked: dict[str, str | float] = {f"order{self.end}": " ".join(family.options[0][0].layout.order)}
        for options, place in zip(family.options, chosen, strict=False):
            picked |= dict(options[place].choice)
        count = len(family.options)
        window = family.windows[chosen[count]]
        picked[f"window{self.end}"] = f"{window:.0f}"
        for rank, place in zip(family.tiles, chosen[count + 1 :], strict=True):
            picked[f"tile.{rank}{self.end}"] = float(family.tiles[rank][place])
        for name, choice in picked.items():
            axis = self.part.places[name]
            code[axis] = self.part.axes[axis].choices.index(choice)

    def families(self) -> Iterator[Family]:
        """All families of the group; of a single Einsum, one for each option, as they share no tiles."""
        self._seen.clear()
        for text in self.choices(f"order{self.end}"):
            order = tuple(str(text).split())
            self._every = self._faulty = False
            before = set(self._seen)
            found = list(self._options_of(order))
            if self._faulty:
                # Some places are impossible under this order, so the innermost need not stand for the others.
                self._every, self._seen = True, before
                found = list(self._options_of(order))
            for options in found:
                whole = [options] if len(options) > 1 else [((option,),) for option in options[0]]
                for some in whole:
                    tiles = self._tiles(some)
                    if all(len(sizes) for sizes in tiles.values()):
                        yield self._family(some, tiles)
                    else:
                        self.search.refuse("a recurrence needs tiles of 1")

    def _options_of(self, order: tuple[str, ...]) -> Iterator[tuple[tuple[Option, ...], ...]]:
        """Options of every Einsum, for each way to keep the tensors that several of them touch."""
        shared = [t for t in self._tensors() if len(accessors(self.problem, self.einsums, t)) > 1]
        for keys in itertools.product(*(self._places(tensor, order) for tensor in shared)):
            common = tuple(zip(shared, keys, strict=True))
            options = [tuple(self._options(einsum, order, common)) for einsum in self.einsums]
            if all(options):
                yield tuple(options)

    def _tiles(self, options: tuple[tuple[Option, ...], ...]) -> dict[str, Array]:
        """Tile sizes of each rank; of the rank of a recurrence those of one step."""
        single = {rank for rank, _ in options[0][0].plan.groups[0].single_steps}
        tiles = {
            rank: np.array(self.choices(f"tile.{rank}{self.end}"), dtype=np.float64) for rank in self.ranks
        }
        return {rank: sizes[sizes <= 1.0] if rank in single else sizes for rank, sizes in tiles.items()}

    def _family(self, options: tuple[tuple[Option, ...], ...], tiles: dict[str, Array]) -> Family:
        setting = self.part.setting
        level = setting.hierarchy.memories[1]
        return Family(
            options=options,
            tiles=tiles,
            windows=tuple(float(window) for window in self.choices(f"window{self.end}")),
            capacity_bytes=float(level.capacity_bytes[0]),
            clock_hz=float(setting.hierarchy.clock_hz[0]),
            resources=resources_of(options[0][0].plan),
        )

    def _tensors(self) -> tuple[str, ...]:
        return group_tensors(self.problem, self.einsums)

    def _places(self, tensor: str, order: tuple[str, ...]) -> list[str]:
        allowed = [str(choice) for choice in self.choices(f"keep.{tensor}{self.end}")]
        return allowed if self._every else useful_places(self.problem, self.einsums, tensor, order, allowed)

    def _options(
        self, einsum: str, order: tuple[str, ...], common: tuple[tuple[str, str], ...]
    ) -> Iterator[Option]:
        """Ways of one Einsum to keep its own tensors and to use its unit."""
        mine = [t for t in self._tensors() if accessors(self.problem, self.einsums, t) == (einsum,)]
        charged = [t for t, _ in common if accessors(self.problem, self.einsums, t)[0] == einsum]
        for kept in itertools.product(*(self._places(tensor, order) for tensor in mine)):
            own = tuple(zip(mine, kept, strict=True))
            for use in self.choices(f"array.{einsum}"):
                layout = self._layout(einsum, str(use), order, common + own)
                plan = self._plan(layout)
                if plan is None:
                    continue
                choice = [(f"keep.{t}{self.end}", place) for t, place in common + own]
                yield Option(
                    layout=layout,
                    plan=plan,
                    einsum=einsum,
                    tensors=frozenset([*mine, *charged]),
                    choice=(*choice, (f"array.{einsum}", str(use))),
                )

    def _plan(self, layout: Layout) -> Plan | None:
        """Counts of a layout; None, and counted as rejected, where it is impossible or has been seen already.

        Raises
        ------
        StopSearch
            Half of a limit went into listing layouts.
        """
        if self._listing and self.search.spent > HALF:
            raise StopSearch
        if len(self.einsums) == 1:
            key = layout.canonical()
            if key in self._seen:
                return None
            self._seen.add(key)
        setting = self.part.setting
        nest = nest_of(self.problem, setting.memory, (layout,))
        try:
            return Plan(self.problem, setting.hierarchy, nest, setting.conventions)
        except DseError as error:
            self.search.refuse(error.problems[0].message)
            self._faulty = True
            return None

    def _layout(
        self, einsum: str, use: str, order: tuple[str, ...], keeps: tuple[tuple[str, str], ...]
    ) -> Layout:
        """The group with one Einsum's choices; the others, whose costs are not asked for, as they come."""
        others = {
            t: self._places(t, order)[0]
            for t in self._tensors()
            if t not in dict(keeps) and inside(self.problem, self.einsums, t)
        }
        uses = [use if name == einsum else self._some_use(name) for name in self.einsums]
        kept = tuple(pair for pair in (*keeps, *others.items()) if pair[1] != BYPASS)
        return Layout(self.einsums, order, kept, tuple(use_of(label) for label in uses))

    def _some_use(self, einsum: str) -> str:
        """A possible use of an Einsum's unit: none that puts the rank of its own recurrence on an axis."""
        labels = [str(choice) for choice in self.choices(f"array.{einsum}")]
        carried = self.problem.carried(einsum)
        fine = [label for label in labels if carried not in dict(use_of(label).axes).values()]
        return (fine or labels)[0]
