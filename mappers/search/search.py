"""The record of a search: what was tried, the best so far, the front, what was rejected and why, when to stop.

Anytime: whatever stops a search - its budget, its time, the user - the record holds the best of what was tried. The
result depends on the candidates and their order only, not on how they were batched.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dse.mappers.search.pareto import front

if TYPE_CHECKING:
    from collections.abc import Callable

    from dse.mappers.search.candidates import Codes, Measures, Part, Space
    from dse.mappers.search.objective import Objective
    from dse.simulator.arrays import Array

BATCH = 16_384


class StopSearch(Exception):  # noqa: N818 - no error: the budget or the time is used up
    """The search has to end; its record is complete up to here."""


@dataclass(frozen=True)
class Limits:
    """Where a search stops: candidates, seconds, neither if None; and the seed of its random choices."""

    budget: int | None = None
    seconds: float | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Candidate:
    """A candidate tried: its part, its row of indices, its objectives and what orders it among others."""

    part: Part
    code: Codes
    scores: Array
    ranking: tuple[float, ...]


@dataclass
class Search:
    """A search under way."""

    space: Space
    objective: Objective
    limits: Limits = field(default_factory=Limits)
    progress: Callable[[Search], None] | None = None
    evaluated: int = 0
    best: Candidate | None = None
    front: list[Candidate] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)
    nearest: tuple[float, Part, Codes] | None = None
    stopped: str = ""
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Seconds since the search began."""
        return time.perf_counter() - self.started

    def measure(self, part: Part, codes: Codes) -> Array:
        """Try candidates, in batches; objectives and excess of each, shape (n, objectives + 1).

        Raises
        ------
        StopSearch
            A limit is reached; what came before it has been recorded.
        """
        found = []
        for start in range(0, len(codes), BATCH):
            some = codes[start : start + BATCH]
            if self.limits.budget is not None and self.evaluated + len(some) > self.limits.budget:
                some = some[: self.limits.budget - self.evaluated]
            if len(some):
                found.append(self._record(part, some, part.measure(some)))
            if self.over and not (self.over == "budget" and self.evaluated == self.space.size):
                self.stop()
        return np.concatenate(found) if found else np.zeros((0, len(self.objective.names) + 1))

    @property
    def over(self) -> str:
        """The limit that is reached, ``budget`` or ``time``; empty if none is."""
        if self.limits.budget is not None and self.evaluated >= self.limits.budget:
            return "budget"
        late = self.limits.seconds is not None and self.seconds > self.limits.seconds
        return "time" if late else ""

    def settle(self, part: Part, codes: Codes) -> None:
        """Record candidates in full that a pruned search has chosen, whatever the limits."""
        self._record(part, codes, part.measure(codes))

    @property
    def spent(self) -> float:
        """Share of the budget or the time that is used up, the larger."""
        parts = [0.0]
        parts += [] if self.limits.budget is None else [self.evaluated / self.limits.budget]
        parts += [] if self.limits.seconds is None else [self.seconds / max(self.limits.seconds, 1e-9)]
        return max(parts)

    def counted(self, partial: int) -> None:
        """Count partial mappings that a pruned search has evaluated, and tell who watches.

        Raises
        ------
        StopSearch
            A limit is reached, and something has been found.
        """
        self.evaluated += partial
        if self.progress is not None:
            self.progress(self)
        if self.over:
            self.stop()

    def refuse(self, why: str, count: int = 1) -> None:
        """Count candidates rejected for a reason."""
        self.rejected[why] = self.rejected.get(why, 0) + count

    def stop(self) -> None:
        """End the search because of the limit that is nearest.

        Raises
        ------
        StopSearch
            Always.
        """
        by_budget = self.limits.budget is not None and (
            self.limits.seconds is None
            or self.evaluated / self.limits.budget >= self.seconds / self.limits.seconds
        )
        self.stopped = self.over or ("budget" if by_budget else "time")
        raise StopSearch

    def _record(self, part: Part, codes: Codes, measures: Measures) -> Array:
        """Count, keep what is best, tell who watches."""
        self.evaluated += len(codes)
        scores, ranking = self.objective.scores(measures), self.objective.ranking(measures)
        for number, count in zip(*np.unique(measures.reason, return_counts=True), strict=True):
            if number:
                self.refuse(measures.reasons[number - 1], int(count))
        fine = np.flatnonzero(measures.reason == 0)
        if len(fine):
            self._keep(part, codes[fine], scores[fine], ranking[fine])
        if len(fine) < len(codes) and not self.best:
            self._near(part, codes, measures)
        if self.progress is not None:
            self.progress(self)
        return np.column_stack([scores, measures.excess])

    def _keep(self, part: Part, codes: Codes, scores: Array, ranking: Array) -> None:
        first = np.lexsort(ranking.T[::-1])[0]
        found = self._candidate(part, codes, scores, ranking, first)
        if self.best is None or found.ranking < self.best.ranking:
            self.best = found
        if not self.objective.several:
            return
        mine = [self._candidate(part, codes, scores, ranking, i) for i in front(scores)]
        both = [*self.front, *mine]
        self.front = [both[i] for i in front(np.array([c.scores for c in both]))]

    @staticmethod
    def _candidate(part: Part, codes: Codes, scores: Array, ranking: Array, index: int) -> Candidate:
        return Candidate(part, codes[index], scores[index], tuple(ranking[index].tolist()))

    def _near(self, part: Part, codes: Codes, measures: Measures) -> None:
        """Remember the infeasible candidate that is least off."""
        excess = np.where(measures.reason != 0, measures.excess, np.inf)
        index = int(excess.argmin())
        if np.isfinite(excess[index]) and (self.nearest is None or excess[index] < self.nearest[0]):
            self.nearest = (float(excess[index]), part, codes[index])
