"""One run of a loop body in the event simulation: which steps are ready, and when the run has ended."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import simpy

from dse.errors import DseError
from dse.simulator.engine import EVENTS, Engine, Task
from dse.simulator.program import Loop, leaf_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dse.simulator.arrays import Array
    from dse.simulator.points import Points
    from dse.simulator.program import Body

NO_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True)
class Wait:
    """``target`` of iteration i waits for ``source`` of i - distance, of a hold until it is not busy."""

    number: int
    source: int
    target: int
    distance: int
    hold: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """A step at one design point, in ticks; it runs in iterations ``offset``, ``offset + every``, ..."""

    name: str
    unit: str | None
    busy: int
    latency: int
    every: int
    offset: int
    order: int
    runs: int

    def at_or_before(self, iteration: int) -> int:
        """Number (from 0) of the latest run not after an iteration, -1 if there is none."""
        return (iteration - self.offset) // self.every if iteration >= self.offset else -1


class Progress:
    """Runs of a step that are over: those below ``low`` and in ``beyond``; ``strays`` came out of order."""

    __slots__ = ("beyond", "low", "strays")

    def __init__(self) -> None:
        self.low = 0
        self.strays = 0
        self.beyond: set[int] = set()

    def add(self, run: int) -> None:
        """Another run is over."""
        self.strays += run != self.low
        self.beyond.add(run)
        while self.low in self.beyond:
            self.beyond.remove(self.low)
            self.low += 1

    def __contains__(self, run: int) -> bool:
        return run < self.low or run in self.beyond

    def shift(self, runs: int) -> None:
        """Pretend that so many more runs are over."""
        self.low += runs
        self.beyond = {run + runs for run in self.beyond}


class LoopRun:
    """State of a Body, or a Loop over one, while it is simulated."""

    def __init__(
        self, node: Loop | Body, engine: Engine, points: Points, path: str, order: Iterator[int]
    ) -> None:
        self.engine = engine
        self.path = path
        self.iterations = whole(node.count, points, f"count of {path}") if isinstance(node, Loop) else 1
        self.shapes = shapes_of(node, engine.ticks, points, path, order)
        self.waits = waits_of(node, points, path)
        size = len(self.shapes)
        self.before: list[list[Wait]] = [[w for w in self.waits if w.target == i] for i in range(size)]
        self.after: list[list[Wait]] = [[w for w in self.waits if w.source == i] for i in range(size)]
        self.free_until = [
            min((w.distance + self.shapes[w.source].offset for w in waits), default=NO_LIMIT)
            for waits in self.before
        ]
        self.last = [0] * len(self.waits)
        self.done = [Progress() for _ in range(size)]
        self.freed = [Progress() for _ in range(size)]
        self.pending: list[dict[int, Task]] = [{} for _ in range(size)]
        self.roots = [0] * size
        self.starts = [0] * size
        self.left = sum(shape.runs for shape in self.shapes)
        self.finished = simpy.Event(engine.env)
        self.watch: Callable[[Task], None] | None = None
        self.begun = 0

    def start(self) -> None:
        """Submit what waits for nothing; all of it is ready from now on, however late it is queued."""
        self.begun = self.engine.now
        if not self.left:
            self.finished.succeed()
        for step in range(len(self.shapes)):
            self._next_root(step)

    def _next_root(self, step: int) -> None:
        """Submit the next run that waits for nothing; of a step, the lower iteration is served first."""
        shape = self.shapes[step]
        limit = self.free_until[step]
        while self.roots[step] < shape.runs:
            iteration = shape.offset + self.roots[step] * shape.every
            if iteration >= limit:
                return
            self.roots[step] += 1
            self._submit(Task(self, step, iteration, self.begun))
            if shape.unit is not None:
                return

    def _submit(self, task: Task) -> None:
        self.pending[task.step][task.iteration] = task
        self.engine.submit(task)

    def started(self, task: Task) -> None:
        """A step has started: the next run that waits for nothing may queue."""
        self.starts[task.step] += 1
        if self.shapes[task.step].unit is not None and task.iteration < self.free_until[task.step]:
            self._next_root(task.step)

    def ended(self, task: Task) -> None:
        """A step has stopped being busy: storage is free now, its result is there after the latency."""
        shape = self.shapes[task.step]
        self.freed[task.step].add(shape.at_or_before(task.iteration))
        self._release(task, held=True)
        if shape.latency:
            self.engine.later(EVENTS, lambda event: self._arrived(event.value), task, shape.latency)
        else:
            self._arrived(task)

    def _arrived(self, task: Task) -> None:
        self.done[task.step].add(self.shapes[task.step].at_or_before(task.iteration))
        del self.pending[task.step][task.iteration]
        self._release(task, held=False)
        self.left -= 1
        if self.watch is not None:
            self.watch(task)
        if not self.left:
            self.finished.succeed()

    def _release(self, task: Task, held: bool) -> None:
        source = self.shapes[task.step]
        for wait in self.after[task.step]:
            if bool(wait.hold) == held:
                first = task.iteration + wait.distance
                for iteration in range(first, min(first + source.every, self.iterations)):
                    self._try(wait, iteration, task)

    def _try(self, wait: Wait, iteration: int, task: Task) -> None:
        """Submit a step if this was the last it waited for."""
        step = wait.target
        shape = self.shapes[step]
        run = shape.at_or_before(iteration)
        if run < 0 or shape.offset + run * shape.every != iteration:
            return
        if iteration in self.pending[step] or run in self.done[step]:
            return
        for other in self.before[step]:
            needed = self.shapes[other.source].at_or_before(iteration - other.distance)
            over = self.freed if other.hold else self.done
            if needed >= 0 and needed not in over[other.source]:
                return
        self.last[wait.number] += 1
        cause = f"window:{wait.hold}" if wait.hold else "dependence"
        busy_end = self.engine.now - (0 if wait.hold else self.shapes[task.step].latency)
        self._submit(Task(self, step, iteration, self.engine.now, cause, busy_end))


def whole(values: Array, points: Points, what: str, least: int = 0) -> int:
    """Whole number at one design point.

    Raises
    ------
    DseError
        If the value is fractional or too small: the simulation executes whole steps, the bounds do not mind.
    """
    value = float(points.at(values)[0])
    if not value >= least or not value.is_integer():
        raise DseError(f"{what} is {value:g}; the simulation needs a whole number, at least {least}")
    return int(value)


def shapes_of(
    node: Loop | Body, ticks: int, points: Points, path: str, order: Iterator[int] | None = None
) -> list[Shape]:
    """Steps of a loop body at one design point."""
    body = leaf_body(node)
    assert body is not None
    iterations = whole(node.count, points, f"count of {path}") if isinstance(node, Loop) else 1
    numbers = order or count()
    found = []
    for step in body.steps:
        every = whole(step.every, points, f"every of {path}/{step.name}", 1)
        offset = 0 if step.first else every - 1
        runs = max(0, -(-(iterations - offset) // every))
        busy, latency = (
            in_ticks(values, ticks, points, f"{path}/{step.name}") for values in (step.busy, step.latency)
        )
        found.append(Shape(step.name, step.unit, busy, latency, every, offset, next(numbers), runs))
    return found


def in_ticks(values: Array, ticks: int, points: Points, name: str) -> int:
    """Cycles at one design point, rounded to ticks."""
    cycles = float(points.checked(values, "cycles", name)[0])
    if cycles == float("inf"):
        raise DseError(f"{name} takes infinitely long")
    numerator, denominator = cycles.as_integer_ratio()
    return (2 * numerator * ticks + denominator) // (2 * denominator)


def waits_of(node: Loop | Body, points: Points, path: str) -> list[Wait]:
    """Dependences and holds of a loop body at one design point."""
    body = leaf_body(node)
    assert body is not None
    index = {step.name: i for i, step in enumerate(body.steps)}
    found: list[Wait] = []
    for edge in body.edges:
        distance = whole(edge.distance, points, f"distance of {path}/{edge.source} -> {edge.target}")
        found.append(Wait(len(found), index[edge.source], index[edge.target], distance))
    for hold in node.holds if isinstance(node, Loop) else ():
        capacity = whole(hold.capacity, points, f"capacity of {path}/{hold.name}", 1)
        found.append(Wait(len(found), index[hold.release], index[hold.acquire], capacity, hold.name))
    return found
