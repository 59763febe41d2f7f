"""Objectives of a search: what is minimised, and what decides between equals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import ConfigError, Problem, nearest

if TYPE_CHECKING:
    from dse.mappers.search.candidates import Measures
    from dse.simulator.arrays import Array

COLUMNS = {
    "latency": "latency_s",
    "energy": "energy_j",
    "edp": "edp_js",
    "area_delay": "area_delay_m2s",
    "capacity": "onchip_bytes",
}
PARETO = ("latency", "energy")
# What decides between candidates of equal objective, in this order.
TIES = ("latency", "energy", "capacity")
NAMES = (*COLUMNS, "pareto")


@dataclass(frozen=True)
class Objective:
    """One quantity to minimise, or several for a Pareto front."""

    names: tuple[str, ...]

    @property
    def several(self) -> bool:
        """Whether this asks for a front."""
        return len(self.names) > 1

    def scores(self, measures: Measures) -> Array:
        """Objectives of candidates, shape (n, objectives), infinite where infeasible."""
        return np.stack([_column(name, measures) for name in self.names], axis=1)

    def ranking(self, measures: Measures) -> Array:
        """What candidates are ordered by, lexicographically, shape (n, columns); a front's are ordered by EDP."""
        first = "edp" if self.several else self.names[0]
        return np.stack([_column(name, measures) for name in (first, *TIES)], axis=1)


def objective(text: str) -> Objective:
    """The objective of a name, or of several separated by commas; ``pareto`` is latency and energy.

    Raises
    ------
    ConfigError
        No such objective; names the nearest one.
    """
    given = [part.strip() for part in text.split(",")]
    names = [name for part in given for name in (PARETO if part == "pareto" else (part,))]
    wrong = [name for name in names if name not in COLUMNS]
    if wrong:
        known = ", ".join(NAMES)
        raise ConfigError(
            *(Problem(f"'{n}' is not one of {known}{nearest(n, NAMES)}", path="objective") for n in wrong)
        )
    return Objective(tuple(dict.fromkeys(names)))


def _column(name: str, measures: Measures) -> Array:
    """One objective; a quantity no source gives orders after all known ones."""
    with np.errstate(all="ignore"):
        found = {
            "latency": measures.seconds,
            "energy": measures.joules,
            "edp": measures.joules * measures.seconds,
            "area_delay": measures.area_m2 * measures.seconds,
            "capacity": measures.onchip_bytes,
        }[name]
    worst: Array = np.where(np.isnan(found) | (measures.reason != 0), np.inf, found)
    return worst
