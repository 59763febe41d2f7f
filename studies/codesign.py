"""Co-design: the machines and mappers of a sweep file searched for several objectives over all of its workloads.

An axis of the machine, the mapper or the mapping is a design choice; every other axis is work that each design has to
do. A design's time and energy are geometric means over that work, its area and bandwidth the most of them. Designs are
proposed by Optuna and evaluated in batches, as in a sweep. Not covered: designs between the values that the axes list.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.errors import ConfigError, InfeasibleError, Problem, nearest
from dse.mappers.search.pareto import front
from dse.studies.columns import of_machine
from dse.studies.sweep import batch_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import optuna

    from dse.simulator.arrays import Array
    from dse.studies.codesign_study import Trials
    from dse.studies.grid import Codes
    from dse.studies.sweep import Plan

MEANS = ("latency_s", "energy_j", "cycles", "offchip_energy_j", "dram_bytes")
MOST = ("area_m2", "onchip_bytes", "peak_flop_per_s", "bandwidth.dram.peak")
PRODUCTS = {"edp": ("energy_j", "latency_s"), "area_delay": ("area_m2", "latency_s")}
METRICS = (*MEANS, *MOST, *PRODUCTS)
ISO = {"area": "area_m2", "bandwidth": "bandwidth.dram.peak"}
SAMPLERS = ("nsga2", "nsga3", "tpe", "random")
PATIENCE = 20  # batches without a new design
INFEASIBLE = 1e3  # log10 of what no design reaches
SLACK = 1e-9  # what the same number worked out in another order may differ by


@dataclass(frozen=True)
class Limit:
    """A design's metric must not be above ``most``."""

    metric: str
    most: float


@dataclass
class Designs:
    """The designs a sweep file spans: axes that choose, and the work each design has to do."""

    plan: Plan
    axes: dict[str, tuple[str, ...]] = field(init=False)
    _work: Codes = field(init=False)
    _strides: list[int] = field(init=False)

    def __post_init__(self) -> None:
        if len(self.plan.points.grids) > 1:
            raise ConfigError(Problem("a co-design has one part; leave out also", path="sweep.also"))
        grid = self.plan.points.grids[0]
        self.axes = {
            name: texts for name, texts in grid.texts.items() if of_machine(name) or name == "mapping"
        }
        strides = np.cumprod([1, *grid.shape[:0:-1]])[::-1]
        own = {name: int(stride) for name, stride in zip(grid.texts, strides, strict=True)}
        self._strides = [own[name] for name in self.axes]
        rest = [range(len(grid.texts[name])) if name not in self.axes else range(1) for name in grid.texts]
        every = [
            sum(c * int(s) for c, s in zip(codes, strides, strict=True)) for codes in itertools.product(*rest)
        ]
        self._work = np.intersect1d(np.array(every, dtype=np.int64), grid.places)

    @property
    def size(self) -> int:
        """Designs there are."""
        return int(np.prod([len(texts) for texts in self.axes.values()], dtype=np.float64))

    def texts(self, design: tuple[int, ...]) -> dict[str, str]:
        """Text of a design on each of its axes."""
        return {name: texts[code] for (name, texts), code in zip(self.axes.items(), design, strict=True)}

    def measure(self, designs: Sequence[tuple[int, ...]], metrics: Sequence[str]) -> Array:
        """Metrics of designs, shape (designs, metrics); NaN where one cannot do some of the work."""
        starts = np.array([sum(c * s for c, s in zip(d, self._strides, strict=True)) for d in designs])
        grid = self.plan.points.grids[0]
        numbers = np.searchsorted(grid.places, (starts[:, None] + self._work[None, :]).reshape(-1))
        rows = batch_tables(self.plan, numbers.astype(np.int64), [""] * len(numbers), False).rows
        columns = {name: _numbers(rows, name).reshape(len(designs), -1) for name in (*MEANS, *MOST)}
        return np.stack([_metric(columns, name) for name in metrics], axis=1)


def _numbers(rows: Any, name: str) -> Array:  # noqa: ANN401
    if name not in rows.column_names:
        return np.full(rows.num_rows, np.nan)
    found: Array = rows[name].to_numpy(zero_copy_only=False).astype(np.float64)
    return found


def _metric(columns: dict[str, Array], name: str) -> Array:
    """A metric of designs over their work, left to right so that it does not depend on the batch."""
    if name in PRODUCTS:
        one, other = PRODUCTS[name]
        product: Array = _metric(columns, one) * _metric(columns, other)
        return product
    values = columns[name]
    if name in MOST:
        most: Array = values.max(axis=1)
        return np.where(np.isnan(columns["latency_s"]).any(axis=1), np.nan, most)
    mean = np.zeros(len(values))
    for column in values.T:
        mean = mean + np.log(column)
    found: Array = np.exp(mean / values.shape[1])
    return found


def check_metrics(names: Sequence[str], path: str) -> None:
    """Refuse metrics that do not exist.

    Raises
    ------
    ConfigError
        Names the nearest one.
    """
    wrong = [name for name in names if name not in METRICS]
    if wrong or not names:
        known = ", ".join(METRICS)
        raise ConfigError(
            *(Problem(f"'{n}' is not one of {known}{nearest(n, METRICS)}", path=path) for n in wrong or [""])
        )


