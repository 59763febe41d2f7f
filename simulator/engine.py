"""Event simulation of units (simpy): servers, their ready queues, and who is served next.

A unit serves the shortest step first, then the oldest tile (lowest iteration), then the step that has been
ready for longest, then program order. All events of an instant are processed before any unit picks, steps
that take no time before any that does, and no server stays idle while a step waits for its unit. Time is
counted in whole ticks, so that states repeat exactly.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import simpy
from simpy.events import EventPriority

from dse.errors import DseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dse.simulator.loop_run import LoopRun

EVENTS, INSTANT_PICKS, PICKS, CHECKS = (EventPriority(n) for n in range(1, 5))
MAX_STEPS = 1_000_000
PRECISION_BITS = 40


@dataclass(slots=True)
class Task:
    """One execution of a step: what it waited for last, and when that stopped being busy."""

    run: LoopRun
    step: int
    iteration: int
    ready: int
    cause: str = "dependence"
    cause_end: int = 0
    lane: int = 0
    start: int = -1

    def rank(self) -> tuple[int, int, int, int]:
        """Order in which a unit serves: least first."""
        shape = self.run.shapes[self.step]
        return (shape.busy, self.iteration, self.ready, shape.order)


@dataclass(frozen=True, slots=True)
class Slice:
    """One execution of a step on a server, for the timeline; times in cycles."""

    unit: str
    lane: int
    name: str
    iteration: int
    start: float
    duration: float


@dataclass(slots=True)
class Server:
    """The servers of one unit, and where their time went (in ticks)."""

    name: str
    count: int
    ready: list[tuple[tuple[int, int, int, int], int, Task]] = field(default_factory=list)
    lanes: list[int] = field(default_factory=list)
    picking: EventPriority | None = None
    started: bool = False
    since: int = 0
    waited: int = 0
    open_since: int = 0
    busy: int = 0
    idle: int = 0
    stall: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def __post_init__(self) -> None:
        self.lanes = list(range(self.count))

    def pass_time(self, now: int) -> None:
        """Count the idle servers' time up to now."""
        self.waited += len(self.lanes) * (now - self.since)
        self.since = now

    def settle(self, task: Task, now: int) -> None:
        """Charge the time that servers were idle before a step to what the step waited for.

        Idle time before a unit's first step is idle (fill). A wait for another step's result is latency
        from where that step stopped being busy, dependence before; with several servers in proportion.
        """
        self.pass_time(now)
        if not self.started:
            self.started = True
            self.idle += self.waited
        elif self.waited:
            late = 0
            if task.cause == "dependence" and now > self.open_since:
                delayed = now - max(task.cause_end, self.open_since)
                late = self.waited * delayed // (now - self.open_since)
            self.stall["latency"] += late
            self.stall[task.cause] += self.waited - late
        self.waited = 0
        self.open_since = now

    def totals(self) -> dict[str, int]:
        """Every counter that grows with time."""
        return {"busy": self.busy, "idle": self.idle} | {
            f"stall {cause}": t for cause, t in self.stall.items()
        }

    def add(self, growth: dict[str, int]) -> None:
        """Add to the counters."""
        for name, ticks in growth.items():
            if name == "busy":
                self.busy += ticks
            elif name == "idle":
                self.idle += ticks
            else:
                self.stall[name[6:]] += ticks


class Engine:
    """Servers of one simulation and the clock they share; ``ticks`` of the clock are one cycle."""

    def __init__(self, servers: dict[str, int], ticks: int, limit: int, record: int) -> None:
        self.env = simpy.Environment(initial_time=0)
        self.servers = {name: Server(name, count) for name, count in servers.items()}
        self.ticks = ticks
        self.limit = limit
        self.record = record
        self.skipped = 0
        self.steps = 0
        self.slices: list[Slice] = []
        self._number = 0

    @property
    def now(self) -> int:
        """Ticks since the start, those not counted in the skipped ones."""
        return int(self.env.now)

    def later(
        self, priority: EventPriority, call: Callable[[Any], None], value: object = None, delay: int = 0
    ) -> None:
        """Call ``call(event)`` after ``delay`` ticks; at one instant, lower priorities come first."""
        event = simpy.Event(self.env)
        event._ok, event._value = True, value
        event.callbacks.append(call)
        self.env.schedule(event, priority, delay)

    def submit(self, task: Task) -> None:
        """Queue a step that is ready; one without a unit starts at once."""
        unit = task.run.shapes[task.step].unit
        if unit is None:
            self._begin(task)
            return
        server = self.servers[unit]
        self._number += 1
        heapq.heappush(server.ready, (task.rank(), self._number, task))
        self._wake(server)

    def _wake(self, server: Server) -> None:
        """Let a server pick later in this instant, the sooner if its next step takes no time."""
        if server.ready and server.lanes:
            wanted = PICKS if server.ready[0][0][0] else INSTANT_PICKS
            if server.picking is None or wanted < server.picking:
                server.picking = wanted
                self.later(wanted, self._pick, server)

    def _pick(self, event: Any) -> None:  # noqa: ANN401
        server: Server = event.value
        phase, server.picking = server.picking, None
        while server.ready and server.lanes:
            if server.ready[0][0][0] and phase == INSTANT_PICKS:
                self._wake(server)
                break
            task = heapq.heappop(server.ready)[2]
            server.settle(task, self.now)
            task.lane = heapq.heappop(server.lanes)
            self._begin(task)

    def _begin(self, task: Task) -> None:
        self.steps += 1
        if self.steps > self.limit:
            raise DseError(
                f"simulating {task.run.path} takes more than {self.limit} steps without a repeating pattern;"
                " give its steps fewer iterations, or storage (holds) that limits the iterations in flight"
            )
        task.start = self.now
        self.later(EVENTS, self._end, task, task.run.shapes[task.step].busy)
        task.run.started(task)

    def _end(self, event: Any) -> None:  # noqa: ANN401
        task: Task = event.value
        shape = task.run.shapes[task.step]
        if shape.unit is not None:
            server = self.servers[shape.unit]
            server.pass_time(self.now)
            if not server.lanes:
                server.open_since = self.now
            heapq.heappush(server.lanes, task.lane)
            server.busy += shape.busy
            self._wake(server)
            if len(self.slices) < self.record:
                start = (task.start + self.skipped) / self.ticks
                name = f"{task.run.path}/{shape.name}"
                length = shape.busy / self.ticks
                self.slices.append(Slice(shape.unit, task.lane, name, task.iteration, start, length))
        task.run.ended(task)

    def finish(self) -> None:
        """Close the counters at the end: what was idle after a unit's last step is idle (drain)."""
        for server in self.servers.values():
            server.pass_time(self.now)
            server.idle += server.waited
            server.waited = 0
