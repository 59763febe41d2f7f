"""Machines and workloads over axes of text, without building every combination one by one.

Axes that touch the same numbers are built together, for every combination of their texts; the others are varied one at
a time, and a combination takes each number from the axis that varies it. That axes are independent is checked, not
assumed: on all pairs of extreme values, on further pairs and on whole combinations drawn at random (with a fixed seed),
each built in full. Where a check fails, the axes concerned are built together. Not covered: an interaction of axes of
different components that shows in none of these.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar

import numpy as np

from dse.errors import WRONG_INPUT, ConfigError, Problem
from dse.simulator.stack import arrays, stack, structure, take, with_arrays

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from dse.simulator.arrays import Array

T = TypeVar("T")
Found = TypeVar("Found", covariant=True)  # noqa: PLC0105
Codes: TypeAlias = np.ndarray[tuple[int], np.dtype[np.int64]]
Build: TypeAlias = Callable[[tuple[str, ...]], T]
FULL = 256
PAIRS = 256
SAMPLES = 32
MAX_PROBLEMS = 50


class Table(Protocol[Found]):
    """Values over the product of some axes, the last varying fastest."""

    def pieces(self, places: Codes) -> Iterator[tuple[Codes, Found]]:
        """Values at places in the product, in groups of one structure: positions in ``places``, and their values."""


@dataclass(frozen=True)
class Listed(Generic[T]):
    """Values that were built one by one: place in the product to value."""

    values: dict[int, T]

    def pieces(self, places: Codes) -> Iterator[tuple[Codes, T]]:
        """Values at places, stacked where their structures are equal."""
        unique, inverse = np.unique(places, return_inverse=True)
        found = [self.values[int(place)] for place in unique]
        groups: dict[Hashable, list[int]] = {}
        for number, value in enumerate(found):
            groups.setdefault(structure(value), []).append(number)
        for members in groups.values():
            within = np.full(len(unique), -1, dtype=np.int64)
            within[members] = np.arange(len(members))
            mine = within[inverse]
            positions = np.flatnonzero(mine >= 0).astype(np.int64)
            yield positions, take(stack([found[number] for number in members]), mine[positions])


@dataclass(frozen=True)
class Factor:
    """Axes that are built together: number of an array in the value → its entry for each combination of their texts."""

    axes: tuple[int, ...]
    entries: dict[int, Array]


@dataclass(frozen=True)
class Composed(Generic[T]):
    """One structure whose arrays are each varied by at most one factor."""

    sizes: tuple[int, ...]
    base: T
    factors: tuple[Factor, ...]

    def pieces(self, places: Codes) -> Iterator[tuple[Codes, T]]:
        """Values at places: every array picked from the factor that varies it."""
        parts = self.arrays(np.unravel_index(places, self.sizes))
        yield np.arange(len(places), dtype=np.int64), with_arrays(self.base, parts)

    def arrays(self, codes: Sequence[Codes]) -> list[Array]:
        """Every array of the value, for some codes on each axis."""
        parts = list(arrays(self.base))
        for factor in self.factors:
            row = _ravel([codes[axis] for axis in factor.axes], [self.sizes[axis] for axis in factor.axes])
            row = row[:1] if (row == row[0]).all() else row
            for number, entries in factor.entries.items():
                parts[number] = entries[row]
        return parts


@dataclass(frozen=True)
class Split(Generic[T]):
    """Axes that change the structure, outside; for each combination of their texts a table of the others."""

    sizes: tuple[int, ...]
    axes: tuple[int, ...]
    tables: tuple[Table[T], ...]

    def pieces(self, places: Codes) -> Iterator[tuple[Codes, T]]:
        """Values at places, those of each structure from its own table."""
        codes = np.unravel_index(places, self.sizes)
        outer = _ravel([codes[axis] for axis in self.axes], [self.sizes[axis] for axis in self.axes])
        rest = [axis for axis in range(len(self.sizes)) if axis not in self.axes]
        inner = _ravel([codes[axis] for axis in rest], [self.sizes[axis] for axis in rest])
        for number in np.unique(outer):
            here = np.flatnonzero(outer == number).astype(np.int64)
            for positions, value in self.tables[int(number)].pieces(
                np.broadcast_to(inner, outer.shape)[here]
            ):
                yield here[positions], value


def tabulate(build: Build[T], texts: Sequence[Sequence[str]], parts: Sequence[Hashable]) -> Table[T]:
    """A table of ``build`` over all combinations of the texts of each axis.

    ``parts`` names the component each axis belongs to: axes of one component are always built together.

    Raises
    ------
    ConfigError
        Every problem met while building, together.
    """
    sizes = tuple(len(axis) for axis in texts)
    together: dict[Hashable, tuple[int, ...]] = {}
    for axis, part in enumerate(parts):
        together[part] = (*together.get(part, ()), axis)
    if int(np.prod(sizes, dtype=np.float64)) <= FULL or len(together) < 2:
        return listed(build, texts, range(int(np.prod(sizes, dtype=np.int64))))
    return _Builder(build, texts, sizes).table(list(together.values()))


def listed(build: Build[T], texts: Sequence[Sequence[str]], places: Sequence[int]) -> Listed[T]:
    """A table of some places only, each built in full.

    Raises
    ------
    ConfigError
        Every problem met while building, together.
    """
    found = dict(zip(places, _all_built(build, texts, places), strict=True))
    return Listed(found)


class _Builder(Generic[T]):
    """Finds which axes are independent, and the table that follows."""

    def __init__(self, build: Build[T], texts: Sequence[Sequence[str]], sizes: tuple[int, ...]) -> None:
        self.build, self.texts, self.sizes = build, texts, sizes
        self.built: dict[tuple[int, ...], T] = {}

    def table(self, groups: list[tuple[int, ...]]) -> Table[T]:
        """The table for groups of axes that must be built together, or for larger groups where those interact."""
        while len(groups) > 1:
            columns = [self._column(group) for group in groups]
            forms = [{structure(value) for value in column} for column in columns]
            outer = [group for group, found in zip(groups, forms, strict=True) if len(found) > 1]
            if outer:
                return self._split(tuple(sorted(itertools.chain(*outer))))
            factors = [self._factor(*both) for both in zip(groups, columns, strict=True)]
            pair = _sharing(factors)
            composed = Composed(self.sizes, columns[0][0], tuple(factors))
            pair = pair or self._disagreeing(composed)
            if pair is None:
                return composed
            merged = tuple(sorted(groups[pair[0]] + groups[pair[1]]))
            groups = [*(group for number, group in enumerate(groups) if number not in pair), merged]
        return listed(self.build, self.texts, range(int(np.prod(self.sizes, dtype=np.int64))))

    def _split(self, outer: tuple[int, ...]) -> Split[T]:
        rest = [axis for axis in range(len(self.sizes)) if axis not in outer]
        tables = []
        for chosen in itertools.product(*(self.texts[axis] for axis in outer)):
            fixed = dict(zip(outer, chosen, strict=True))

            def build(inner: tuple[str, ...], fixed: dict[int, str] = fixed) -> T:
                given = iter(inner)
                return self.build(
                    tuple(fixed[a] if a in fixed else next(given) for a in range(len(self.sizes)))
                )

            tables.append(tabulate(build, [self.texts[axis] for axis in rest], rest))
        return Split(self.sizes, outer, tuple(tables))

    def _column(self, group: tuple[int, ...]) -> list[T]:
        """Values with the axes of a group varied, all others at their first text."""
        combinations = itertools.product(*(range(self.sizes[axis]) for axis in group))
        return self._values([self._at(dict(zip(group, codes, strict=True))) for codes in combinations])

    def _at(self, codes: dict[int, int]) -> tuple[int, ...]:
        return tuple(codes.get(axis, 0) for axis in range(len(self.sizes)))

    def _values(self, wanted: list[tuple[int, ...]]) -> list[T]:
        missing = [codes for codes in dict.fromkeys(wanted) if codes not in self.built]
        places = [int(_ravel([np.array([c]) for c in codes], self.sizes)[0]) for codes in missing]
        self.built |= dict(zip(missing, _all_built(self.build, self.texts, places), strict=True))
        return [self.built[codes] for codes in wanted]

    def _factor(self, group: tuple[int, ...], column: list[T]) -> Factor:
        leaves = [arrays(value) for value in column]
        joined = [np.concatenate(same) for same in zip(*leaves, strict=True)]
        return Factor(group, {i: entries for i, entries in enumerate(joined) if not _constant(entries)})

    def _disagreeing(self, composed: Composed[T]) -> tuple[int, int] | None:
        """Two factors to build together because a value built in full is not what the factors say."""
        chance, form = random.Random(0), structure(composed.base)
        for one, other in itertools.combinations(range(len(composed.factors)), 2):
            for codes in self._pairs(composed.factors[one], composed.factors[other], chance):
                if not self._agrees(composed, form, codes):
                    return one, other
        for _ in range(SAMPLES):
            codes = tuple(chance.randrange(size) for size in self.sizes)
            if not self._agrees(composed, form, codes):
                return 0, 1
        return None

    def _pairs(self, one: Factor, other: Factor, chance: random.Random) -> list[tuple[int, ...]]:
        """Combinations of two factors to check: all, or the extremes of both and some at random."""
        rows = [
            list(itertools.product(*(range(self.sizes[axis]) for axis in factor.axes)))
            for factor in (one, other)
        ]
        if len(rows[0]) * len(rows[1]) <= PAIRS:
            chosen = list(itertools.product(*rows))
        else:
            ends = ([rows[k][i] for i in _extremes(factor)] for k, factor in enumerate((one, other)))
            chosen = list(itertools.product(*ends))
            chosen += [(chance.choice(rows[0]), chance.choice(rows[1])) for _ in range(PAIRS - len(chosen))]
        axes = (*one.axes, *other.axes)
        return [self._at(dict(zip(axes, (*a, *b), strict=True))) for a, b in chosen]

    def _agrees(self, composed: Composed[T], form: Hashable, codes: tuple[int, ...]) -> bool:
        """Whether a combination built in full is bit for bit what the factors make of it."""
        built = self._values([codes])[0]
        parts = composed.arrays(tuple(np.array([code]) for code in codes))
        same = zip(arrays(built), parts, strict=True)
        return structure(built) == form and all(a.tobytes() == b.tobytes() for a, b in same)


def _all_built(build: Build[T], texts: Sequence[Sequence[str]], places: Sequence[int]) -> list[T]:
    sizes = [len(axis) for axis in texts]
    found: list[T] = []
    problems: dict[Problem, None] = {}
    for place in places:
        codes = np.unravel_index(place, sizes) if sizes else ()
        try:
            found.append(build(tuple(axis[int(code)] for axis, code in zip(texts, codes, strict=True))))
        except WRONG_INPUT as error:
            problems |= dict.fromkeys(error.problems)
            if len(problems) >= MAX_PROBLEMS:
                break
    if problems:
        raise ConfigError(*problems)
    return found


def _ravel(codes: Sequence[np.ndarray[tuple[int], np.dtype[np.int64]]], sizes: Sequence[int]) -> Codes:
    """Place in a product of axes; 0 where there are none."""
    place = np.zeros(1, dtype=np.int64)
    for code, size in zip(codes, sizes, strict=True):
        place = place * size + code
    return place


def _sharing(factors: Sequence[Factor]) -> tuple[int, int] | None:
    """Two factors that vary the same array."""
    pairs = itertools.combinations(range(len(factors)), 2)
    return next((p for p in pairs if factors[p[0]].entries.keys() & factors[p[1]].entries.keys()), None)


def _constant(entries: Array) -> bool:
    return bool((entries.view(np.int64) == entries.view(np.int64)[0]).all())


def _extremes(factor: Factor) -> list[int]:
    """Rows of a factor with the least or the largest entry of some array."""
    found: dict[int, None] = {}
    for entries in factor.entries.values():
        known = np.where(np.isnan(entries), np.inf, entries)
        found |= {int(np.argmin(known)): None, int(np.argmax(known)): None}
    return list(found)[:16] or [0]
