"""Counts of a whole grid from those of a few programs: piecewise affine along each axis, and verified.

A program is measured as named whole numbers (counts, corners and ends of boxes). Along one axis of the grid a
number is affine in each of a few pieces, or in each residue class of a small period within a piece (tiles of
two sizes, heads that share keys); the axes add up. Every piece is checked on programs it was not fitted on,
the whole on programs across the grid. Not modelled: numbers that depend on two axes jointly, which the checks
refuse.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from dse.errors import TraceError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Generator, Hashable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from dse.kernels.observer import Grid

    Measure: TypeAlias = Mapping[Hashable, int]
    Rows: TypeAlias = npt.NDArray[np.int64]

# Shorter stretches are measured whole.
SHORTEST_PIECE = 6
PERIODS = (1, 2, 4, 8)
HELD_OUT = 6


class SamplingRefusedError(TraceError):
    """The kernel cannot be sampled: what it does depends on loaded values, or is not piecewise affine."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Positions ``start`` to ``stop`` (exclusive) of an axis; ``period`` 0 if each was measured."""

    start: int
    stop: int
    period: int


@dataclass(slots=True)
class Grid3:
    """Measurements of a grid as far as they are made, and what follows from them."""

    sizes: Grid
    measured: dict[Grid, Measure] = field(default_factory=dict)
    names: dict[Hashable, int] = field(default_factory=dict)
    pieces: list[list[Piece]] = field(default_factory=list)
    fitted: int = 0

    def plan(self) -> Generator[Grid, None, None]:
        """Programs to measure, in order; each must be in ``measured`` when the next one is asked for.

        Raises
        ------
        SamplingRefusedError
            If a held-out program differs from what the others lead to.
        """
        for axis in range(3):
            self.pieces.append([])
            yield from self._cover(axis, 0, self.sizes[axis] - 1)
        self.fitted = len(self.measured)
        for place in self._held_out():
            yield from self._measure(place)
            if not np.array_equal(self.row(place), self.predicted(place)):
                raise SamplingRefusedError(f"program {place} differs from what sampled programs lead to")

    def add(self, place: Grid, measure: Measure) -> None:
        """Note what one program measured."""
        self.measured[place] = measure
        for name in measure:
            self.names.setdefault(name, len(self.names))

    def row(self, place: Grid) -> Rows:
        """Measured numbers of a program in the order of ``names``; 0 where it has none."""
        found = np.zeros(len(self.names), dtype=np.int64)
        for name, value in self.measured[place].items():
            found[self.names[name]] = value
        return found

    def predicted(self, place: Grid) -> Rows:
        """What the pieces say of one program."""
        return self._sum([self._at(axis, place[axis]) for axis in range(3)])

    def tables(self) -> list[Rows]:
        """Predicted numbers along each axis with the other two at 0, shape (size, names)."""
        return [np.concatenate([self._rows(axis, piece) for piece in self.pieces[axis]]) for axis in range(3)]

    def _sum(self, rows: Sequence[Rows]) -> Rows:
        total: Rows = np.sum(rows, axis=0) - 2 * self.row((0, 0, 0))
        return total

    def _at(self, axis: int, position: int) -> Rows:
        piece = next(piece for piece in self.pieces[axis] if position < piece.stop)
        if not piece.period:
            return self.row(_along(axis, position))
        steps, residue = divmod(position - piece.start, piece.period)
        first = self.row(_along(axis, piece.start + residue))
        second = self.row(_along(axis, piece.start + residue + piece.period))
        return first + steps * (second - first)

    def _rows(self, axis: int, piece: Piece) -> Rows:
        """Predicted numbers of all positions of a piece."""
        positions = np.arange(piece.stop - piece.start)
        if not piece.period:
            return np.stack([self.row(_along(axis, piece.start + int(at))) for at in positions])
        ends = [self.row(_along(axis, piece.start + at)) for at in range(2 * piece.period)]
        base, slope = np.stack(ends[: piece.period]), np.stack(ends[piece.period :])
        steps, residue = np.divmod(positions, piece.period)
        rows: Rows = base[residue] + steps[:, None] * (slope - base)[residue]
        return rows

    def _measure(self, place: Grid) -> Iterator[Grid]:
        if place not in self.measured:
            yield place
        if place not in self.measured:
            raise AssertionError(f"program {place} was not measured")

    def _cover(self, axis: int, low: int, high: int) -> Iterator[Grid]:
        """Split positions ``low`` to ``high`` into pieces; single ones at the ends before halves."""
        for first, last in ((low, high), (low, high - 1), (low + 1, high), (low + 1, high - 1)):
            if last - first + 1 > SHORTEST_PIECE:
                period = yield from self._period(axis, first, last)
                if period:
                    yield from self._single(axis, range(low, first))
                    self.pieces[axis].append(Piece(first, last + 1, period))
                    yield from self._single(axis, range(last + 1, high + 1))
                    return
        if high - low + 1 <= SHORTEST_PIECE:
            yield from self._single(axis, range(low, high + 1))
            return
        middle = (low + high) // 2
        yield from self._cover(axis, low, middle)
        yield from self._cover(axis, middle + 1, high)

    def _single(self, axis: int, positions: range) -> Iterator[Grid]:
        for position in positions:
            yield from self._measure(_along(axis, position))
        if positions:
            self.pieces[axis].append(Piece(positions.start, positions.stop, 0))

    def _period(self, axis: int, first: int, last: int) -> Generator[Grid, None, int]:
        """Smallest period with which all held-out positions of a stretch are affine, 0 if none fits."""
        for period in PERIODS:
            if 4 * period > last - first + 1:
                break
            fits = yield from self._fits(axis, first, last, period)
            if fits:
                return period
        return 0

    def _fits(self, axis: int, first: int, last: int, period: int) -> Generator[Grid, None, bool]:
        for position in range(first, first + 2 * period):
            yield from self._measure(_along(axis, position))
        third = first + 2 * period + (last - first - 2 * period) // 3
        for start in (last - period + 1, (first + last) // 2, third):
            for position in range(start, min(start + period, last + 1)):
                yield from self._measure(_along(axis, position))
                steps, residue = divmod(position - first, period)
                base = self.row(_along(axis, first + residue))
                slope = self.row(_along(axis, first + residue + period)) - base
                if not np.array_equal(self.row(_along(axis, position)), base + steps * slope):
                    return False
        return True

    def _held_out(self) -> Iterator[Grid]:
        """Programs across the grid that no piece was fitted on: its far corner first, then drawn ones."""
        x, y, z = self.sizes
        far = (x - 1, y - 1, z - 1)
        generator = np.random.default_rng(0)
        drawn = (
            (int(generator.integers(x)), int(generator.integers(y)), int(generator.integers(z)))
            for _ in range(8 * HELD_OUT)
        )
        places = [place for place in dict.fromkeys((far, *drawn)) if place not in self.measured]
        yield from places[:HELD_OUT]


def _along(axis: int, position: int) -> Grid:
    place = [0, 0, 0]
    place[axis] = position
    return place[0], place[1], place[2]


def classes(grid: Grid3, columns: Sequence[int]) -> list[tuple[Grid, int, Rows]]:
    """Programs with equal numbers in ``columns``: the first of them, how many, and those numbers."""
    parts = []
    for table in grid.tables():
        rows, first, times = np.unique(table[:, columns], axis=0, return_index=True, return_counts=True)
        parts.append(list(zip(first.tolist(), times.tolist(), rows, strict=True)))
    origin = 2 * grid.row((0, 0, 0))[list(columns)]
    found: dict[bytes, tuple[Grid, int, Rows]] = {}
    for x, many_x, row_x in parts[0]:
        for y, many_y, row_y in parts[1]:
            for z, many_z, row_z in parts[2]:
                row = row_x + row_y + row_z - origin
                place, many = (x, y, z), many_x * many_y * many_z
                key = row.tobytes()
                if key in found:
                    place, many = min(place, found[key][0]), many + found[key][1]
                found[key] = (place, many, row)
    return sorted(found.values(), key=lambda item: item[0])


def boxes_of_all(grid: Grid3, columns: Sequence[int]) -> Rows:
    """Numbers in ``columns`` of every program, each distinct row once."""
    tables = [np.unique(table[:, columns], axis=0) for table in grid.tables()]
    x, y, z = tables
    rows = x[:, None, None] + y[None, :, None] + z[None, None, :] - 2 * grid.row((0, 0, 0))[list(columns)]
    distinct: Rows = np.unique(rows.reshape(-1, len(columns)), axis=0)
    return distinct


def union_volume(boxes: Rows) -> int:
    """Elements covered by boxes of shape (n, 2, dimensions): corners, then ends; empty ones add nothing."""
    boxes = boxes[np.all(boxes[:, 1] > boxes[:, 0], axis=1)]
    before = len(boxes) + 1
    while 1 < len(boxes) < before:
        before = len(boxes)
        for axis in range(boxes.shape[2]):
            boxes = _joined(boxes, axis)
    if len(boxes) < 2:
        return sum(prod((box[1] - box[0]).tolist()) for box in boxes)
    edges = [np.unique(boxes[:, :, axis]) for axis in range(boxes.shape[2])]
    covered = np.zeros([max(1, len(edge) - 1) for edge in edges], dtype=np.bool_)
    places = np.stack([np.searchsorted(edge, boxes[:, :, axis]) for axis, edge in enumerate(edges)], axis=2)
    for low, high in places.tolist():
        covered[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    volume = covered.astype(np.int64)
    for axis, edge in enumerate(edges):
        shape = [1] * len(edges)
        shape[axis] = -1
        volume = volume * np.diff(edge).reshape(shape)
    return int(volume.sum())


def _joined(boxes: Rows, axis: int) -> Rows:
    """The same elements in fewer boxes: those that touch along ``axis`` and agree on the others are one."""
    others = np.delete(boxes, axis, axis=2).reshape(len(boxes), -1)
    order = np.lexsort((boxes[:, 0, axis], *others.T))
    boxes, others = boxes[order], others[order]
    group = np.cumsum(np.r_[0, np.any(others[1:] != others[:-1], axis=1)])
    # Groups are set so far apart that one running maximum serves all of them.
    apart = group * (int(boxes[:, 1, axis].max()) + 1)
    ends = np.maximum.accumulate(boxes[:, 1, axis] + apart)
    starts = np.r_[True, boxes[1:, 0, axis] + apart[1:] > ends[:-1]]
    first = np.flatnonzero(starts)
    last = np.r_[first[1:], len(boxes)] - 1
    joined: Rows = boxes[first]
    joined[:, 1, axis] = ends[last] - apart[last]
    return joined


def added(total: Counter[Hashable], other: Mapping[Hashable, int], times: int) -> None:
    """Add ``times`` as many counts of ``other``."""
    for name, count in other.items():
        total[name] += count * times
