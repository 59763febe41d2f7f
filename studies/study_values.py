"""Metrics of a study evaluated on the results of a sweep, for the design points a claim selects."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.errors import ConfigError, nearest
from dse.studies.columns import POINT, unit_of
from dse.studies.study_file import LEDGER_KEYS
from dse.units import parse_count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from dse.simulator.arrays import Array
    from dse.studies.study_file import Metric

PART = "part"  # of a sweep with several; no axis, so that points of two parts can be compared
_LEDGER_UNITS = {"bytes": "B", "energy_j": "J"}


def plain(text: str) -> str:
    """A value in its one spelling: sizes as whole numbers, other text as it is."""
    try:
        return str(parse_count(text))
    except ConfigError:
        return text


@dataclass(frozen=True)
class Measured:
    """Results of one sweep: ``points`` holds every value of each design point, ``rows`` their results in this order."""

    name: str
    points: Sequence[Mapping[str, str]]
    rows: pd.DataFrame
    components: pd.DataFrame | None
    _sums: dict[object, Array] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def _places(self) -> dict[tuple[str, str], set[int]]:
        """Positions of the points that have a value."""
        found: dict[tuple[str, str], set[int]] = {}
        for position, point in enumerate(self.points):
            for key, value in point.items():
                found.setdefault((key, plain(value)), set()).add(position)
        return found

    @cached_property
    def _by_point(self) -> dict[frozenset[tuple[str, str]], int]:
        return {_key(point): position for position, point in enumerate(self.points)}

    @cached_property
    def _numbers(self) -> dict[str, Array]:
        table = self.rows.select_dtypes("number")
        return {str(name): table[name].to_numpy(dtype=np.float64) for name in table}

    def select(self, words: Mapping[str, str]) -> list[int]:
        """Positions of the points that have all the given values, in order; ``a,b`` is either of two.

        Raises
        ------
        ConfigError
            A key no point has, or a value no point has under it.
        """
        found = set(range(len(self.points)))
        for key, text in words.items():
            some: set[int] = set()
            for value in text.split(","):
                places = self._places.get((key, plain(value)))
                if places is None:
                    raise ConfigError(self._absent(key, value))
                some |= places
            found &= some
        return sorted(found)

    def _absent(self, key: str, value: str) -> str:
        known = {name: None for point in self.points for name in point}
        if key not in known:
            return f"sweep {self.name} has no axis '{key}'{nearest(key, [*known, *LEDGER_KEYS])}"
        values = list(dict.fromkeys(point[key] for point in self.points if key in point))
        return f"sweep {self.name} has no {key} '{value}'; there are {', '.join(values)}"

    def others(self, positions: Sequence[int], changes: Mapping[str, str]) -> list[int]:
        """Positions of the points that differ from the given ones by ``changes`` alone.

        Raises
        ------
        ConfigError
            The sweep does not have such a point.
        """
        found = []
        for position in positions:
            key = _key({**self.points[position], **changes})
            if key not in self._by_point:
                words = " ".join(f"{name}={value}" for name, value in changes.items())
                raise ConfigError(
                    f"sweep {self.name} has no point like this one with {words} to compare with"
                )
            found.append(self._by_point[key])
        return found

    def column(self, name: str) -> Array:
        """A column of the results, or an axis whose values are whole numbers, for all points.

        Raises
        ------
        ConfigError
            There is no such column of numbers.
        """
        if name not in self._numbers and all(name in point for point in self.points):
            with contextlib.suppress(ConfigError):
                self._numbers[name] = np.array([float(parse_count(point[name])) for point in self.points])
        if name not in self._numbers:
            raise ConfigError(f"results have no column of numbers '{name}'{nearest(name, self._numbers)}")
        return self._numbers[name]

    def ledger(self, name: str, where: Mapping[str, str]) -> Array:
        """A column of the ledger summed over the rows selected, for all points; 0 where a point has none.

        Raises
        ------
        ConfigError
            The results have no ledger, or no point has such rows.
        """
        if self.components is None:
            raise ConfigError(f"sweep {self.name} has no ledger: more points than it is kept for")
        key = (name, *sorted(where.items()))
        if key not in self._sums:
            chosen = self.components
            for column, value in where.items():
                chosen = chosen[chosen[column] == value]
            if chosen.empty:
                words = " ".join(f"{column}={value}" for column, value in where.items())
                raise ConfigError(f"no ledger of sweep {self.name} has rows with {words}")
            sums = chosen.groupby(POINT, sort=False)[name].sum()
            self._sums[key] = self.rows[POINT].map(sums).fillna(0.0).to_numpy(dtype=np.float64)
        return self._sums[key]

    def parts(self, key: str, where: Mapping[str, str]) -> list[str]:
        """Values of a ledger key among the rows selected, in the order of the ledger."""
        assert self.components is not None
        chosen = self.components
        for column, value in where.items():
            chosen = chosen[chosen[column] == value]
        return [str(value) for value in chosen[key].drop_duplicates()]


def values(metric: Metric, measured: Measured, words: Mapping[str, str]) -> tuple[list[int], Array]:
    """Positions of the points that ``words`` select, and the metric at each; shape (points selected,).

    Raises
    ------
    ConfigError
        The results do not have what the metric needs.
    """
    narrow = {key: value for key, value in words.items() if key in LEDGER_KEYS}
    if narrow and metric.ledger is None:
        raise ConfigError(
            f"{next(iter(narrow))} selects rows of the ledger, and this metric is of the results"
        )
    positions = measured.select({key: value for key, value in words.items() if key not in LEDGER_KEYS})
    each = _each(metric, measured, narrow)
    own = each[positions]
    if not metric.against:
        return positions, own
    other = each[measured.others(positions, metric.against)]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {"ratio": own / other, "speedup": other / own, "difference": own - other}
    assert metric.compare is not None
    return positions, found[metric.compare]


def value(metric: Metric, measured: Measured, words: Mapping[str, str]) -> float:
    """The metric over the points that ``words`` select; NaN where one of them is infeasible.

    Raises
    ------
    ConfigError
        The words select no point, or several without the metric reducing them.
    """
    positions, found = values(metric, measured, words)
    if not positions:
        raise ConfigError(f"no point of sweep {measured.name} has all these values")
    if metric.reduce is None and len(positions) > 1:
        raise ConfigError(f"selects {len(positions)} points of sweep {measured.name}; this metric is of one")
    return float(found[0]) if metric.reduce is None else _reduced(found, metric.reduce)


def si_unit(metric: Metric) -> str:
    """SI unit of a metric; empty for a plain number."""
    if metric.unit is not None:
        return metric.unit
    if metric.per is not None or metric.times is not None or metric.compare in {"ratio", "speedup"}:
        return ""
    return _LEDGER_UNITS.get(metric.ledger, "") if metric.ledger is not None else unit_of(metric.column or "")


def _each(metric: Metric, measured: Measured, narrow: Mapping[str, str]) -> Array:
    """The metric at every point of the sweep, before it is compared."""
    if metric.ledger is None:
        assert metric.column is not None
        found = measured.column(metric.column)
    else:
        found = measured.ledger(metric.ledger, {**metric.where, **narrow})
    if metric.times is not None:
        found = found * measured.column(metric.times)
    return found if metric.per is None else found / measured.column(metric.per)


def _reduced(found: Array, how: str) -> float:
    if how == "geomean":
        return float(np.exp(np.log(found).mean()))
    functions: dict[str, Callable[[Array], Any]] = {
        "mean": np.mean,
        "sum": np.sum,
        "min": np.min,
        "max": np.max,
    }
    return float(functions[how](found))


def _key(point: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((name, plain(text)) for name, text in point.items() if name != PART)