@dataclass
class Tried:
    """Designs evaluated so far, in order, with their metrics: objectives first, then what is limited."""

    known: dict[tuple[int, ...], Array] = field(default_factory=dict)

    def add(self, found: dict[tuple[int, ...], Array]) -> None:
        """Take designs; one known already stays as it is."""
        self.known = {**self.known, **{code: v for code, v in found.items() if code not in self.known}}

    @property
    def designs(self) -> list[tuple[int, ...]]:
        """Designs in the order in which they were tried."""
        return list(self.known)

    @property
    def metrics(self) -> list[Array]:
        """Metrics of each."""
        return list(self.known.values())

    def allowed(self, objectives: int, limits: Sequence[Limit]) -> Codes:
        """Numbers of the designs that can do the work and keep within the limits."""
        if not self.designs:
            return np.zeros(0, dtype=np.int64)
        values = np.array(self.metrics)
        fine = np.isfinite(values[:, :objectives]).all(axis=1)
        for number, limit in enumerate(limits):
            fine &= values[:, objectives + number] <= limit.most * (1.0 + SLACK)
        return np.flatnonzero(fine).astype(np.int64)

    def front(self, objectives: int, limits: Sequence[Limit]) -> list[int]:
        """Numbers of the designs no other allowed one beats in every objective, the first objective rising."""
        fine = self.allowed(objectives, limits)
        values = np.array([self.metrics[number][:objectives] for number in fine]).reshape(
            len(fine), objectives
        )
        chosen = front(values)
        return [int(fine[i]) for i in sorted(chosen, key=lambda i: tuple(values[i]))]


def search(
    designs: Designs,
    trials: Trials,
    objectives: Sequence[str],
    limits: Sequence[Limit],
    budget: int,
    batch: int,
    done: Callable[[int], None],
) -> Tried:
    """Try designs that Optuna proposes until ``budget`` different ones were, those stored earlier included.

    Raises
    ------
    InfeasibleError
        No design tried can do the work within the limits.
    """
    tried = Tried()
    asked_for = [*objectives, *(limit.metric for limit in limits)]
    idle = 0
    while idle < PATIENCE:
        tried.add(_stored(trials.pull(), designs))
        left = min(budget, designs.size) - len(tried.known)
        if left <= 0:
            break
        if budget >= designs.size:
            _enqueue(trials.proposing, designs, tried, min(batch, left))
        asked = [_asked(trials.proposing, designs) for _ in range(min(batch, left))]
        fresh = list(dict.fromkeys(code for _, code in asked if code not in tried.known))
        idle = 0 if fresh else idle + 1
        if fresh:
            tried.add(dict(zip(fresh, designs.measure(fresh, asked_for), strict=True)))
        for trial, code in asked:
            _tell(trials.proposing, trial, code, tried.known[code], len(objectives), limits)
        trials.push([trial.number for trial, _ in asked])
        done(len(fresh))
    if not len(tried.allowed(len(objectives), limits)):
        raise InfeasibleError(_why(tried, objectives, limits))
    return tried


def _enqueue(study: optuna.Study, designs: Designs, tried: Tried, count: int) -> None:
    """Have the next proposals be designs not tried yet, in order: where all are tried, none is left to chance."""
    every = itertools.product(*(range(len(texts)) for texts in designs.axes.values()))
    for code in itertools.islice((code for code in every if code not in tried.known), count):
        study.enqueue_trial(dict(zip(designs.axes, code, strict=True)))


def _asked(study: optuna.Study, designs: Designs) -> tuple[optuna.Trial, tuple[int, ...]]:
    """One proposal; values of an axis are taken to be in order."""
    trial = study.ask()
    code = [trial.suggest_int(name, 0, len(texts) - 1) for name, texts in designs.axes.items()]
    return trial, tuple(code)


def _tell(
    study: optuna.Study,
    trial: optuna.Trial,
    code: tuple[int, ...],
    values: Array,
    objectives: int,
    limits: Sequence[Limit],
) -> None:
    """Record a design: its metrics as they are, and what the sampler learns from."""
    trial.set_user_attr("design", list(code))
    trial.set_user_attr("metrics", [None if np.isnan(v) else float(v) for v in values])
    over = [float(v) / limit.most - 1.0 - SLACK for v, limit in zip(values[objectives:], limits, strict=True)]
    bad = not np.isfinite(values[:objectives]).all()
    trial.set_user_attr("violation", [float(bad), *(INFEASIBLE if np.isnan(v) else v for v in over)])
    study.tell(
        trial,
        [INFEASIBLE if not np.isfinite(v) or v <= 0 else float(np.log10(v)) for v in values[:objectives]],
    )


def _stored(trials: Sequence[optuna.trial.FrozenTrial], designs: Designs) -> dict[tuple[int, ...], Array]:
    """Designs of an earlier run, or of another process."""
    found: dict[tuple[int, ...], Array] = {}
    for trial in trials:
        if "design" in trial.user_attrs and len(trial.user_attrs["design"]) == len(designs.axes):
            metrics = [np.nan if v is None else v for v in trial.user_attrs["metrics"]]
            found[tuple(trial.user_attrs["design"])] = np.array(metrics, dtype=np.float64)
    return found


def _why(tried: Tried, objectives: Sequence[str], limits: Sequence[Limit]) -> str:
    """Why nothing is allowed: the limit that comes closest, or that no design can do the work."""
    values = np.array(tried.metrics)
    able = values[np.isfinite(values[:, : len(objectives)]).all(axis=1)]
    if not len(able):
        return "no design tried can do all of the work, or no source gives what was asked for"
    nearest_ones = [
        f"{limit.metric} at most {limit.most:.4g}, the least found is {able[:, len(objectives) + i].min():.4g}"
        for i, limit in enumerate(limits)
        if not (able[:, len(objectives) + i] <= limit.most).any()
    ]
    return f"no design tried keeps within all limits: {'; '.join(nearest_ones) or 'each is met, but not together'}"
