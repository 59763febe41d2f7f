"""Quick-select on a real stream of scores: the rounds it takes and what it keeps.

Keeps the k largest; of those equal to the k-th the earlier ones, as the released filter pass does. What is kept does
not depend on the pivot rule, only the rounds do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.errors import ConfigError
from dse.simulator.topk.pivots import pivot_index

if TYPE_CHECKING:
    import numpy.typing as npt

    from dse.simulator.arrays import Array
    from dse.simulator.topk.parameters import TopK

    Stream = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """What one request keeps, in order of arrival, and what each of its rounds did.

    ``scanned``, ``spilled`` and ``round_cycles`` have one number for each round.
    """

    kept: npt.NDArray[np.int64]
    scanned: Array
    spilled: Array
    round_cycles: Array
    fill_cycles: float
    drain_cycles: float

    @property
    def cycles(self) -> float:
        """Cycles the request holds an engine."""
        return float(self.round_cycles.sum()) + self.fill_cycles + self.drain_cycles

    @property
    def parts(self) -> tuple[float, ...]:
        """The same piece by piece: fill, each round, drain."""
        pieces = (self.fill_cycles, *(float(c) for c in self.round_cycles), self.drain_cycles)
        return tuple(piece for piece in pieces if piece)


def top_indices(scores: Stream, k: int) -> npt.NDArray[np.int64]:
    """Indices of the k largest, ascending; of equal ones the earlier."""
    order = np.argsort(-_signed(scores), kind="stable")
    return np.sort(order[:k])


def select(engine: TopK, scores: Stream, k: int, generator: np.random.Generator | None = None) -> Selection:
    """Rounds of one request on its scores in order of arrival.

    Raises
    ------
    ConfigError
        Scores that are not numbers, or an overflow that the engine refuses.
    """
    values = np.asarray(scores)
    if values.ndim != 1 or bool(np.isnan(values).any()) or k < 1:
        raise ConfigError(f"a top-{k} request needs a stream of numbers, and k of at least 1")
    n = len(values)
    if bool(engine.bypasses(np.array([n]), np.array([k]))[0]):
        nothing = np.zeros(0)
        return Selection(np.arange(n), nothing, nothing, nothing, 0.0, 0.0)
    scanned, spilled, kth = _rounds(engine, values, k, generator or np.random.default_rng(engine.seed))
    read, aside = np.array(scanned), np.array(spilled)
    fill, drain = engine.edge_cycles(np.array([float(n)]), np.array([float(min(k, n))]))
    kept = _filtered(values, min(k, n), kth)
    return Selection(kept, read, aside, engine.round_cycles(read, aside), float(fill[0]), float(drain[0]))


def _rounds(
    engine: TopK, values: Stream, k: int, generator: np.random.Generator
) -> tuple[list[float], list[float], Any]:
    """Elements read and spilled in each round, and the k-th largest value."""
    alive, target = values, min(k, len(values)) - 1
    read, aside = float(len(values)), 0.0
    scanned, spilled = [], []
    while True:
        scanned.append(read)
        spilled.append(aside)
        index = pivot_index(engine, alive, generator)
        pivot = alive[index]
        above = alive[alive > pivot]
        equal = 1 if engine.ties == "two_way" else int((alive == pivot).sum())
        if target < len(above):
            alive = above
        elif target < len(above) + equal:
            return scanned, spilled, pivot
        else:
            target -= len(above) + equal
            alive = alive[alive < pivot] if engine.ties == "three_way" else _others(alive, index)
        if engine.overflow == "refuse" and len(alive) > engine.fifo_rows * engine.lanes:
            raise ConfigError(f"{len(alive)} elements do not fit FIFOs of {engine.fifo_rows} rows")
        nexts = engine.next_round(np.array([float(len(values))]), np.array([float(len(alive))]))
        read, aside = float(nexts[0][0]), float(nexts[1][0])


def _others(alive: Stream, index: int) -> Stream:
    """What is not above the pivot, without the pivot itself, in order."""
    lower: npt.NDArray[np.bool_] = alive <= alive[index]
    lower[index] = False
    found: Stream = alive[lower]
    return found


def _filtered(values: Stream, k: int, kth: Any) -> npt.NDArray[np.int64]:  # noqa: ANN401
    """One pass over the saved stream: all above the k-th value, then the first of its equals."""
    above, equal = values > kth, values == kth
    room = k - int(above.sum())
    return np.flatnonzero(above | (equal & (np.cumsum(equal) <= room)))


def _signed(scores: Stream) -> Stream:
    """The scores in a type whose negation cannot overflow."""
    values = np.asarray(scores)
    signed: Stream = values.astype(np.int64) if values.dtype.kind in "iub" else values
    return signed
