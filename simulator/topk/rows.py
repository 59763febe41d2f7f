"""Quick-select row by row: comparators, two zero eliminators, two FIFOs and the saved copy, as the hardware has them.

Every row that is read leaves each element in exactly one place: compacted into the FIFO of its side, counted as equal,
or (of a side too long for its FIFO) given up, to be read again from the saved copy or set aside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dse.errors import ConfigError
from dse.simulator.topk.pivots import pivot_index

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from dse.simulator.topk.parameters import TopK


class Compactor:
    """A zero eliminator with its FIFO: kept elements of each row close up and leave as full rows."""

    def __init__(self, engine: TopK) -> None:
        self.lanes, self.depth = engine.lanes, engine.fifo_rows
        self.rows: list[npt.NDArray[Any]] = []
        self.aside: list[npt.NDArray[Any]] = []
        self.pending: list[Any] = []
        self.passed = 0

    def push(self, row: npt.NDArray[Any], keep: npt.NDArray[np.bool_]) -> None:
        """Take the kept elements of a row."""
        self.pending += list(row[keep])
        self.passed += int(keep.sum())
        if len(self.pending) >= self.lanes:
            self._store(self.pending[: self.lanes])
            self.pending = self.pending[self.lanes :]

    def flush(self) -> None:
        """Close the last row."""
        if self.pending:
            self._store(self.pending)
            self.pending = []

    def _store(self, elements: list[Any]) -> None:
        place = self.rows if len(self.rows) < self.depth else self.aside
        place.append(np.array(elements))

    @property
    def content(self) -> npt.NDArray[Any]:
        """Everything that passed, in order, wherever it is."""
        return np.concatenate([*self.rows, *self.aside]) if self.rows else np.zeros(0)


class RowRounds:
    """The rounds of one request, a row at a time; ``steps`` yields the cycles of each."""

    def __init__(
        self, engine: TopK, scores: npt.NDArray[Any], k: int, generator: np.random.Generator
    ) -> None:
        self.engine, self.generator = engine, generator
        self.saved = np.asarray(scores)
        self.k = min(k, len(self.saved))
        self.kept = np.zeros(0, np.int64)
        self.rounds = self.fullest_rows = 0

    def steps(self) -> Iterator[float]:
        """Cycles of one row, overhead or edge after another, until the request is done."""
        convention, engine = self.engine.convention, self.engine
        n, k = np.array([float(len(self.saved))]), np.array([float(self.k)])
        fill, drain = engine.edge_cycles(n, k)
        yield from _singles(fill[0])
        alive, target, extra = self.saved, self.k - 1, 0.0
        read = len(alive)
        while True:
            self.rounds += 1
            pivot = pivot_index(engine, alive, self.generator)
            above, below, equal = self._round(alive, pivot)
            yield from _singles(convention.rows(np.array([float(read)]), engine.lanes)[0])
            yield convention.overhead_cycles
            yield from _singles(extra)
            if above.passed <= target < above.passed + equal:
                break
            side = above if target < above.passed else below
            target -= 0 if side is above else above.passed + equal
            if side.aside and engine.overflow == "refuse":
                raise ConfigError(f"{side.passed} elements do not fit FIFOs of {engine.fifo_rows} rows")
            again = bool(side.aside) and engine.overflow == "rescan"
            alive, read = side.content, len(self.saved) if again else side.passed
            extra = 2.0 * len(side.aside) if engine.overflow == "spill" else 0.0
        self._filter(alive[pivot])
        yield from _singles(drain[0])

    def _round(self, alive: npt.NDArray[Any], place: int) -> tuple[Compactor, Compactor, int]:
        """One pass over what is left: both sides and how many are equal to the pivot."""
        above, below, equal = Compactor(self.engine), Compactor(self.engine), 0
        pivot, lanes = alive[place], self.engine.lanes
        for start in range(0, len(alive), lanes):
            row = alive[start : start + lanes]
            greater, less = row > pivot, row < pivot
            if self.engine.ties == "two_way":
                less = ~greater & (np.arange(start, start + len(row)) != place)
            equal += int((~greater & ~less).sum())
            above.push(row, greater)
            below.push(row, less)
        for side in (above, below):
            side.flush()
            self.fullest_rows = max(self.fullest_rows, len(side.rows))
        assert above.passed + below.passed + equal == len(alive)
        return above, below, equal

    def _filter(self, kth: Any) -> None:  # noqa: ANN401
        """Read the saved copy once: all above the k-th value, then the first of its equals, through the eliminator."""
        room = self.k - int((self.saved > kth).sum())
        kept, lanes = [], self.engine.width
        for start in range(0, len(self.saved), lanes):
            row = self.saved[start : start + lanes]
            equal = row == kth
            chosen = (row > kth) | (equal & (np.cumsum(equal) <= room))
            room -= int((equal & chosen).sum())
            kept.append(start + np.flatnonzero(chosen))
        self.kept = np.concatenate(kept)


def _singles(cycles: float) -> Iterator[float]:
    """So many cycles, one at a time."""
    for _ in range(int(cycles)):
        yield 1.0
