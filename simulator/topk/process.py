"""Event simulation of top-k engines (simpy): one event for each round, or one for each row in detail.

Requests start and leave in the order they arrive; with several engines a result waits in its engine for its turn. In
detail every row passes the comparators, both zero eliminators and the FIFOs, so that occupancy and conservation are
observed; cycles and selections are those of the event mode.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import simpy

from dse.simulator.topk.rows import RowRounds
from dse.simulator.topk.select import Selection, select

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import numpy.typing as npt

    from dse.simulator.topk.parameters import TopK


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """Scores in order of arrival, how many to keep, and when the last of them is there."""

    scores: npt.NDArray[Any]
    k: int
    ready_cycles: float = 0.0


@dataclass(slots=True)
class Served:
    """When a request got an engine and when its result left, what it kept, and the fullest FIFO in rows (detail)."""

    start_cycles: float = 0.0
    finish_cycles: float = 0.0
    kept: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    rounds: int = 0
    fullest_rows: int = 0


def serve(engine: TopK, requests: Sequence[Request], detail: bool = False) -> list[Served]:
    """Simulation of requests on the engines; the same seed gives the same rounds in either mode.

    Raises
    ------
    ConfigError
        An overflow that the engine refuses.
    """
    env = simpy.Environment()
    unit = _Unit(env, engine, detail)
    found = [Served() for _ in requests]
    for number, (request, served) in enumerate(zip(requests, found, strict=True)):
        env.process(unit.one(number, request, served))
    env.run()
    return found


class _Unit:
    """Engines with a turn: started in order, left in order."""

    def __init__(self, env: simpy.Environment, engine: TopK, detail: bool) -> None:
        self.env, self.engine, self.detail = env, engine, detail
        self.servers = simpy.Resource(env, engine.engines)
        self.turns: list[simpy.Event] = [env.event().succeed()]
        self.leaves: list[simpy.Event] = [env.event().succeed()]

    def one(self, number: int, request: Request, served: Served) -> Generator[simpy.Event, Any, None]:
        env, engine = self.env, self.engine
        my_turn, before = self.turns[number], self.leaves[number]
        started, left = env.event(), env.event()
        self.turns.append(started)
        self.leaves.append(left)
        yield env.timeout(request.ready_cycles)
        n, k = np.array([len(request.scores)]), np.array([request.k])
        bypass = bool(engine.bypasses(n, k)[0])
        if bypass and engine.bypass == "immediate":
            served.start_cycles = served.finish_cycles = env.now
            served.kept = np.arange(len(request.scores))
            self._pass_on(my_turn, started)
            self._pass_on(before, left)
            return
        yield my_turn
        if bypass:
            started.succeed()
            yield before
            served.start_cycles = env.now
            served.kept = np.arange(len(request.scores))
        else:
            with self.servers.request() as server:
                yield server
                started.succeed()
                served.start_cycles = env.now
                generator = np.random.default_rng((engine.seed, number))
                run = self._rows if self.detail else self._rounds
                yield from run(request, generator, served)
                yield before
        served.finish_cycles = env.now
        left.succeed()

    def _pass_on(self, before: simpy.Event, after: simpy.Event) -> None:
        """Let an event follow another without waiting for it."""
        if before.processed:
            after.succeed()
        else:
            before.callbacks.append(lambda _: self._succeed(after))

    @staticmethod
    def _succeed(event: simpy.Event) -> None:
        event.succeed()

    def _rounds(
        self, request: Request, generator: np.random.Generator, served: Served
    ) -> Generator[simpy.Event, Any, None]:
        selection: Selection = select(self.engine, request.scores, request.k, generator)
        for cycles in selection.parts:
            yield self.env.timeout(cycles)
        served.kept, served.rounds = selection.kept, len(selection.scanned)

    def _rows(
        self, request: Request, generator: np.random.Generator, served: Served
    ) -> Generator[simpy.Event, Any, None]:
        run = RowRounds(self.engine, request.scores, request.k, generator)
        for cycles in run.steps():
            yield self.env.timeout(cycles)
        served.kept, served.rounds, served.fullest_rows = run.kept, run.rounds, run.fullest_rows
