"""A second simulation of a loop body, instant by instant and without events: witness of the first one."""

from __future__ import annotations

from dataclasses import dataclass, field

from dse.simulator.program import Loop, Program, leaf_body

QUARTER = 4


@dataclass
class Clocked:
    """Executes a loop body of one design point in quarter cycles, with everything held in plain tables."""

    program: Program
    started: dict[tuple[str, int], int] = field(default_factory=dict)
    ready: dict[tuple[str, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        loop = self.program.root
        body = leaf_body(loop)
        assert body is not None
        self.n = int(loop.count[0]) if isinstance(loop, Loop) else 1
        self.steps = {step.name: step for step in body.steps}
        self.order = {step.name: i for i, step in enumerate(body.steps)}
        self.busy = {s.name: int(s.busy[0] * QUARTER) for s in body.steps}
        self.latency = {s.name: int(s.latency[0] * QUARTER) for s in body.steps}
        self.waits = [(e.source, e.target, int(e.distance[0]), False) for e in body.edges]
        holds = loop.holds if isinstance(loop, Loop) else ()
        self.waits += [(h.release, h.acquire, int(h.capacity[0]), True) for h in holds]
        self.left = [(s, i) for s in self.steps for i in range(self.n) if self.runs(s, i)]

    def runs(self, step: str, iteration: int) -> bool:
        every = int(self.steps[step].every[0])
        return iteration % every == (0 if self.steps[step].first else every - 1)

    def is_free(self, step: str, iteration: int, now: int) -> bool:
        for source, target, distance, hold in self.waits:
            if target == step:
                latest = [i for i in range(iteration - distance + 1) if self.runs(source, i)]
                if latest:
                    start = self.started.get((source, latest[-1]))
                    delay = self.busy[source] + (0 if hold else self.latency[source])
                    if start is None or start + delay > now:
                        return False
        return True

    def running(self, unit: str, now: int) -> int:
        on_unit = [(s, i) for s, i in self.started if self.steps[s].unit == unit]
        return sum(self.started[s, i] + self.busy[s] > now for s, i in on_unit)

    def start_one(self, now: int) -> bool:
        """Start the first step that may start now, by the rules of service; whether there was one."""
        for key in self.left:
            if key not in self.ready and self.is_free(*key, now):
                self.ready[key] = now
        waiting = sorted(
            (k for k in self.left if k in self.ready),
            key=lambda k: (self.busy[k[0]], k[1], self.ready[k], self.order[k[0]]),
        )
        for step, iteration in waiting:
            unit = self.steps[step].unit
            if unit is None or self.running(unit, now) < int(self.program.units[unit].count[0]):
                self.started[step, iteration] = now
                self.left.remove((step, iteration))
                return True
        return False

    def cycles(self) -> float:
        now = 0
        while self.left:
            while self.start_one(now):
                pass
            now += 1
        ends = [t + self.busy[s] + self.latency[s] for (s, _), t in self.started.items()]
        return max(ends, default=0) / QUARTER
