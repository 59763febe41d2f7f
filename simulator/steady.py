"""Skips whole periods of a loop whose simulation repeats itself, without changing its end.

The state of the run (what is over, running or queued, relative to the iteration each part of the body is
at) is compared with an earlier one. If it is the same, what happened in between happens again, shifted in
time and iteration, until an iteration would pass the loop's end; so many periods are skipped, and the rest
is simulated.

Parts of the body that do not wait for each other in a circle may run at different rates. A part that runs
ahead repeats itself too as long as nobody waits for it: that is required of everything the slower part did
meanwhile, and the lead only grows. Nothing is skipped on less than this.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from hashlib import blake2b
from math import lcm
from typing import TYPE_CHECKING

import networkx as nx

from dse.simulator.engine import CHECKS, Slice

if TYPE_CHECKING:
    import simpy

    from dse.simulator.engine import Server, Task
    from dse.simulator.loop_run import LoopRun

SKIPPED = "skipped"
MAX_STATES = 1 << 14


@dataclass(frozen=True, slots=True)
class State:
    """What has grown until an instant at which the rest of the state may repeat."""

    time: int
    base: tuple[int, ...]
    first: tuple[int, ...]
    over: tuple[bool, ...]
    done: tuple[int, ...]
    freed: tuple[int, ...]
    strays: tuple[int, ...]
    last: tuple[int, ...]
    totals: dict[str, dict[str, int]]


class Steady:
    """Watches a run that has its units to itself."""

    def __init__(self, run: LoopRun, order: tuple[int, ...]) -> None:
        self.run = run
        self.order = order
        self.servers = run.engine.servers
        graph: nx.DiGraph[int] = nx.DiGraph()
        graph.add_nodes_from(range(len(run.shapes)))
        graph.add_edges_from((wait.source, wait.target) for wait in run.waits)
        self.parts = [tuple(sorted(part)) for part in nx.strongly_connected_components(graph)]
        self.part = {step: number for number, part in enumerate(self.parts) for step in part}
        self.grains = [self._grain(part) for part in self.parts]
        self.reach = max((wait.distance for wait in run.waits), default=0) + lcm(
            *(s.every for s in run.shapes)
        )
        self.rivals = self._rivals()
        self.seen: dict[bytes, State] = {}
        self.checking = False

    def _grain(self, part: tuple[int, ...]) -> int:
        """Iterations after which what a part of the body waits for is the same again."""
        sources = (wait.source for wait in self.run.waits if wait.target in part)
        return lcm(*(self.run.shapes[step].every for step in {*part, *sources}))

    def _rivals(self) -> list[tuple[int, int]]:
        """Pairs of steps between which a unit decides by iteration or ready time."""
        shapes = self.run.shapes
        return [
            (a, b)
            for a, one in enumerate(shapes)
            for b, other in enumerate(shapes[:a])
            if one.unit is not None and (one.unit, one.busy) == (other.unit, other.busy)
        ]

    def saw(self, task: Task) -> None:
        """Compare states after an instant in which the last unfinished step ends a group of iterations."""
        if self.checking or not self.run.left:
            return
        shapes = self.run.shapes
        last = next(s for s in reversed(self.order) if self.run.done[s].low < shapes[s].runs)
        runs = shapes[last].at_or_before(task.iteration) + 1
        if task.step == last and runs % (self.grains[self.part[last]] // shapes[last].every) == 0:
            self.checking = True
            self.run.engine.later(CHECKS, self._check)

    def _check(self, _: simpy.Event) -> None:
        self.checking = False
        key, state = self._state()
        old = self.seen.get(key)
        periods = self._periods(old, state) if old is not None else 0
        if old is not None and periods > 0:
            self._skip(old, state, periods)
            self.seen.clear()
        elif old is not None or len(self.seen) < MAX_STATES:
            self.seen[key] = state

    def _base(self, number: int) -> int:
        """First iteration of a part of the body with a run that is not over, rounded down to whole groups."""
        run, part = self.run, self.parts[number]
        open_runs = (
            run.done[s].low * run.shapes[s].every for s in part if run.done[s].low < run.shapes[s].runs
        )
        return min(open_runs, default=0) // self.grains[number] * self.grains[number]

    def _state(self) -> tuple[bytes, State]:
        """Digest of all that must repeat, and what may have grown."""
        run = self.run
        over = tuple(all(run.done[s].low == run.shapes[s].runs for s in part) for part in self.parts)
        base = tuple(self._base(number) for number in range(len(self.parts)))
        tied = {step for pair in self.rivals for step in pair}
        steps = tuple(self._step_key(s, base[self.part[s]], s in tied) for s in range(len(run.shapes)))
        units = tuple(self._unit_key(server) for server in self.servers.values())
        first = tuple(
            min((run.shapes[s].offset + run.done[s].low * run.shapes[s].every for s in part), default=0)
            for part in self.parts
        )
        key = blake2b(repr((over, steps, units)).encode(), digest_size=16).digest()
        return key, State(
            run.engine.now,
            base,
            first,
            over,
            tuple(progress.low for progress in run.done),
            tuple(progress.low for progress in run.freed),
            tuple(done.strays + freed.strays for done, freed in zip(run.done, run.freed, strict=True)),
            tuple(run.last),
            {name: server.totals() | {"waited": server.waited} for name, server in self.servers.items()},
        )

    def _step_key(self, step: int, base: int, tied: bool) -> tuple[object, ...]:
        """What is over, running and queued of a step, relative to an iteration and to now."""
        run, shape = self.run, self.run.shapes[step]
        now, start = run.engine.now, base // shape.every
        if run.done[step].low == shape.runs:
            return ()
        running = []
        for task in run.pending[step].values():
            number = shape.at_or_before(task.iteration) - start
            if task.start < 0:
                waited = now - task.ready if tied and run.before[step] else 0
                running.append((number, -1, waited))
            else:
                running.append((number, task.start + shape.busy - now, 0))
        progress = [
            (p.low - start, *sorted(run_ - start for run_ in p.beyond))
            for p in (run.done[step], run.freed[step])
        ]
        root = run.roots[step] - start if not run.before[step] else 0
        return (*progress, tuple(sorted(running)), root)

    def _unit_key(self, server: Server) -> tuple[int, ...]:
        """Idle servers of a unit and for how long they have been, unless no step will end that."""
        server.pass_time(self.run.engine.now)
        mine = [s for s, shape in enumerate(self.run.shapes) if shape.unit == server.name]
        ended = all(self.run.starts[s] == self.run.shapes[s].runs for s in mine)
        if ended or not server.started:
            return (-1, ended)
        if not server.lanes:
            return (0,)
        return (len(server.lanes), server.waited, self.run.engine.now - server.open_since)

    def _top(self, part: tuple[int, ...]) -> int:
        """Highest iteration of a part of the body of which anything is over, running or queued."""
        run = self.run
        found = 0
        for step in part:
            shape = run.shapes[step]
            runs = [run.done[step].low - 1, *run.done[step].beyond]
            found = max(found, shape.offset + max(runs) * shape.every, *run.pending[step], 0)
        return found

    def _periods(self, old: State, new: State) -> int:
        """How often what happened between two equal states happens again; 0 if that is not certain."""
        parts = range(len(self.parts))
        advance = [new.base[part] - old.base[part] for part in parts]
        moving = [part for part in parts if not new.over[part] and advance[part] > 0]
        if not moving or any(advance[part] < 0 for part in parts if not new.over[part]):
            return 0
        if any(old.base[part] < self.reach for part in moving):
            return 0
        tops = [self._top(part) for part in self.parts]
        if not self._leads_only(old, new, advance, tops):
            return 0
        last = self.run.iterations - 1 - self.reach
        return min((last - tops[part]) // advance[part] for part in moving)

    def _leads_only(self, old: State, new: State, advance: list[int], tops: list[int]) -> bool:
        """Whether parts that advance differently did not wait for each other, nor compete by iteration."""

        def horizon(part: int) -> int:
            slower = [p for p in range(len(tops)) if not new.over[p] and advance[p] <= advance[part]]
            return max(tops[p] for p in slower) + self.reach

        for wait in self.run.waits:
            ahead, behind = self.part[wait.source], self.part[wait.target]
            if new.over[ahead] or new.over[behind] or advance[ahead] == advance[behind]:
                continue
            if advance[behind] == 0:
                ready = (old.freed if wait.hold else old.done)[wait.source]
                needed = self.run.shapes[wait.source].at_or_before(horizon(behind) - wait.distance)
                waited = needed >= ready
            else:
                waited = new.last[wait.number] != old.last[wait.number]
                waited = waited or new.strays[wait.source] != old.strays[wait.source]
            if advance[ahead] < advance[behind] or waited:
                return False
        for a, b in self.rivals:
            one, other = sorted((self.part[a], self.part[b]), key=lambda part: advance[part])
            if new.over[one] or new.over[other] or advance[one] == advance[other]:
                continue
            if old.first[other] <= horizon(one):
                return False
        return True

    def _skip(self, old: State, new: State, periods: int) -> None:
        """Move every iteration, counter and the clock on by whole periods."""
        run, engine = self.run, self.run.engine
        for number, part in enumerate(self.parts):
            if new.over[number]:
                continue
            distance = periods * (new.base[number] - old.base[number])
            for step in part:
                self._shift(step, distance)
        for server in self.servers.values():
            before, after = old.totals[server.name], new.totals[server.name]
            growth = {name: periods * (ticks - before.get(name, 0)) for name, ticks in after.items()}
            server.waited += growth.pop("waited")
            server.add(growth)
            server.ready = [(task.rank(), number, task) for _, number, task in server.ready]
            heapq.heapify(server.ready)
        span = periods * (new.time - old.time)
        start = (engine.now + engine.skipped) / engine.ticks
        if len(engine.slices) < engine.record:
            name = f"{run.path}: {periods} periods of {(new.time - old.time) / engine.ticks:g} cycles"
            engine.slices.append(Slice(SKIPPED, 0, name, 0, start, span / engine.ticks))
        engine.skipped += span

    def _shift(self, step: int, distance: int) -> None:
        run, shape = self.run, self.run.shapes[step]
        runs = distance // shape.every
        run.done[step].shift(runs)
        run.freed[step].shift(runs)
        run.starts[step] += runs
        run.left -= runs
        if not run.before[step]:
            run.roots[step] += runs
        for task in run.pending[step].values():
            task.iteration += distance
        run.pending[step] = {task.iteration: task for task in run.pending[step].values()}
