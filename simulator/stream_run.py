"""Event simulation of a stream (simpy): units that serve in order, places in queues, items that wait for each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import simpy

from dse.errors import DseError
from dse.simulator.engine import Slice
from dse.simulator.simulate import Run, Time
from dse.simulator.stream_plan import NONE

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from dse.simulator.points import Points
    from dse.simulator.stream import Stream

    Slot = simpy.resources.resource.Request


def run_stream(
    stream: Stream,
    points: Points,
    servers: tuple[int, ...],
    queues: tuple[float, ...],
    limit: int,
    record: int,
    path: str,
) -> Run:
    """Simulation of one design point.

    Raises
    ------
    DseError
        More operations than ``limit``, or a stream that locks up.
    """
    operations = sum(int((~np.isnan(stage.busy[0])).sum()) for stage in stream.stages)
    if operations > limit:
        raise DseError(f"{path} has {operations} operations; the simulation runs no more than {limit}")
    simulation = _Simulation(stream, points, dict(zip(sorted(stream.units), servers, strict=True)), queues)
    simulation.start()
    simulation.env.run()
    return simulation.result(operations, record, path)


class _Simulation:
    def __init__(
        self, stream: Stream, points: Points, servers: dict[str, int], queues: tuple[float, ...]
    ) -> None:
        self.env = simpy.Environment()
        self.stream, self.servers = stream, servers
        self.busy = [points.at(stage.busy)[0] for stage in stream.stages]
        self.latency = [float(points.at(stage.latency)[0]) for stage in stream.stages]
        self.visited = [~np.isnan(busy) for busy in self.busy]
        self.places = [
            None if np.isinf(queue) or stage.through else simpy.Resource(self.env, int(queue))
            for stage, queue in zip(stream.stages, queues, strict=True)
        ]
        self.started: dict[tuple[int, int], simpy.Event] = {}
        self.left: dict[tuple[int, int], simpy.Event] = {}
        self.arrived: dict[tuple[int, int], simpy.Event] = {}
        self.held: dict[tuple[int, int], Slot] = {}
        self.times: dict[tuple[int, int], tuple[float, float, float]] = {}
        self.names = {stage.name: number for number, stage in enumerate(stream.stages)}
        self.groups = np.zeros(stream.items, np.int64) if stream.groups is None else stream.groups
        self.open_items = {int(g): int((self.groups == g).sum()) for g in np.unique(self.groups)}
        self.gates: dict[int, simpy.Event] = {g: self.env.event() for g in self.open_items}

    def start(self) -> None:
        """Start one process for each unit and open the first group."""
        for stage, item in self._every():
            for table in (self.started, self.left, self.arrived):
                table[stage, item] = self.env.event()
        for unit in self.servers:
            self.env.process(self._unit(unit))
        self.gates[min(self.gates)].succeed()

    def _every(self) -> list[tuple[int, int]]:
        return [(s, int(i)) for s, seen in enumerate(self.visited) for i in np.flatnonzero(seen)]

    def _turn(self, unit: str) -> Sequence[tuple[int, int]]:
        if unit in self.stream.turns:
            return self.stream.turns[unit]
        number, stage = next((n, s) for n, s in enumerate(self.stream.stages) if s.unit == unit)
        order = range(self.stream.items) if stage.order is None else stage.order
        return [(number, int(item)) for item in order if self.visited[number][item]]

    def _neighbour(self, stage: int, item: int, step: int) -> int:
        """Stage the item visits before or after this one; -1 if none."""
        stage += step
        while 0 <= stage < len(self.visited):
            if self.visited[stage][item]:
                return stage
            stage += step
        return NONE

    def _unit(self, unit: str) -> Generator[simpy.Event, Any, None]:
        """Serve the operations of a unit in their order."""
        server = simpy.Resource(self.env, self.servers[unit])
        before: tuple[int, int] | None = None
        for stage, item in self._turn(unit):
            slot = server.request()
            yield slot
            yield from self._ready(stage, item)
            self.started[stage, item].succeed(self.env.now)
            if (stage, item) in self.held:
                place = self.places[stage]
                assert place is not None
                place.release(self.held.pop((stage, item)))
            self.env.process(
                self._serve(stage, item, server, slot, before if self.servers[unit] > 1 else None)
            )
            before = (stage, item)

    def _ready(self, stage: int, item: int) -> Generator[simpy.Event, Any, None]:
        """Wait for the item, its group, and the items it waits for."""
        previous = self._neighbour(stage, item, -1)
        if previous == NONE:
            yield self.gates[int(self.groups[item])]
        elif self.stream.stages[stage].through:
            yield self.started[previous, item]
            yield self.env.timeout(self._since(self.started[previous, item], self.latency[previous]))
        else:
            yield self.arrived[previous, item]
        for wait in self.stream.waits:
            source, other = self.names[wait.source], int(wait.items[item])
            if self.names[wait.target] == stage and other != NONE and self.visited[source][other]:
                yield (self.arrived if wait.arrival else self.left)[source, other]

    def _since(self, event: simpy.Event, delay: float) -> float:
        """What is left of a delay that began with an event, whose value is its time."""
        return max(0.0, float(event.value or 0.0) + delay - self.env.now)

    def _serve(
        self, stage: int, item: int, server: simpy.Resource, slot: Slot, before: tuple[int, int] | None
    ) -> Generator[simpy.Event, Any, None]:
        begun, parts = self.env.now, self.stream.stages[stage].parts
        for cycles in (float(self.busy[stage][item]),) if parts is None else parts[item]:
            yield self.env.timeout(cycles)
        previous = self._neighbour(stage, item, -1)
        if self.stream.stages[stage].through and previous != NONE:
            yield self.arrived[previous, item]
        done = self.env.now
        # Items of several servers leave in order; one that is done early must not take the place of those before it.
        if before is not None:
            yield self.left[before]
        following = self._neighbour(stage, item, 1)
        room = None if following == NONE else self.places[following]
        if room is not None:
            place = room.request()
            yield place
            self.held[following, item] = place
        self.times[stage, item] = (begun, done, self.env.now)
        self.left[stage, item].succeed()
        server.release(slot)
        yield self.env.timeout(self.latency[stage])
        self.arrived[stage, item].succeed()
        if following == NONE:
            self._through(int(self.groups[item]))

    def _through(self, group: int) -> None:
        """Count an item that is through; open the next group after the last."""
        self.open_items[group] -= 1
        later = [g for g in self.gates if g > group]
        if (
            not self.open_items[group]
            and later
            and all(n == 0 for g, n in self.open_items.items() if g <= group)
        ):
            self.gates[min(later)].succeed()

    def result(self, operations: int, record: int, path: str) -> Run:
        """Cycles, and what each unit did in them."""
        if len(self.times) < operations:
            raise DseError(f"{path} locks up after {len(self.times)} of {operations} operations")
        cycles = float(self.env.now)
        run = Run(cycles, {}, [], False, operations)
        for unit, count in self.servers.items():
            run.units[unit] = self._time(unit, count, cycles)
        for (stage, item), (begun, done, _) in sorted(self.times.items(), key=lambda one: one[1])[:record]:
            at = self.stream.stages[stage]
            run.slices.append(Slice(at.unit, 0, f"{path}/{at.name}", item, begun, done - begun))
        return run

    def _time(self, unit: str, count: int, cycles: float) -> Time:
        """Busy, blocked by a full queue, waiting for items, and idle before the first and after the last."""
        mine = [(key, time) for key, time in self.times.items() if self.stream.stages[key[0]].unit == unit]
        if not mine:
            return Time(count, 0.0, {}, count * cycles)
        busy = sum(float(self.busy[stage][item]) for (stage, item), _ in mine)
        blocked = sum(left - done for _, (_, done, left) in mine)
        first, last = min(time[0] for _, time in mine), max(time[2] for _, time in mine)
        idle = count * (first + cycles - last)
        rest = max(count * cycles - busy - blocked - idle, 0.0)
        return Time(
            count, busy, {"queue": blocked, "dependence": rest}, count * cycles - busy - blocked - rest
        )
