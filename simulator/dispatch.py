"""Dispatch: thread blocks of unequal length over equal slots, their transfers a fluid that all of them share.

Modelled: blocks start in a fixed order as slots become free; each first waits for the share of its transfers that does
not hide behind its work, then works while the rest arrives; the fluid serves all blocks that wait for it at equal rates
and starts to deliver after a ramp. Rates change at starts, phases and ends of blocks only. Not modelled: slots of
different speed, transfers of a block ahead of its start.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import simpy

from dse.errors import DseError, Problem
from dse.simulator.arrays import ZERO, Array
from dse.simulator.engine import Slice
from dse.simulator.list_schedule import GRID, LONGEST_FIRST, Run, expected, least, most, spread_of
from dse.simulator.program import Leaf
from dse.simulator.structure import LATENCY

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from dse.simulator.list_schedule import Spread
    from dse.simulator.points import Points
    from dse.simulator.program import Action, Program
    from dse.simulator.simulate import Run as Simulated

EVENTS_OF_A_BLOCK = 4
SLOT = "slot"


@dataclass(frozen=True, eq=False)
class Dispatch(Leaf):
    """Blocks over slots.

    Attributes
    ----------
    runs
        Durations of the blocks' own work, in cycles.
    fluid, transfers, hidden, ramp
        Unit that moves the data, the cycles it takes for all blocks at its full rate (each block's part follows its
        duration), the share of them that hides behind a block's own work, and the cycles until it delivers.
    busy
        Server-cycles that the blocks keep each other unit busy.
    blame
        1 for the unit (or ``latency``) that bounds the blocks at a point, 0 for the others.
    charges
        Actions of all blocks together, with a label.
    """

    name: str
    runs: tuple[Run, ...]
    slots: Array
    fluid: str
    transfers: Array = field(default_factory=lambda: ZERO)
    hidden: Array = field(default_factory=lambda: ZERO)
    ramp: Array = field(default_factory=lambda: ZERO)
    order: str = GRID
    busy: Mapping[str, Array] = field(default_factory=dict)
    blame: Mapping[str, Array] = field(default_factory=dict)
    charges: tuple[tuple[str, Action], ...] = ()

    @property
    def units(self) -> frozenset[str]:
        """The fluid's unit, and those that the blocks keep busy."""
        return frozenset({self.fluid, *self.busy})

    def arrays(self) -> Iterator[Array]:
        """Every array of the node."""
        for run in self.runs:
            yield from (run.first, run.step, run.classes, run.each)
        yield from (self.slots, self.transfers, self.hidden, self.ramp)
        yield from self.busy.values()
        yield from self.blame.values()
        for _, action in self.charges:
            yield from (action.count, action.bytes, action.joules)

    def problems(self, path: str, program: Program) -> Iterator[Problem]:
        """No blocks at all, an unknown order, no slots, or a share that is none."""
        if not self.runs:
            yield Problem("has no blocks", path=path)
        if self.order not in (GRID, LONGEST_FIRST):
            yield Problem(f"order is {self.order!r}; allowed: {GRID}, {LONGEST_FIRST}", path=path)
        if not np.all(self.slots >= 1.0):
            yield Problem("needs at least one slot", path=path)
        if not np.all((self.hidden >= 0.0) & (self.hidden <= 1.0)):
            yield Problem("hides a share of its transfers that is not between 0 and 1", path=path)
        for unit in self.blame:
            if unit != LATENCY and unit not in program.units:
                yield Problem(f"blames unknown unit {unit!r}", path=path)

    def blocks(self, points: Points) -> Spread:
        """Blocks and moments of their durations."""
        return points.once("blocks", self, lambda: spread_of(self._runs_at(points)))

    def terms(self, points: Points) -> dict[str, Array]:
        """The list of blocks under what bounds them, and the fluid: both lower bounds of any order.

        A block alone still waits for the exposed part of its transfers at the fluid's full rate.
        """
        spread = self.blocks(points)
        with np.errstate(divide="ignore", invalid="ignore"):
            each = np.where(spread.total > 0.0, points.at(self.transfers) / spread.total, 0.0)
        exposed = 1.0 + (1.0 - points.at(self.hidden)) * each
        listed = least(spread, points.at(self.slots)) * exposed
        blame = self.blame or {LATENCY: np.ones(1)}
        found = {unit: listed * points.at(part) for unit, part in blame.items()}
        fluid = self._delivered(points)
        found[self.fluid] = np.maximum(found[self.fluid], fluid) if self.fluid in found else fluid
        return found

    def _delivered(self, points: Points) -> Array:
        """Cycles until the fluid has moved everything."""
        transfers = points.at(self.transfers)
        return np.where(transfers > 0.0, transfers + points.at(self.ramp), 0.0)

    def expected(self, points: Points) -> Array:
        """Length to expect: the list in its order with the exposed transfers of all blocks, or the fluid."""
        spread, slots = self.blocks(points), points.at(self.slots)
        exposed = (1.0 - points.at(self.hidden)) * points.at(self.transfers)
        length = expected(spread, slots, self.order, self._runs_at(points))
        listed = np.where(spread.count > 0.0, length + exposed, 0.0)
        found: Array = np.maximum(listed, self._delivered(points))
        return found

    def upper(self, points: Points) -> Array:
        """Graham's bound and all transfers: while the fluid rests, every slot works on its block."""
        return most(self.blocks(points), points.at(self.slots)) + self._delivered(points)

    def work(self, points: Points) -> dict[str, Array]:
        """Server-cycles of each unit."""
        return {unit: points.at(cycles) for unit, cycles in self.busy.items()} | {
            self.fluid: points.at(self.transfers)
        }

    def actions(self, points: Points) -> Iterator[tuple[str, Action, Array]]:
        """Charges of all blocks, once."""
        for label, action in self.charges:
            yield label, action, np.ones(1)

    def run(self, points: Points, limit: int, record: int, path: str) -> Simulated:
        """Event simulation of one design point."""
        return _Simulation(self, points, limit, record, path).run()

    def _runs_at(self, points: Points) -> list[Run]:
        return [
            Run(points.at(r.first), points.at(r.step), points.at(r.classes), points.at(r.each))
            for r in self.runs
        ]

    def durations(self, points: Points) -> Iterator[float]:
        """Durations of all blocks of one point in the order in which they start.

        In the order of the grid every round takes one block of each class, as heads take their rows in turn.
        """
        kinds = [
            (float(run.first[0]) + number * float(run.step[0]), int(run.each[0]))
            for run in self._runs_at(points)
            for number in range(int(run.classes[0]))
        ]
        if self.order == LONGEST_FIRST:
            for duration, each in sorted(kinds, reverse=True):
                yield from (duration for _ in range(each))
            return
        for turn in range(max((each for _, each in kinds), default=0)):
            yield from (duration for duration, each in kinds if turn < each)


