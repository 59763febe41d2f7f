"""Event simulation of a program at one design point.

Every node runs as it would on the machine: steps queue at their units, storage slots limit the iterations
in flight, children of a Par share units. What does not disturb each other is simulated apart, and what
repeats is simulated once. Not modelled: refresh, back pressure other than holds, durations that depend on
data.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import DseError, InfeasibleError
from dse.simulator.arrays import ONE
from dse.simulator.bounds import chosen, together
from dse.simulator.engine import MAX_STEPS, PRECISION_BITS, Engine, Slice
from dse.simulator.loop_run import LoopRun, in_ticks, whole
from dse.simulator.points import Points, all_units
from dse.simulator.program import (
    Body,
    Choose,
    Leaf,
    Loop,
    Par,
    Program,
    Seq,
    Sub,
    leaf_body,
    nodes_of,
    units_of,
)
from dse.simulator.steady import SKIPPED, Steady
from dse.simulator.structure import plan_of
from dse.simulator.usage import NOT_OVERLAPPED

if TYPE_CHECKING:
    from collections.abc import Generator

    import simpy

    from dse.simulator.program import Node


@dataclass(frozen=True, slots=True)
class Time:
    """Server-cycles of one unit: busy, stalled by cause, idle; their sum is its servers times the cycles."""

    servers: int
    busy: float
    stall: dict[str, float]
    idle: float

    def scaled(self, factor: float) -> Time:
        """The same, so many times as long."""
        stall = {cause: cycles * factor for cause, cycles in self.stall.items()}
        return Time(self.servers, self.busy * factor, stall, self.idle * factor)


@dataclass(frozen=True, slots=True)
class Simulation:
    """Cycles of one simulated design point, and what each unit did in them.

    Causes of stalls are ``dependence`` (another step is still busy), ``latency`` (its result is on the way),
    ``window:HOLD`` (no storage), ``not overlapped``. ``extrapolated`` says that a repeating part was
    skipped, which changes nothing but the time the simulation takes. ``steps`` counts the steps executed
    one by one.
    """

    cycles: float
    seconds: float
    units: dict[str, Time]
    slices: tuple[Slice, ...]
    extrapolated: bool
    steps: int


@dataclass(slots=True)
class Run:
    """A simulated node, in cycles of its clock domain; units it does not use are missing."""

    cycles: float = 0.0
    units: dict[str, Time] = field(default_factory=dict)
    slices: list[Slice] = field(default_factory=list)
    extrapolated: bool = False
    steps: int = 0

    def follow(self, other: Run) -> None:
        """Let another run follow this one."""
        self.slices += [replace(piece, start=piece.start + self.cycles) for piece in other.slices]
        for name in {*self.units, *other.units}:
            self.units[name] = _joined(self.units.get(name), self.cycles, other.units.get(name), other.cycles)
        self.cycles += other.cycles
        self.extrapolated |= other.extrapolated
        self.steps += other.steps

    def scaled(self, factor: float, prefix: str = "") -> Run:
        """The same in cycles of another clock."""
        units = {prefix + name: time.scaled(factor) for name, time in self.units.items()}
        slices = [
            replace(s, unit=prefix + s.unit, start=s.start * factor, duration=s.duration * factor)
            for s in self.slices
        ]
        return Run(self.cycles * factor, units, slices, self.extrapolated, self.steps)


def _joined(one: Time | None, one_cycles: float, other: Time | None, other_cycles: float) -> Time:
    servers = (one or other or Time(1, 0, {}, 0)).servers
    one = one or Time(servers, 0.0, {}, servers * one_cycles)
    other = other or Time(servers, 0.0, {}, servers * other_cycles)
    stall = dict(one.stall)
    for cause, cycles in other.stall.items():
        stall[cause] = stall.get(cause, 0.0) + cycles
    return Time(servers, one.busy + other.busy, stall, one.idle + other.idle)


def _both(one: Time, other: Time) -> Time:
    """Times of a unit that served steps and a leaf in the same cycles."""
    stall = {
        cause: one.stall.get(cause, 0.0) + other.stall.get(cause, 0.0) for cause in one.stall | other.stall
    }
    cycles = one.busy + one.idle + sum(one.stall.values())
    busy = one.busy + other.busy
    lost = sum(stall.values())
    fitting = min(1.0, (cycles - busy) / lost) if lost else 1.0
    stall = {cause: cycles_of * fitting for cause, cycles_of in stall.items()}
    return Time(one.servers, busy, stall, cycles - busy - sum(stall.values()))


class Simulator:
    """Simulates the nodes of one program at one design point."""

    def __init__(self, points: Points, limit: int, record: int, extrapolate: bool) -> None:
        self.points = points
        self.limit = limit
        self.record = record
        self.extrapolate = extrapolate

    def run(self, node: Node, path: str) -> Run:
        """Simulate a node that has its units to itself."""
        if isinstance(node, Sub):
            return self._sub(node, path)
        if isinstance(node, Leaf):
            return node.run(self.points, self.limit, self.record, path)
        if isinstance(node, Loop | Body):
            return self._together([node], [path]) if leaf_body(node) is not None else self._repeat(node, path)
        if isinstance(node, Choose):
            child = node.children[self._choice(node)]
            return self.run(child, f"{path}/{child.name}")
        if isinstance(node, Par):
            return self._par(node, path)
        found = Run()
        for child in node.children:
            found.follow(self.run(child, f"{path}/{child.name}"))
        return found

    def _choice(self, node: Choose) -> int:
        with np.errstate(all="ignore"):
            return int(chosen(node, self.points)[0])

    def _sub(self, node: Sub, path: str) -> Run:
        inner = Simulator(self.points.inside(node), self.limit, self.record, self.extrapolate)
        run = inner.run(node.program.root, f"{path}/{node.program.root.name}")
        return run.scaled(float(self.points.ratio(node)[0]), f"{node.name}/")

    def _repeat(self, node: Loop | Body, path: str) -> Run:
        """Iterations one after another: all alike, so that one is simulated."""
        assert isinstance(node, Loop)
        times = whole(node.count, self.points, f"count of {path}")
        if not times:
            return Run()
        once = self.run(node.body, f"{path}/{node.body.name}")
        whole_run = once.scaled(float(times))
        whole_run.slices = list(once.slices)
        if times > 1:
            rest = once.cycles * (times - 1)
            whole_run.slices.append(
                Slice(SKIPPED, 0, f"{path}: {times - 1} times more", 0, once.cycles, rest)
            )
        return whole_run

    def _par(self, node: Par, path: str) -> Run:
        paths = {id(child): f"{path}/{child.name}" for child in node.children}
        runs = [
            self.run(group[0], paths[id(group[0])])
            if len(group) == 1
            else self._together(group, [paths[id(child)] for child in group])
            for group in together(node)
        ]
        found = Run(max(run.cycles for run in runs))
        for run in runs:
            found.slices += run.slices
            found.extrapolated |= run.extrapolated
            found.steps += run.steps
            rest = Run(found.cycles - run.cycles)
            run.follow(rest)
            found.units |= run.units
        return self._apart(node, found, path)

    def _apart(self, node: Par, found: Run, path: str) -> Run:
        """Lose the part of the overlap that the node does not have."""
        lost = self.lost(node, found.cycles, path)
        if lost > 0:
            found.cycles += lost
            for name, time in found.units.items():
                stall = time.stall | {
                    NOT_OVERLAPPED: time.stall.get(NOT_OVERLAPPED, 0.0) + time.servers * lost
                }
                found.units[name] = replace(time, stall=stall)
        return found

    def lost(self, node: Par, cycles: float, path: str) -> float:
        """Cycles lost for want of overlap, by what the children take alone."""
        if node.overlap is ONE:
            return 0.0
        overlap = float(self.points.at(node.overlap)[0])
        apart = sum(self.run(child, f"{path}/{child.name}").cycles for child in node.children)
        return (1.0 - overlap) * max(apart - cycles, 0.0)

    def _together(self, group: list[Node], paths: list[str]) -> Run:
        """Simulate nodes that start together and share units."""
        names = sorted(set().union(*(stepped(node) for node in group)))
        counts = self.points.program.units
        servers = {name: whole(counts[name].count, self.points, f"count of {name}", 1) for name in names}
        engine = Engine(servers, self._ticks(group), self.limit, self.record)
        joint = Joint(self, engine)
        for node, path in zip(group, paths, strict=True):
            alone = len(group) == 1 and self.extrapolate
            engine.env.process(joint.execute(node, path, alone))
        engine.env.run()
        engine.finish()
        span = engine.now + engine.skipped
        found = Run(span / engine.ticks, {}, engine.slices, engine.skipped > 0, engine.steps)
        for name, server in engine.servers.items():
            stall = {cause: ticks / engine.ticks for cause, ticks in server.stall.items() if ticks}
            found.units[name] = Time(
                server.count, server.busy / engine.ticks, stall, server.idle / engine.ticks
            )
        joint.add_private(found)
        return found

    def _ticks(self, group: list[Node]) -> int:
        """Ticks in a cycle, a power of two: fine enough for the shortest time of any step."""
        bodies = [inner for node in group for inner in nodes_of(node) if isinstance(inner, Body)]
        times = [
            float(self.points.at(values)[0])
            for b in bodies
            for s in b.steps
            for values in (s.busy, s.latency)
        ]
        least = min((time for time in times if 0 < time < np.inf), default=1.0)
        return 1 << max(0, PRECISION_BITS - int(np.floor(np.log2(least))))


def stepped(node: Node) -> set[str]:
    """Units whose steps the engine serves one by one; leaves run by themselves."""
    return set().union(*(units_of(inner) for inner in nodes_of(node) if isinstance(inner, Body)))


class Joint:
    """Runs nodes as processes on one engine."""

    def __init__(self, simulator: Simulator, engine: Engine) -> None:
        self.simulator = simulator
        self.engine = engine
        self.order = count()
        self.private: list[Run] = []

    def execute(self, node: Node, path: str, alone: bool = False) -> Generator[simpy.Event, None, None]:
        """Process of one node; ``alone`` allows it to skip what repeats."""
        simulator, env = self.simulator, self.engine.env
        if isinstance(node, Sub | Leaf):
            run = simulator.run(node, path)
            self.private.append(run)
            yield env.timeout(self._ticks(run.cycles))
        elif isinstance(node, Loop | Body) and leaf_body(node) is not None:
            loop = LoopRun(node, self.engine, simulator.points, path, self.order)
            if alone:
                loop.watch = Steady(loop, plan_of(node, simulator.points.program).order).saw
            loop.start()
            yield loop.finished
        elif isinstance(node, Loop):
            for _ in range(whole(node.count, simulator.points, f"count of {path}")):
                yield from self.execute(node.body, f"{path}/{node.body.name}")
        elif isinstance(node, Choose):
            child = node.children[simulator._choice(node)]
            yield from self.execute(child, f"{path}/{child.name}")
        elif isinstance(node, Par):
            start = self.engine.now
            yield env.all_of([env.process(self.execute(c, f"{path}/{c.name}")) for c in node.children])
            cycles = (self.engine.now - start) / self.engine.ticks
            yield env.timeout(self._ticks(simulator.lost(node, cycles, path)))
        elif isinstance(node, Seq):
            for child in node.children:
                yield from self.execute(child, f"{path}/{child.name}")

    def _ticks(self, cycles: float) -> int:
        return in_ticks(np.array([cycles]), self.engine.ticks, self.simulator.points, "a clock domain")

    def add_private(self, found: Run) -> None:
        """Add the units of inner clock domains and leaves, idle while these did not run."""
        whole_run = Run()
        for run in self.private:
            whole_run.follow(run)
        whole_run.follow(Run(found.cycles - whole_run.cycles))
        for name, time in whole_run.units.items():
            own = found.units.get(name)
            found.units[name] = time if own is None else _both(own, time)
        found.steps += whole_run.steps
        found.extrapolated |= whole_run.extrapolated


def simulate(
    program: Program, point: int = 0, max_steps: int = MAX_STEPS, record: int = 0, extrapolate: bool = True
) -> Simulation:
    """Simulation of one design point; ``record`` slices of it are kept for a timeline.

    Raises
    ------
    InfeasibleError
        If the design point is infeasible.
    DseError
        If a count, distance, capacity or ``every`` is not whole, or if more than ``max_steps`` steps would
        have to be executed one by one.
    """
    if not 0 <= point < program.size:
        raise DseError(f"there is no design point {point}; the program has {program.size}")
    points = Points(program, point, point + 1)
    for constraint in program.all_constraints:
        if not points.at(constraint.demand)[0] <= points.at(constraint.bound)[0]:
            raise InfeasibleError(f"design point {point} does not satisfy {constraint.name!r}")
    run = Simulator(points, max_steps, record, extrapolate).run(program.root, program.root.name)
    for name, unit in all_units(program).items():
        if name not in run.units:
            servers = int(points.at(unit.count)[0])
            run.units[name] = Time(servers, 0.0, {}, servers * run.cycles)
    seconds = run.cycles / float(points.at(program.clock_hz)[0])
    return Simulation(run.cycles, seconds, run.units, tuple(run.slices), run.extrapolated, run.steps)
