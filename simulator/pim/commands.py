"""Requests of one channel for decode attention, in order: accesses, moves and barriers of pairs of heads.

The published order is that of the public AttAcc simulator's trace generators, for the first channel. The physical one
sends every move, spread evenly over the accesses of its segment, opens no row early and reads each head's own values.
The time of the softmax unit and the merging of parts are not among the requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import DseError, MappingError
from dse.simulator.dram_channel import ACCESS, BARRIER, MOVE, SIGNAL, Request, Rules
from dse.simulator.dram_schedule import Schedule, schedule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dse.simulator.arrays import Array
    from dse.simulator.pim.shape import Shape

Moves = list[Request]
WALL = Request(BARRIER)
# Accesses of a channel whose commands take a minute or so.
MOST = 4e6


def _whole(values: Array) -> int:
    return int(values[0])


@dataclass(frozen=True)
class Layout:
    """Where one channel of one design point keeps what, in whole numbers."""

    shape: Shape
    published: bool

    @cached_property
    def channels(self) -> int:
        """Channels of a stack."""
        return _whole(self.shape.machine.dram.channels)

    @cached_property
    def sets(self) -> int:
        """Sets of banks."""
        return _whole(self.shape.machine.bank_sets)

    @cached_property
    def columns(self) -> int:
        """Column accesses in a row."""
        return _whole(self.shape.machine.dram.columns)

    def busy(self, wave: int) -> int:
        """Channels that have a head in a wave."""
        return min(self.channels, _whole(self.shape.parts) - wave * self.channels)

    def scores(self, wave: int) -> list[Request]:
        """Accesses of the keys of a wave's head."""
        unique = _whole(self.shape.score_columns * self.shape.rows_of_keys)
        return self._accesses(unique, unique, self._rows * wave)

    def values(self, wave: int) -> list[Request]:
        """Accesses of the values of a wave's head; those of its keys' rows where both are stored once."""
        shape = self.shape
        unique = _whole(shape.value_columns * shape.rows_of_keys)
        if shape.work.shared:
            return self._accesses(unique, _whole(shape.score_columns * shape.rows_of_keys), self._rows * wave)
        return self._accesses(unique, unique, self._rows * (_whole(shape.waves) + wave))

    @cached_property
    def _rows(self) -> int:
        """Rows of a set that a head's keys, or values, are given."""
        rows = max(_whole(self.shape.score_rows), _whole(self.shape.value_rows))
        return -(-rows // self.sets)

    def _accesses(self, unique: int, stored: int, base: int) -> list[Request]:
        passes, found = _whole(self.shape.passes), []
        fine = self.shape.machine.level == "buffer"
        for number in range(unique):
            column = number * stored // unique
            if fine:
                groups = self.sets // _whole(self.shape.machine.dram.banks)
                group, bank = number % groups, number // groups % (self.sets // groups)
                place, row = group * (self.sets // groups) + bank, column // (self.sets * self.columns)
            else:
                chunk = column // self.columns
                place, row = chunk % self.sets, chunk // self.sets
            found += [Request(ACCESS, place, base + row)] * passes
        return found

    @cached_property
    def movers(self) -> list[int]:
        """Banks that lead the units scores are moved from and to, ranks in turn."""
        count = _whole(self.shape.movers)
        step = _whole(self.shape.machine.dram.banks_each) // count
        per_rank = _whole(self.shape.machine.dram.bank_groups * self.shape.machine.dram.banks)
        return sorted((step * number for number in range(count)), key=lambda b: (b % per_rank, b))

    def queries(self) -> Moves:
        """Moves that bring a head's query rows."""
        shape = self.shape
        each = range(_whole(shape.machine.head_dim))
        columns, rows = _whole(shape.score_columns), _whole(shape.work.queries)
        return [Request(MOVE, bank) for _ in range(rows) for bank in each for _ in range(columns)]

    def collected(self) -> Moves:
        """Moves of one segment's scores."""
        return [Request(MOVE, bank) for _ in range(_whole(self.shape.work.queries)) for bank in self.movers]

    def weights(self) -> Moves:
        """Moves that bring a head's softmax back."""
        rows = _whole(self.shape.work.queries)
        each = _whole(self.shape.weight_moves) // (rows * len(self.movers))
        return [Request(MOVE, bank) for _ in range(rows) for bank in sorted(self.movers) for _ in range(each)]

    def results(self) -> Moves:
        """Moves of one column of a head's results."""
        shape, dram = self.shape, self.shape.machine.dram
        ranks = min(_whole(dram.ranks), len(self.movers))
        per_rank = _whole(dram.bank_groups * dram.banks)
        banks = [r * per_rank + b for b in range(_whole(shape.machine.head_dim)) for r in range(ranks)]
        return [Request(MOVE, bank) for _ in range(_whole(shape.work.queries)) for bank in banks]


@dataclass
class Stream:
    """The requests so far, and moves left to the next segment."""

    layout: Layout
    found: list[Request]
    left: Moves

    def segments(self, accesses: list[Request], size: int, after: Moves, extra: list[Moves]) -> None:
        """Segments of ``size`` accesses; moves ``after`` each follow in the next one, ``extra`` go with it."""
        for number, start in enumerate(range(0, len(accesses), size)):
            own = accesses[start : start + size]
            moves = extra[number] if number < len(extra) else []
            if self.layout.published:
                before = self.left if number == 0 else []
                self.found += [*before, *own, *(after if number else []), *moves, WALL]
            else:
                self.found += [*_spread(own, [*(after if number else self.left), *moves]), WALL]
        self.left = list(after)


def _spread(accesses: list[Request], moves: Moves) -> Iterator[Request]:
    """Accesses with moves spread evenly between them."""
    done = 0
    for number, access in enumerate(accesses, start=1):
        yield access
        until = len(moves) * number // len(accesses)
        yield from moves[done:until]
        done = until


def requests(shape: Shape, published: bool) -> list[Request]:
    """Requests of the first channel of a stack, at one design point.

    Raises
    ------
    DseError
        More than one design point.
    """
    if shape.size > 1:
        raise DseError("commands are those of one design point")
    layout = Layout(shape, published)
    stream, waves = Stream(layout, [], []), _whole(shape.waves)
    for wave in range(0, waves - 1, 2):
        _pair(stream, wave)
    if waves % 2:
        _alone(stream, waves - 1)
    return stream.found + stream.left


def _pair(stream: Stream, wave: int) -> None:
    """Two heads: scores of the second during the softmax of the first."""
    layout, shape = stream.layout, stream.layout.shape
    first, second = layout.busy(wave), layout.busy(wave + 1)
    segments, columns = _whole(shape.segments), _whole(shape.value_columns)
    size = _whole(shape.outputs_per_move * shape.score_columns * shape.passes)
    deep = _whole(shape.rows_of_keys * shape.passes)
    scores, later = layout.scores(wave), layout.scores(wave + 1)
    softmax = [Request(SIGNAL)] if layout.published else []
    _start(stream, scores[:1] if layout.published and wave == 0 else [], wave)
    brought = _shared_out(layout, layout.queries(), segments, 0, second)
    stream.segments(scores, size, layout.collected(), brought)
    brought = _shared_out(layout, layout.weights(), segments, segments // 2, first)
    brought[0] = softmax + brought[0]
    stream.segments(later, size, layout.collected(), brought)
    brought = _shared_out(layout, layout.weights(), columns, columns // 2, second)
    brought[0] = softmax + brought[0]
    values = layout.values(wave)
    stream.segments(values, deep, layout.results(), brought)
    stream.segments(values if layout.published else layout.values(wave + 1), deep, layout.results(), [])


def _alone(stream: Stream, wave: int) -> None:
    """A head without a partner: its softmax is waited for."""
    layout, shape = stream.layout, stream.layout.shape
    size = _whole(shape.outputs_per_move * shape.score_columns * shape.passes)
    _start(stream, [], wave)
    stream.segments(layout.scores(wave), size, layout.collected(), [])
    softmax = [Request(SIGNAL)] if layout.published else []
    stream.found += [*stream.left, *softmax, *layout.weights(), WALL]
    stream.left = []
    deep = _whole(shape.rows_of_keys * shape.passes)
    stream.segments(layout.values(wave), deep, layout.results(), [])


def _start(stream: Stream, early: list[Request], wave: int) -> None:
    """Query rows of the first head of a pair: during the values before them, but after those as published."""
    layout = stream.layout
    if layout.published or wave == 0:
        stream.found += [*stream.left, *layout.queries(), *early, WALL]
        stream.left = []
    else:
        stream.left += layout.queries()


def _shared_out(layout: Layout, moves: Moves, segments: int, first: int, busy: int) -> list[Moves]:
    """Moves of each segment from the ``first`` on; as published, in whole numbers for all channels together."""
    loaded = segments - first
    if layout.published:
        share = len(moves) * busy // loaded
        cuts = [-(-number * share // busy) for number in range(loaded + 1)]
    else:
        cuts = [len(moves) * number // loaded for number in range(loaded + 1)]
    return [[]] * first + [moves[low:high] for low, high in pairwise(cuts)]


def scheduled(shape: Shape, published: bool) -> Array:
    """Cycles of a channel at every design point, every command scheduled.

    Raises
    ------
    MappingError
        More commands at a design point than can be scheduled in reasonable time.
    """
    found: dict[tuple[float, ...], float] = {}
    cycles = []
    for point in range(shape.size):
        one = shape.at(point)
        accesses = float((one.waves * (one.score_accesses + one.value_accesses))[0])
        if accesses > MOST:
            raise MappingError(
                f"{accesses:,.0f} accesses of a channel are more than the {MOST:,.0f} whose commands are scheduled; "
                "use timing=closed, the default"
            )
        key = tuple(float(value[0]) for value in one.columns)
        if key not in found:
            found[key] = float(simulate(one, published).cycles)
        cycles.append(found[key])
    return np.array(cycles)


def simulate(shape: Shape, published: bool, refresh: bool = True, others: Sequence[Request] = ()) -> Schedule:
    """Commands of one channel at one design point; reads of ``others`` take what the attention leaves.

    Raises
    ------
    DseError
        More than one design point.
    """
    machine = shape.machine
    rules = Rules(
        sets=_whole(machine.bank_sets),
        spacing=_whole(machine.spacing_cycles),
        opening=_whole(machine.opening_cycles),
        view=_whole(machine.queue),
        ahead=machine.ahead,
        paired=machine.paired,
        refresh=refresh,
        published=published,
    )
    streams = (requests(shape, published), *((others,) if others else ()))
    return schedule(machine.dram, rules, *streams)