class Fluid:
    """A unit that serves all who wait for it at equal rates; idle until ``ramp``.

    Served work per customer is the same for all and only grows: customers leave in the order of what they had to wait
    for on top of it.
    """

    def __init__(self, env: simpy.Environment, ramp: float) -> None:
        self.env = env
        self.served = 0.0
        self.since = ramp
        self.waiting: list[tuple[float, int, simpy.Event]] = []
        self.number = 0

    def take(self, cycles: float) -> simpy.Event:
        """Event of the moment when so many cycles at the full rate were delivered."""
        done = self.env.event()
        if cycles <= 0.0:
            return done.succeed()
        self._serve()
        heapq.heappush(self.waiting, (self.served + cycles, self.number, done))
        self.number += 1
        self._next()
        return done

    def _serve(self) -> None:
        """Count what was served since the last change."""
        passed = max(self.env.now - self.since, 0.0)
        if self.waiting:
            self.served += passed / len(self.waiting)
        self.since = max(self.env.now, self.since)

    def _next(self) -> None:
        """Wake up when the first of those waiting is served, unless something changes before."""
        left = max(self.waiting[0][0] - self.served, 0.0) * len(self.waiting)
        self.version = self.number
        start = max(self.since - self.env.now, 0.0)
        self.env.process(self._finish(self.version, start + left))

    def _finish(self, version: int, delay: float) -> Generator[simpy.Event, None, None]:
        yield self.env.timeout(delay)
        if version != self.version or not self.waiting:
            return
        self._serve()
        goal, _, done = heapq.heappop(self.waiting)
        self.served = goal
        done.succeed()
        while self.waiting and self.waiting[0][0] <= goal:
            heapq.heappop(self.waiting)[2].succeed()
        self.number += 1
        if self.waiting:
            self._next()


class _Simulation:
    """One design point of a Dispatch."""

    def __init__(self, node: Dispatch, points: Points, limit: int, record: int, path: str) -> None:
        self.node, self.points, self.record, self.path = node, points, record, path
        self.blocks = self._whole(limit)
        spread = node.blocks(points)
        transfers = float(points.at(node.transfers)[0])
        total = float(spread.total[0])
        self.each = transfers / total if total else 0.0
        self.transfers = transfers
        self.hidden = float(points.at(node.hidden)[0])
        self.slots = int(points.at(node.slots)[0])
        self.env = simpy.Environment()
        self.fluid = Fluid(self.env, float(points.at(node.ramp)[0]))
        self.slices: list[Slice] = []
        self.end = 0.0

    def _whole(self, limit: int) -> list[float]:
        """Blocks in order, if there are not too many of them and their numbers are whole."""
        at = self.points.at
        for run in self.node.runs:
            for number in (float(at(run.classes)[0]), float(at(run.each)[0])):
                if not number.is_integer() or number < 0:
                    raise DseError(f"blocks of {self.path}: {number:g} of them cannot be simulated")
        if not float(at(self.node.slots)[0]).is_integer():
            raise DseError(f"slots of {self.path}: their number is not whole")
        count = float(self.node.blocks(self.points).count[0])
        if count * EVENTS_OF_A_BLOCK > limit:
            raise DseError(
                f"simulating {self.path} takes {count:.0f} thread blocks, more than {limit // EVENTS_OF_A_BLOCK}"
            )
        return list(self.node.durations(self.points))

    def run(self) -> Simulated:
        """All blocks, slot by slot."""
        from dse.simulator.simulate import Run as Simulated
        from dse.simulator.simulate import Time

        queue = iter(enumerate(self.blocks))
        for lane in range(min(self.slots, len(self.blocks))):
            self.env.process(self._slot(lane, queue))
        self.env.run()
        cycles = self.end
        units = {}
        for name, busy in self.node.work(self.points).items():
            servers = int(self.points.at(self.points.program.units[name].count)[0])
            units[name] = Time(servers, float(busy[0]), {}, servers * cycles - float(busy[0]))
        return Simulated(cycles, units, self.slices, steps=EVENTS_OF_A_BLOCK * len(self.blocks))

    def _slot(self, lane: int, queue: Iterator[tuple[int, float]]) -> Generator[simpy.Event, None, None]:
        for number, duration in queue:
            start = self.env.now
            moved = duration * self.each
            yield self.fluid.take((1.0 - self.hidden) * moved)
            yield self.env.timeout(duration) & self.fluid.take(self.hidden * moved)
            self.end = max(self.end, self.env.now)
            if len(self.slices) < self.record:
                self.slices.append(Slice(SLOT, lane, self.path, number, start, self.env.now - start))
