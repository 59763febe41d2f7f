"""The sweep engine: design points in batches on arrays, into tables of rows and of ledgers.

Rows do not depend on how points are batched or on who evaluates them: each batch brings its own baselines.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dse.arch.machine import read_machine
from dse.errors import WRONG_INPUT, ConfigError, Problem
from dse.studies.batch import Resolver, evaluate_columns
from dse.studies.columns import POINT
from dse.studies.fingerprint import fingerprint
from dse.studies.frames import to_table
from dse.studies.grid import Table, tabulate
from dse.studies.ledger_table import Ledgers
from dse.studies.points import Points
from dse.studies.rows import baseline_ratios, result_columns
from dse.studies.store import point_hash
from dse.studies.sweep_file import REQUEST_AXES, is_parameter, is_trace
from dse.units import parse_count
from dse.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from dse.studies.batch import Group, Request
    from dse.studies.grid import Codes
    from dse.studies.points import Aspect, Selection, Subject
    from dse.studies.sweep_file import Part

SIZE_AXES = {"sequence": "m", "batch": "b", "queries": "p"}
BATCH_POINTS = 4096
COMPONENT_POINTS = 10_000
RATIOS = ("speedup", "energy_ratio", "energy_ratio_scaled", "area_ratio", "area_ratio_scaled")
COMPARED = ("latency_s", "energy_j", "offchip_energy_j", "technology_m", "area_m2")


class Batch(NamedTuple):
    """Rows of some design points, and their ledgers if asked for."""

    rows: pa.Table
    components: pa.Table | None


def points_of(parts: Sequence[Part], content: Mapping[str, str]) -> Points:
    """Every design point of a sweep in canonical order; ``content`` goes into each key.

    Raises
    ------
    ConfigError
        An axis, or a value of accounting, that does not exist.
    """
    return Points(parts, content)


def content_of(parts: Sequence[Part]) -> dict[str, str]:
    """Named hashes of all a sweep's results depend on: files, code, and the axes themselves."""
    axes = {part.name: {"axes": part.axes.model_dump(), "names": part.names} for part in parts}
    return fingerprint(asked(parts)) | {"sweep": point_hash(axes)}


def asked(parts: Sequence[Part]) -> list[Request]:
    """What the points of a sweep and their baselines ask for; every text of a machine's axes among the overrides."""
    found = []
    for subject in Points(parts, {}).subjects():
        aspect = subject.machine
        texts = ((axis, text) for axis, some in zip(aspect.axes, aspect.texts, strict=True) for text in some)
        found.append(replace(subject.head, overrides=(*aspect.fixed, *texts)))
    return found


