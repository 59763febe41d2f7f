"""Stream: items of different durations through stages with finite queues, fixed orders and barriers.

Every unit serves its operations in an order that is part of the program, so that times follow from maxima and sums
alone (a max-plus recursion): the closed form is exact, and both bounds and the simulation are equal. Modelled: several
servers that release in order, queues that block the stage before, items that skip stages, stages that share a unit,
items that wait for others, groups of items that follow one another, stages that start on the first of what the stage
before sends. Not modelled: arbitration by arrival.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from dse.errors import Problem
from dse.simulator.arrays import ONE, ZERO
from dse.simulator.program import Column, Leaf
from dse.simulator.stream_plan import DeadlockError, Plan, plan_of_stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    from dse.simulator.arrays import Array
    from dse.simulator.points import Points
    from dse.simulator.program import Action, Program
    from dse.simulator.simulate import Run

    Ints = npt.NDArray[np.int64]

UNLIMITED = np.inf
Limits: TypeAlias = tuple[tuple[int, ...], tuple[float, ...]]
_NO_LATENCY = Column(ZERO)
_NO_LIMIT = Column(np.array([UNLIMITED]))
# Points solved together: start and end of every operation are kept for each.
_TOGETHER = 128


@dataclass(frozen=True, eq=False)
class Stage:
    """One stop of every item.

    Attributes
    ----------
    busy
        Cycles an item holds a server, shape (points or 1, items); NaN for an item that skips the stage.
    latency
        Cycles from leaving this stage to arriving at the next.
    queue
        Places for items that have left the stage before and not yet started here; at least 1.
    through
        Starts with the item's start in the stage before, not its end, and ends no earlier than that does.
    order
        Items in the order they are served; as they are numbered if not given.
    actions
        What the whole stream is charged for here, once.
    parts
        For the simulation: pieces of each item's busy time, an event each; they sum to it.
    """

    name: str
    unit: str
    busy: Array
    latency: Column = _NO_LATENCY
    queue: Column = _NO_LIMIT
    through: bool = False
    order: Ints | None = None
    actions: tuple[Action, ...] = ()
    parts: tuple[tuple[float, ...], ...] | None = None


@dataclass(frozen=True, eq=False)
class Wait:
    """Item i of stage ``target`` starts after item ``items[i]`` has left stage ``source``; -1: after nothing.

    With ``arrival`` it waits for the source's latency, too: for its data, not for its place.
    """

    target: str
    source: str
    items: Ints
    arrival: bool = True


@dataclass(frozen=True, eq=False)
class Stream(Leaf):
    """Items through ``stages``; see the module docstring.

    ``groups`` numbers the group of each item, never falling: a group starts when all before it are through.
    ``turns`` gives each unit that several stages share its operations (stage number, item) in order.
    """

    name: str
    stages: tuple[Stage, ...]
    waits: tuple[Wait, ...] = ()
    groups: Ints | None = None
    turns: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    plans: dict[Limits, Plan] = field(default_factory=dict, init=False, repr=False)

    @property
    def items(self) -> int:
        """Number of items."""
        return int(self.stages[0].busy.shape[1])

    @property
    def units(self) -> frozenset[str]:
        """Units of its stages."""
        return frozenset(stage.unit for stage in self.stages)

    def arrays(self) -> Iterator[Array]:
        """Every array it holds."""
        for stage in self.stages:
            yield from (stage.busy, stage.latency, stage.queue)
            for action in stage.actions:
                yield from (action.count, action.bytes, action.joules)

    def problems(self, path: str, program: Program) -> Iterator[Problem]:
        """Shapes, names and orders that do not fit, and orders that lock up."""
        found = list(_faults(self, path))
        yield from found
        if not found:
            for servers, queues in {self._limits(program, point) for point in range(_size(self, program))}:
                try:
                    self._plan((servers, queues))
                except DeadlockError as error:
                    yield Problem(str(error), path=path)

    def work(self, points: Points) -> dict[str, Array]:
        """Server-cycles of each unit."""
        found: dict[str, Array] = {}
        for stage in self.stages:
            cycles = np.nansum(points.at(stage.busy), axis=1)
            found[stage.unit] = found[stage.unit] + cycles if stage.unit in found else cycles
        return found

    def terms(self, points: Points) -> dict[str, Array]:
        """Work of each unit; the unit with most of it stands for the exact length."""
        exact = points.once("exact", self, lambda: self._exact(points))
        loads = {
            name: work / points.at(points.program.units[name].count)
            for name, work in self.work(points).items()
        }
        most = np.maximum.reduce(np.broadcast_arrays(*loads.values()))
        left = np.ones(np.broadcast_shapes(most.shape, exact.shape), np.bool_)
        found = {}
        for name, load in loads.items():
            here = left & (load == most)
            left = left & ~here
            found[name] = np.where(here, exact, np.minimum(load, exact))
        return found

    def upper(self, points: Points) -> Array:
        """The exact length: the order leaves no choice."""
        return points.once("exact", self, lambda: self._exact(points))

    def actions(self, points: Points) -> Iterator[tuple[str, Action, Array]]:
        """Actions of each stage, charged once."""
        for stage in self.stages:
            for action in stage.actions:
                yield stage.name, action, ONE

    def run(self, points: Points, limit: int, record: int, path: str) -> Run:
        """Event simulation of one design point."""
        from dse.simulator.stream_run import run_stream

        servers, queues = self._limits(points.program, points.start)
        return run_stream(self, points, servers, queues, limit, record, path)

    def _exact(self, points: Points) -> Array:
        """Length of the stream: points of equal queues and servers together."""
        size = max(len(points.at(array)) for array in (*self.arrays(), *_counts(self, points.program)))
        found = np.empty(size)
        same: dict[Limits, list[int]] = {}
        for point in range(size):
            same.setdefault(self._limits(points.program, points.start + point), []).append(point)
        for limits, members in same.items():
            plan = self._plan(limits)
            for first in range(0, len(members), _TOGETHER):
                chosen = np.array(members[first : first + _TOGETHER])
                found[chosen] = self._solved(plan, points, chosen)
        return found

    def _solved(self, plan: Plan, points: Points, chosen: Ints) -> Array:
        busy = [_pick(points.at(stage.busy), chosen) for stage in self.stages]
        latency = [_pick(points.at(stage.latency)[:, None], chosen)[:, 0] for stage in self.stages]
        return plan.length(busy, latency, len(chosen))

    def _plan(self, limits: Limits) -> Plan:
        """Order of its operations with so many servers and places, found once."""
        if limits not in self.plans:
            self.plans[limits] = plan_of_stream(self, *limits)
        return self.plans[limits]

    def _limits(self, program: Program, point: int) -> Limits:
        """Servers of the units in order of their names, and queues of the stages, at one point."""
        servers = tuple(int(_of(program.units[name].count, point)) for name in sorted(self.units))
        return servers, tuple(float(_of(stage.queue, point)) for stage in self.stages)


def _counts(stream: Stream, program: Program) -> Iterator[Array]:
    return (program.units[name].count for name in sorted(stream.units))


def _size(stream: Stream, program: Program) -> int:
    if not stream.units <= program.units.keys():
        return 0
    return max(len(array) for array in (*(stage.queue for stage in stream.stages), *_counts(stream, program)))


def _of(values: Array, point: int) -> float:
    return float(values[point if len(values) > 1 else 0])


def _pick(values: Array, chosen: Ints) -> Array:
    """Rows of the chosen points; one row stands for all."""
    return values if len(values) == 1 else values[chosen]


def _faults(stream: Stream, path: str) -> Iterator[Problem]:
    names = [stage.name for stage in stream.stages]
    if not names or len(set(names)) < len(names):
        yield Problem("needs stages of different names", path=path)
        return
    if any(stage.busy.ndim != 2 for stage in stream.stages):
        yield Problem("needs items on axis 1 of the busy times of every stage", path=path)
        return
    items = {stage.busy.shape[1] for stage in stream.stages}
    if len(items) > 1 or not items.pop():
        yield Problem("needs the same items in every stage, and at least one", path=path)
        return
    for stage in stream.stages:
        missing = np.isnan(stage.busy)
        if (missing != missing[0]).any():
            yield Problem("skips an item at some design points only", path=f"{path}/{stage.name}")
        if not bool(np.all(stage.queue >= 1)):
            yield Problem("needs at least one place in its queue", path=f"{path}/{stage.name}")
        if not bool(np.all(np.nan_to_num(stage.busy) >= 0)):
            yield Problem("has a negative busy time", path=f"{path}/{stage.name}")
    if np.logical_and.reduce([np.isnan(stage.busy).any(axis=0) for stage in stream.stages]).any():
        yield Problem("has items that visit no stage", path=path)
    unknown = {name for wait in stream.waits for name in (wait.target, wait.source)} - set(names)
    yield from (Problem(f"waits at unknown stage {name!r}", path=path) for name in sorted(unknown))
    if stream.groups is not None and (np.diff(stream.groups) < 0).any():
        yield Problem("has groups that do not follow one another", path=path)
    shared = {s.unit for s in stream.stages if sum(o.unit == s.unit for o in stream.stages) > 1}
    yield from (
        Problem(f"needs turns of shared unit {u!r}", path=path) for u in sorted(shared - stream.turns.keys())
    )
