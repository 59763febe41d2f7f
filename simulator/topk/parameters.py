"""Parameters of a top-k engine, and the cycles and comparisons of the rounds it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from dse.errors import ConfigError, Problem, nearest
from dse.simulator.topk.conventions import CONVENTIONS, Convention

if TYPE_CHECKING:
    from dse.simulator.arrays import Array, Mask

    Values = Array | np.ndarray[Any, np.dtype[np.int64]]

Pivot = Literal["uniform", "row_head", "first", "median_of_three", "oracle"]
Ties = Literal["three_way", "two_way"]
Overflow = Literal["rescan", "spill", "refuse"]
Bypass = Literal["in_order", "immediate", "never"]
PIVOTS: tuple[str, ...] = get_args(Pivot)
TIES: tuple[str, ...] = get_args(Ties)
OVERFLOWS: tuple[str, ...] = get_args(Overflow)
BYPASSES: tuple[str, ...] = get_args(Bypass)


@dataclass(frozen=True, slots=True)
class TopK:
    """A quick-select engine.

    Attributes
    ----------
    lanes
        Elements compared in a cycle: P.
    width
        Elements that arrive and leave in a cycle.
    capacity
        Elements that each of the two result FIFOs holds, in rows of ``lanes``; at least one row.
    overflow
        What a round does whose surviving side does not fit: ``rescan`` keeps only the range and reads the saved
        stream again, ``spill`` writes the rows that do not fit aside and reads them back, one row a cycle each way,
        ``refuse`` makes the request impossible.
    pivot
        ``uniform`` over what is left; ``row_head``: the head of a row chosen by hash, as the released code does;
        ``first``; ``median_of_three``: first, middle and last; ``oracle``: the median, which no hardware knows.
    ties
        ``three_way``: equals to the pivot form a class of their own; ``two_way``: all but the pivot itself go with
        the smaller ones.
    engines
        Engines that serve requests in turn.
    bypass
        Requests that keep everything: ``in_order`` take no engine but wait for those before them, ``immediate`` pass
        at once, ``never``: run like others.
    """

    convention: Convention = field(default=CONVENTIONS["scala"])
    lanes: int = 16
    width: int = 8
    capacity: int = 2048
    overflow: Overflow = "rescan"
    pivot: Pivot = "uniform"
    ties: Ties = "three_way"
    engines: int = 1
    bypass: Bypass = "in_order"
    seed: int = 0

    def __post_init__(self) -> None:
        problems = [
            Problem(f"is {getattr(self, name)}; at least 1", path=f"topk.{name}")
            for name in ("lanes", "width", "capacity", "engines")
            if getattr(self, name) < 1
        ]
        allowed = {"pivot": PIVOTS, "ties": TIES, "overflow": OVERFLOWS, "bypass": BYPASSES}
        for name, values in allowed.items():
            given = getattr(self, name)
            if given not in values:
                text = f"'{given}' is not one of {', '.join(values)}{nearest(given, values)}"
                problems.append(Problem(text, path=f"topk.{name}"))
        if problems:
            raise ConfigError(*problems)

    @property
    def fifo_rows(self) -> int:
        """Rows that each result FIFO holds."""
        return max(1, self.capacity // self.lanes)

    def bypasses(self, n: Values, k: Values) -> Mask:
        """Whether requests keep all of their elements and therefore take no engine."""
        return np.asarray(k >= n) & (self.bypass != "never")

    def round_cycles(self, scanned: Array, spilled: Array) -> Array:
        """Cycles of rounds that read ``scanned`` elements, ``spilled`` of which did not fit a FIFO."""
        return self.convention.round_cycles(scanned, self.lanes) + 2.0 * np.ceil(spilled / self.lanes)

    def edge_cycles(self, n: Array, k: Array) -> tuple[Array, Array]:
        """Cycles of filling before the first round and of draining after the last."""
        fill = self.convention.fill_cycles(n, self.width)
        return fill, self.convention.drain_cycles(n, k, self.width)

    def next_round(self, total: Array, side: Array) -> tuple[Array, Array]:
        """Elements read by the next round and of these spilled ones, if ``side`` of ``total`` elements survive."""
        room = self.fifo_rows * self.lanes
        fits = side <= room
        if self.overflow == "spill":
            return side, np.where(fits, 0, side - room)
        return np.where(fits, side, total), np.zeros_like(side)
