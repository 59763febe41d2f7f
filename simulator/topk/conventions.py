"""Three published ways to count the cycles of a quick-select engine, each under its own name and never mixed.

All three are facts of the released SpAtten repository (mit-han-lab/spatten, MIT): its Scala latency model, its
behavioural simulator of BERT, and its register-transfer code. The last does not run as released, so that its
overheads are counted from the registers a row passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dse.errors import ConfigError, Problem, nearest

if TYPE_CHECKING:
    from dse.simulator.arrays import Array

Rounding = Literal["up", "down"]
Drain = Literal["none", "kept", "all"]


@dataclass(frozen=True, slots=True)
class Convention:
    """How rounds, filling and draining are counted.

    A round over n elements takes ``rounding(n / lanes)`` rows of one cycle and ``overhead_cycles``. With ``fill`` the
    stream enters at ``width`` elements a cycle first; ``drain`` is what passes out at that width afterwards: nothing,
    the elements ``kept``, or ``all`` through a filter of ``filter_cycles`` stages.
    """

    name: str
    rounding: Rounding
    overhead_cycles: float
    fill: bool
    drain: Drain
    filter_cycles: float
    source: str

    def rows(self, elements: Array, lanes: float | Array) -> Array:
        """Rows that a round over so many elements counts."""
        quotient = elements / lanes
        return np.ceil(quotient) if self.rounding == "up" else np.floor(quotient)

    def round_cycles(self, elements: Array, lanes: float | Array) -> Array:
        """Cycles of one round."""
        return self.rows(elements, lanes) + self.overhead_cycles

    def fill_cycles(self, n: Array, width: float | Array) -> Array:
        """Cycles before the first round."""
        return np.ceil(n / width) if self.fill else np.zeros_like(n)

    def drain_cycles(self, n: Array, k: Array, width: float | Array) -> Array:
        """Cycles after the last round."""
        if self.drain == "none":
            return np.zeros_like(n)
        passed = k if self.drain == "kept" else n
        return np.ceil(passed / width) + self.filter_cycles


CONVENTIONS = {
    found.name: found
    for found in (
        Convention(
            "scala",
            "up",
            3.0,
            fill=False,
            drain="none",
            filter_cycles=0.0,
            source="TopKLatencyModel.scala: ceil(n / P) + 3 in each round, neither fill nor drain",
        ),
        Convention(
            "behavioural",
            "down",
            4.0,
            fill=True,
            drain="kept",
            filter_cycles=0.0,
            source="bert.cpp: floor(n / P) + 3 + 1 in each round, fill ceil(n / 8), drain ceil(k / 8)",
        ),
        Convention(
            "rtl",
            "up",
            6.0,
            fill=True,
            drain="all",
            filter_cycles=5.0,
            source=(
                "QuickSelect.scala, ZeroEliminator.scala, TopK.scala by reading: compare, prefix sum, shift, realign, "
                "output and decision take a cycle each; fill and filter pass every element"
            ),
        ),
    )
}


def convention(name: str) -> Convention:
    """A published convention by name.

    Raises
    ------
    ConfigError
        No such convention.
    """
    if name not in CONVENTIONS:
        text = f"'{name}' is not one of {', '.join(CONVENTIONS)}{nearest(name, CONVENTIONS)}"
        raise ConfigError(Problem(text, path="convention"))
    return CONVENTIONS[name]
