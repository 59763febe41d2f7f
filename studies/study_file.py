"""Study files: a published work as sweeps, the metrics its claims are about, and the figures to draw.

``studies/<name>/study.yaml`` holds no claim and no result: claims stand in ``expected.csv`` beside it. A study names

- ``sweeps``: design points, by axes as in a sweep file;
- ``metrics``: how a number a paper prints follows from results (`Metric`);
- ``figures``: what to draw from which sweep (`Drawing`);
- ``labels``: texts for machines, workloads and metrics in figures.

Not modelled: formulas. A metric is a column of the results or a sum over the ledger, divided or multiplied by a column,
compared with one other design point, then reduced over the points a claim selects.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from dse import spec
from dse.errors import ConfigError, Problem, nearest
from dse.studies.columns import COMPONENT_COLUMNS
from dse.studies.plots import KINDS
from dse.studies.sweep_file import Axes, Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dse.yaml_tree import Node

ROOM = "studies"
FILE = "study.yaml"
CLAIMS = "expected.csv"
LEDGER_KEYS = COMPONENT_COLUMNS[:4]
BARS, STACK, CURVE = OWN_KINDS = ("bars", "stack", "curve")
WIDTHS = {"column": 3.5, "page": 7.0}
AXES = ("machine", "workload", "accounting", "mapper")


class Metric(spec.Spec):
    """How one number follows from the results of the design points that a claim selects.

    Exactly one of ``of``, ``column`` and ``ledger`` says where it starts; the rest applies in the order below.
    """

    of: str | None = Field(default=None, description="another metric, which this one refines")
    column: str | None = Field(default=None, description="a column of the results, such as latency_s")
    ledger: Literal["count", "bytes", "energy_j", "busy_cycles"] | None = Field(
        default=None,
        description="a column of the ledger, summed over the rows that where and the claim select",
    )
    where: dict[str, str] = Field(
        default_factory=dict, description="ledger rows to sum: component, einsum, tensor, action"
    )
    times: str | None = Field(default=None, description="a column to multiply by")
    per: str | None = Field(default=None, description="a column to divide by")
    against: dict[str, str] = Field(
        default_factory=dict,
        description="values of the design point this one is compared with, where they differ",
    )
    compare: Literal["ratio", "speedup", "difference"] | None = Field(
        default=None, description="this point / the other, the other / this one, or this one - the other"
    )
    reduce: Literal["mean", "geomean", "sum", "min", "max"] | None = Field(
        default=None, description="over all points a claim selects; without it a claim must select one"
    )
    unit: str | None = Field(
        default=None, description="SI unit, where the name of the column does not tell it"
    )

    @model_validator(mode="after")
    def _whole(self) -> Metric:
        if sum(part is not None for part in (self.of, self.column, self.ledger)) != 1:
            raise ValueError("needs exactly one of: of, column, ledger")
        if self.where and self.ledger is None:
            raise ValueError("where selects rows of the ledger; give ledger, too")
        if self.of is None and bool(self.against) != bool(self.compare):
            raise ValueError("against and compare need each other")
        return self


class Drawing(spec.Spec):
    """One figure: metrics with the claimed values marked on them, or a kind of plot that any sweep has.

    ``bars`` stand in groups of workloads and further axes, one for each machine; ``stack`` divides each by a key of the
    ledger; ``curve`` draws one metric over another, a line for each value of an axis.
    """

    kind: str = Field(description="bars, stack, curve, or a kind of dse plot")
    sweeps: list[str] = Field(min_length=1, description="drawn together")
    metrics: list[str] = Field(
        default_factory=list, description="of bars, stack and curve: one panel for each"
    )
    parts: str | None = Field(default=None, description="of stack: the ledger key whose values are stacked")
    x: str | None = Field(default=None, description="of curve: the metric along the other axis")
    lines: str = Field(default="workload", description="of curve: the axis whose values have a line each")
    show: dict[str, list[str]] = Field(
        default_factory=dict,
        description="values to show of an axis or of parts, in this order; all if not given",
    )
    mean: Literal["mean", "geomean"] | None = Field(
        default=None, description="of bars and stack: a last group"
    )
    units: dict[str, str] = Field(default_factory=dict, description="units of metrics; SI if not given")
    xlabel: str = ""
    ylabel: str = ""
    width: Literal["column", "page"] = "page"

    @property
    def inches(self) -> float:
        """Width on paper."""
        return WIDTHS[self.width]

    @model_validator(mode="after")
    def _fitting(self) -> Drawing:
        if self.kind not in OWN_KINDS and self.kind not in KINDS:
            known = (*OWN_KINDS, *KINDS)
            raise ValueError(
                f"kind '{self.kind}' is not one of {', '.join(known)}{nearest(self.kind, known)}"
            )
        for kinds, what, given in (
            (OWN_KINDS, "metrics", bool(self.metrics)),
            ((STACK,), "parts", self.parts is not None),
            ((CURVE,), "x", self.x is not None),
        ):
            if given != (self.kind in kinds):
                raise ValueError(f"{self.kind} {'takes no' if given else 'needs'} {what}")
        return self


class StudyFile(spec.Spec):
    """A ``study.yaml``."""

    title: str
    source: str
    licence: str = Field(description="of the claimed numbers in expected.csv")
    notes: list[str] = Field(default_factory=list)
    sweeps: dict[str, Axes] = Field(min_length=1)
    metrics: dict[str, Metric] = Field(min_length=1)
    labels: dict[str, str] = Field(default_factory=dict)
    figures: dict[str, Drawing] = Field(default_factory=dict)


def names() -> list[str]:
    """Studies that are shipped."""
    return list(spec.shipped(ROOM, f"/{FILE}"))


def folder_of(name: str) -> Path:
    """Folder of a study: a path to it or to its file, or a shipped name.

    Raises
    ------
    ConfigError
        No such study; names the nearest one.
    """
    for place in (Path(name), Path(name).parent):
        if (place / FILE).is_file() and (place != Path(name).parent or Path(name).name == FILE):
            return place
    shipped = spec.shipped(ROOM, f"/{FILE}")
    if name in shipped:
        return shipped[name].parent
    raise ConfigError(f"no study '{name}'{nearest(name, names())}")


def load_study(folder: Path) -> StudyFile:
    """The study of a folder, its references checked.

    Raises
    ------
    ConfigError
        The file is wrong, or names metrics or sweeps it does not have.
    """
    file = spec.load(folder / FILE, StudyFile, ROOM)
    problems = list(_unknown(file))
    if problems:
        raise ConfigError(*problems)
    return file


def parts_of(file: StudyFile) -> dict[str, list[Part]]:
    """Parts of every sweep, their axes in the order of the file."""
    tree = _children(spec.resolve(spec.origin(file), ROOM))
    found = {}
    for name, axes in file.sweeps.items():
        written = _children(_children(tree["sweeps"])[name])
        also = _children(written["also"]) if "also" in written else {}
        named = [_part(part, one, _children(also[part])) for part, one in axes.also.items()]
        found[name] = [_part("", axes, written), *named]
    return found


def _children(node: Node) -> dict[str, Node]:
    assert isinstance(node.value, dict)
    return node.value


def _part(name: str, axes: Axes, written: Iterable[str]) -> Part:
    known = {*AXES, *(axes.model_extra or {})}
    return Part(name, axes, tuple(key for key in written if key in known))


def resolved(file: StudyFile, name: str) -> Metric:
    """A metric with what it refines filled in."""
    metric = file.metrics[name]
    if metric.of is None:
        return metric
    own = metric.model_dump(exclude_defaults=True, exclude={"of"})
    return resolved(file, metric.of).model_copy(update=own)


def _unknown(file: StudyFile) -> Iterator[Problem]:
    """Names of metrics, sweeps and ledger keys that are not there."""
    for name, axes in file.sweeps.items():
        for part, one in {"": axes, **axes.also}.items():
            if not one.machine:
                path = f"sweeps.{name}.also.{part}" if part else f"sweeps.{name}"
                yield _problem(file, path, "needs the axis machine")
    for name, metric in file.metrics.items():
        if metric.of is not None:
            yield from _missing(file, f"metrics.{name}.of", [metric.of], file.metrics)
            if metric.of in file.metrics and name in _ancestors(file, metric.of):
                yield _problem(file, f"metrics.{name}.of", "metrics refine each other in a cycle")
        yield from _missing(file, f"metrics.{name}.where", metric.where, LEDGER_KEYS)
    for name, drawing in file.figures.items():
        yield from _missing(file, f"figures.{name}.sweeps", drawing.sweeps, file.sweeps)
        yield from _missing(file, f"figures.{name}.metrics", drawing.metrics, file.metrics)
        yield from _missing(file, f"figures.{name}.x", [drawing.x] if drawing.x else [], file.metrics)
        yield from _missing(file, f"figures.{name}.units", drawing.units, file.metrics)
        yield from _missing(file, f"figures.{name}.parts", [drawing.parts or LEDGER_KEYS[0]], LEDGER_KEYS)


def _ancestors(file: StudyFile, name: str) -> list[str]:
    """The metric, and those it refines, each once."""
    found: list[str] = []
    following: str | None = name
    while following in file.metrics and following not in found:
        found.append(following)
        following = file.metrics[following].of
    return found


def _missing(file: StudyFile, path: str, given: Iterable[str], known: Iterable[str]) -> Iterator[Problem]:
    allowed = list(known)
    for name in given:
        if name not in allowed:
            yield _problem(file, path, f"there is no '{name}'{nearest(name, allowed)}")


def _problem(file: StudyFile, path: str, message: str) -> Problem:
    return Problem(message, spec.place_of(file, path), path)
