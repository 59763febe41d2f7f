"""Order in which rows and their replays enter the pipeline: replays first, as soon as they are known to be needed.

A row whose largest probability is below the threshold runs twice. The released controller lets replays in before new
rows; which of both is ready first depends on the key buffer and on latencies, so that the order is found by running
rows through memory and scores once, each as early as it can. The order is then fixed.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.spatten.fetch import latency_cycles

if TYPE_CHECKING:
    import numpy.typing as npt

    from dse.simulator.spatten.chip import Chip
    from dse.simulator.spatten.times import Times
    from dse.workloads.head_rows import HeadRows

    Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Issue:
    """Items of a group: its rows, then a first pass of each row that is replayed; their order up to softmax."""

    rows: int
    first_of: dict[int, int]
    order: Ints

    @property
    def items(self) -> int:
        """Rows and first passes."""
        return self.rows + len(self.first_of)


def reorder_rows(chip: Chip, rows: HeadRows, members: Ints) -> int:
    """Rows, all as long as the longest, that find room between softmax and top-k; at least one."""
    lines = int(np.ceil(rows.keys[members].max() / chip.width))
    return max(1, int(chip.number("softmax", "reorder_lines")) // lines)


def issue_of(chip: Chip, rows: HeadRows, times: Times, members: Ints) -> Issue:
    """Order of rows, first passes and replays of one group."""
    replayed = [place for place, row in enumerate(members.tolist()) if rows.refetch[row]]
    first_of = {place: len(members) + number for number, place in enumerate(replayed)}
    if not first_of:
        return Issue(len(members), {}, np.arange(len(members)))
    return Issue(len(members), first_of, np.array(_Entry(chip, rows, times, members, first_of).order()))


class _Entry:
    """Memory and score array of one group, entered by whichever of replay and new row can start first."""

    def __init__(
        self, chip: Chip, rows: HeadRows, times: Times, members: Ints, first_of: dict[int, int]
    ) -> None:
        self.times, self.members, self.first_of = times, members, first_of
        self.decision = chip.number("array_qk", "latency_cycles") + chip.number("softmax", "latency_cycles")
        self.memory = latency_cycles(chip)
        self.most = min(int(chip.number("softmax", "replays")), reorder_rows(chip, rows, members) - 1)
        openers = np.flatnonzero(times.opens[members])
        closers = [*(openers[1:] - 1).tolist(), len(members) - 1]
        self.frees: dict[int, int] = {}
        for number, place in enumerate(openers.tolist()):
            back = number - max(chip.resident("key_sram", int(rows.keys[members[place]])), 1)
            if back >= 0:
                self.frees[place] = closers[back]
        self.released: dict[int, float] = {}
        self.replays: list[tuple[float, int]] = []
        self.fetching = self.scoring = 0.0

    def order(self) -> list[int]:
        """Items in the order they enter."""
        found: list[int] = []
        new = 0
        while new < len(self.members) or self.replays:
            start, again = self._new(new), self._replay()
            if again <= start:
                _, place = heapq.heappop(self.replays)
                self._pass(place, again, float(self.times.lsb_fetch[self.members[place]]))
                self.released[place] = self.scoring + self.decision
                found.append(place)
                continue
            self._pass(new, start, float(self.times.key_fetch[self.members[new]]))
            if new in self.first_of:
                heapq.heappush(self.replays, (self.scoring + self.decision, new))
            else:
                self.released[new] = self.scoring + self.decision
            found.append(self.first_of.get(new, new))
            new += 1
        return found

    def _new(self, place: int) -> float:
        """When the next new row could start; never while a replay must come first."""
        if place == len(self.members):
            return np.inf
        if self.replays and place - min(row for _, row in self.replays) > self.most:
            return np.inf
        holder = self.frees.get(place)
        if holder is None:
            return self.fetching
        return max(self.fetching, self.released.get(holder, np.inf))

    def _replay(self) -> float:
        """When the first replay could start."""
        return max(self.fetching, self.replays[0][0]) if self.replays else np.inf

    def _pass(self, place: int, start: float, fetch: float) -> None:
        """Fetch and compute a row, or replay it, from ``start`` on."""
        self.fetching = start + fetch
        begun = max(self.scoring, start + self.memory)
        scores = float(self.times.scores[self.members[place]])
        self.scoring = max(begun + scores, self.fetching + self.memory)
