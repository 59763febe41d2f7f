"""The best found so far, and what can still improve on it: a lexicographic optimum, or a Pareto front.

Bounds and joined costs add up in another order than a full evaluation does, so what comes within `SLACK` of the best is
kept; the full evaluation decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dse.mappers.search.pareto import dominated, front

if TYPE_CHECKING:
    from dse.mappers.search.candidates import Codes
    from dse.mappers.search.objective import Objective
    from dse.simulator.arrays import Array, Mask

SLACK = 1e-9
LATENCY, ENERGY, CAPACITY = 0, 1, 2
_FRONTS = {
    "latency": (LATENCY,),
    "energy": (ENERGY,),
    "edp": (LATENCY, ENERGY),
    "area_delay": (LATENCY,),
    "capacity": (CAPACITY,),
}


@dataclass(frozen=True)
class Aim:
    """What to keep of latency, energy and capacity: the Pareto front of ``columns``, or the first in their order."""

    columns: tuple[int, ...]
    ordered: bool


def aim_of(objective: Objective) -> Aim:
    """What a search has to keep of partial results so that none of its objectives' optima is lost."""
    first = objective.names[0]
    if not objective.several and first in {"latency", "area_delay"}:
        return Aim((LATENCY, ENERGY, CAPACITY), ordered=True)
    if not objective.several and first == "energy":
        return Aim((ENERGY, LATENCY, CAPACITY), ordered=True)
    columns = {column for name in objective.names for column in _FRONTS[name]}
    return Aim(tuple(sorted(columns | {LATENCY, ENERGY} if first == "capacity" else columns)), ordered=False)


@dataclass
class Incumbents:
    """Costs worth keeping, shape (n, 3): latency, energy, capacity; with what they belong to."""

    aim: Aim
    values: Array = field(default_factory=lambda: np.zeros((0, 3)))
    owners: list[object] = field(default_factory=list)
    owner: Codes = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    codes: Codes = field(default_factory=lambda: np.zeros((0, 0), dtype=np.intp))

    def open(self, values: Array) -> Mask:
        """Which lower bounds, shape (n, 3), leave room for something as good as what is kept."""
        if not len(self.values):
            return np.ones(len(values), dtype=bool)
        columns = list(self.aim.columns)
        mine, theirs = self.values[:, columns], values[:, columns]
        if not self.aim.ordered:
            return ~dominated(theirs * (1.0 + SLACK), mine)
        found, tied = np.zeros(len(values), dtype=bool), np.ones(len(values), dtype=bool)
        for column in range(len(columns)):
            found |= tied & (theirs[:, column] < mine[0, column] * (1.0 - SLACK))
            tied &= theirs[:, column] <= mine[0, column] * (1.0 + SLACK)
        return found | tied

    def add(self, values: Array, owner: object, codes: Codes) -> None:
        """Keep what is worth it of candidates (rows of ``codes``, meaningful to their ``owner``)."""
        kept = self._worth(values)
        if not len(kept):
            return
        self.owners.append(owner)
        width = max(codes.shape[1], self.codes.shape[1])
        both = np.concatenate([self.values, values[kept]])
        owners = np.concatenate([self.owner, np.full(len(kept), len(self.owners) - 1, dtype=np.intp)])
        rows = np.concatenate([_wide(self.codes, width), _wide(codes[kept], width)])
        left = self._worth(both)
        self.values, self.owner, self.codes = both[left], owners[left], rows[left]

    def _worth(self, values: Array) -> Codes:
        """Places of what is best: the front, or the first in order and what ties with it."""
        columns = list(self.aim.columns)
        if not len(values):
            return np.zeros(0, dtype=np.intp)
        if not self.aim.ordered:
            return front(values[:, columns])
        order = np.lexsort(values[:, columns[::-1]].T)
        return order[:1]


def _wide(codes: Codes, width: int) -> Codes:
    found = np.zeros((len(codes), width), dtype=np.intp)
    found[:, : codes.shape[1]] = codes
    return found