@dataclass
class Plan:
    """The points of a sweep with every machine and workload it needs; what a worker gets."""

    points: Points
    machines: dict[Aspect, Table[Any]] = field(default_factory=dict)
    workloads: dict[Aspect, Table[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, points: Points) -> Plan:
        """The plan of a sweep: every file read and every value checked.

        Where one batch does not hold all points, one of each subject is evaluated, lest a later batch fail.

        Raises
        ------
        DseError
            A file or value is wrong, or a mapping does not fit; all such problems together.
        """
        plan, problems = cls(points), dict[Problem, None]()
        subjects = points.subjects()
        for subject in subjects:
            for known, aspect, make in (
                (plan.machines, subject.machine, _machines),
                (plan.workloads, subject.workload, _workloads),
            ):
                try:
                    known[aspect] = known.get(aspect) or make(aspect)
                except WRONG_INPUT as error:
                    problems |= dict.fromkeys(error.problems)
        if problems:
            raise ConfigError(*problems)
        first = np.zeros(1, dtype=np.int64)
        for subject in subjects if len(points) > BATCH_POINTS else ():
            plan.evaluate(subject, first, first)
        return plan

    def evaluate(self, subject: Subject, machines: Codes, workloads: Codes) -> list[Group]:
        """Evaluation of points of one subject, by their places in its tables."""
        tables = (self.machines[subject.machine], machines), (self.workloads[subject.workload], workloads)
        return list(evaluate_columns(subject.head, *tables, Resolver()))


def _machines(aspect: Aspect) -> Table[Any]:
    opened = read_machine(aspect.source)
    parts = [opened.component(axis) for axis in aspect.axes]
    return tabulate(lambda texts: opened.build(aspect.values(texts)), aspect.texts, parts)


def _workloads(aspect: Aspect) -> Table[Any]:
    return tabulate(
        lambda texts: load_workload(aspect.source, aspect.values(texts)), aspect.texts, aspect.axes
    )


def batch_tables(plan: Plan, numbers: Codes, keys: Sequence[str], with_components: bool) -> Batch:
    """Rows and components of the points of some numbers with their keys, in that order."""
    wanted: dict[Subject, _Asked] = {}
    selections = list(plan.points.select(numbers))
    mine = [_ask(wanted, one.subject, one) for one in selections]
    bases = [None if one.baseline is None else _ask(wanted, one.baseline, one) for one in selections]
    found = {subject: _evaluated(plan, subject, asked_for) for subject, asked_for in wanted.items()}
    columns: dict[str, Any] = {}
    ledgers = Ledgers(len(numbers))
    for one, here, base in zip(selections, mine, bases, strict=True):
        own = found[one.subject]
        ratios: dict[str, Any] = {"baseline": None, **dict.fromkeys(RATIOS, np.nan)}
        if one.baseline is not None and base is not None:
            other = found[one.baseline]
            ratios = {"baseline": one.baseline.head.machine}
            ratios |= _compared(own.at(here, COMPARED), other.at(base, COMPARED))
        put(columns, one.positions, len(numbers), _of_points(one, own, here) | ratios)
        if with_components:
            ledgers.add(own.groups, own.rows[here], one.positions)
    table = to_table({POINT: np.array(keys, dtype=object), **columns}, SIZE_AXES)
    return Batch(table, ledgers.table(keys) if with_components else None)


@dataclass
class _Asked:
    """Places in the tables of one subject that a batch wants, gathered before any is evaluated."""

    places: list[Codes] = field(default_factory=list)

    def add(self, places: Codes) -> slice:
        """Ask for places; where their results will be found."""
        start = sum(len(one) for one in self.places)
        self.places.append(places)
        return slice(start, start + len(places))


@dataclass
class _Evaluated:
    """Groups and columns of the distinct points of one subject, and which of them each wanted place is."""

    groups: list[Group]
    columns: dict[str, Any]
    rows: Codes

    def at(self, here: slice, names: Sequence[str]) -> dict[str, Any]:
        """Some columns at wanted places."""
        return {name: self.columns[name][self.rows[here]] for name in names}


def _ask(wanted: dict[Subject, _Asked], subject: Subject, one: Selection) -> slice:
    size = len(one.positions)
    machines, workloads = (aspect.places(one.codes, size) for aspect in (subject.machine, subject.workload))
    return wanted.setdefault(subject, _Asked()).add(machines * subject.workload.size + workloads)


def _evaluated(plan: Plan, subject: Subject, wanted: _Asked) -> _Evaluated:
    unique, rows = np.unique(np.concatenate(wanted.places), return_inverse=True)
    span = subject.workload.size
    groups = plan.evaluate(subject, unique // span, unique % span)
    columns: dict[str, Any] = {}
    for group in groups:
        put(columns, np.array(group.indices, dtype=np.int64), len(unique), dict(result_columns(group)))
    return _Evaluated(groups, columns, rows.astype(np.int64))


def put(columns: dict[str, Any], positions: Codes, size: int, values: Mapping[str, Any]) -> None:
    """Write values of some points into whole columns; the others hold NaN or None."""
    for name, given in values.items():
        text = given is None or isinstance(given, str) or getattr(given, "dtype", np.dtype(float)).hasobject
        if name not in columns:
            columns[name] = np.full(size, None, dtype=object) if text else np.full(size, np.nan)
        columns[name][positions] = given


def _of_points(one: Selection, evaluated: _Evaluated, here: slice) -> dict[str, Any]:
    """Identity, axes and results of the points of a selection."""
    head = one.subject.head
    identity = {"machine": head.machine, "workload": head.workload, "mapper": head.mapper}
    identity |= {"accounting": head.accounting, "part": one.part.name}
    axes = {name: texts for name, texts in one.texts.items() if name not in REQUEST_AXES}
    shown = {name: _on_axis(name, texts, one, evaluated) for name, texts in axes.items()}
    results = evaluated.at(here, list(evaluated.columns))
    return identity | {name: values for name, values in shown.items() if values is not None} | results


def _on_axis(name: str, texts: Sequence[str], one: Selection, evaluated: _Evaluated) -> Any:  # noqa: ANN401
    """Values of points on an axis: sizes are numbers, and those of a trace what it ran with."""
    if is_parameter(name) and is_trace(one.subject.head.workload):
        workload = evaluated.groups[0].workload
        rank = SIZE_AXES.get(name, "")
        if rank in workload.sizes:
            return float(workload.sizes[rank][0])
        found = workload.parameters.get(name)
        return None if found is None else str(found).lower() if isinstance(found, bool) else str(found)
    if name in SIZE_AXES:
        return np.array([float(parse_count(text)) for text in texts])[one.codes[name]]
    return np.array(texts, dtype=object)[one.codes[name]]


def _compared(mine: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Speed-up and energy ratios of points over their baselines."""
    return {"speedup": other["latency_s"] / mine["latency_s"], **baseline_ratios(mine, other)}
