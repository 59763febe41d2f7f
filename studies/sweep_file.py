"""Sweep files: axes of design points, in a machine file's ``sweep:`` section or a file of its own.

Every key is an axis: ``machine``, ``workload``, ``accounting``, ``mapper``, a workload parameter (``sequence``),
or a dotted machine key (``global_buffer.capacity``). The first axis varies slowest. ``set`` fixes further values;
``baseline`` replaces some of a point's values to find what it is compared with; ``also`` holds further parts by
name, each with axes of its own; ``figures`` limits what is drawn. Axes of workload parameters do not apply to
traces, whose sizes are those they ran with.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from dse import spec
from dse.errors import ConfigError, Problem, nearest
from dse.mappers.choose import DEFAULT
from dse.simulator.lowering import ACCOUNTINGS
from dse.studies.batch import Request
from dse.workloads.load import TRACES, room_of
from dse.workloads.model import parameter_names
from dse.workloads.workload import RANKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dse.yaml_tree import Node

ROOM = "studies/sweeps"
REQUEST_AXES = ("machine", "workload", "accounting", "mapper", "mapping")
_OWN = ("set", "baseline", "also", "figures")


class Axes(spec.Spec, extra="allow"):
    """The axes of a sweep; any further key is an axis of its own."""

    machine: list[str] = Field(default_factory=list, description="machines; the file's own if not given")
    workload: list[str] = Field(min_length=1)
    accounting: list[str] = Field(default_factory=list)
    mapper: list[str] = Field(default_factory=list)
    set: dict[str, str] = Field(default_factory=dict, description="values that do not vary")
    baseline: dict[str, str] = Field(
        default_factory=dict, description="values that make the baseline of a point"
    )
    figures: list[str] = Field(default_factory=list, description="kinds of figures to draw; all if not given")
    also: dict[str, Axes] = Field(
        default_factory=dict, description="further parts of the sweep by name, with axes of their own"
    )

    @model_validator(mode="after")
    def _lists(self) -> Axes:
        for name, values in (self.model_extra or {}).items():
            if (
                not isinstance(values, list)
                or not values
                or not all(isinstance(value, str) for value in values)
            ):
                raise ValueError(f"axis {name} needs a list of values")
        for name in ("accounting", "mapper"):
            if name in self.set and getattr(self, name):
                raise ValueError(f"{name} is both an axis and set")
        return self


class SweepFile(spec.Spec, extra="ignore"):
    """A file with a ``sweep:`` section: a machine, or a sweep of its own with a title and a source."""

    sweep: Axes


@dataclass(frozen=True)
class Part:
    """Axes that are spanned together, their names in the order of the file; the first part has no name."""

    name: str
    axes: Axes
    names: tuple[str, ...]


def load_sweep(source: str | Path) -> tuple[list[Part], str]:
    """Parts of a sweep or machine file, and the file's stem.

    Raises
    ------
    ConfigError
        The file is wrong, or has no ``sweep:`` section.
    """
    room = _room(str(source))
    file = spec.load(source, SweepFile, room)
    written = _keys(spec.resolve(source, room), "sweep")
    parts = [_part("", file.sweep, written, str(source))]
    also = _keys(written["also"]) if "also" in written else {}
    for name, axes in file.sweep.also.items():
        parts.append(_part(name, axes, _keys(also[name]), str(source)))
    return parts, spec.origin(file).stem


def _keys(node: Node, *path: str) -> dict[str, Node]:
    """Children of a mapping at a path of a validated tree."""
    for key in path:
        assert isinstance(node.value, dict)
        node = node.value[key]
    assert isinstance(node.value, dict)
    return node.value


def _part(name: str, axes: Axes, written: dict[str, Node], source: str) -> Part:
    names = [key for key in written if key not in _OWN]
    if not axes.machine:
        axes = axes.model_copy(update={"machine": [source]})
        names.insert(0, "machine")
    return Part(name, axes, tuple(names))


def _room(source: str) -> str:
    shipped = {name.rpartition("/")[2] for name in spec.shipped(ROOM)} | set(spec.shipped(ROOM))
    return ROOM if source in shipped else "arch"


def is_parameter(name: str) -> bool:
    """Whether an axis belongs to the workload: a model's parameter or a rank."""
    return name in parameter_names() or name in RANKS or name in ("n", "k")


def values_of(axes: Axes, name: str) -> list[str]:
    """Texts of an axis."""
    found: Any = getattr(axes, name, None) if name in Axes.model_fields else (axes.model_extra or {})[name]
    return [str(value) for value in found]


def request_of(values: Mapping[str, str]) -> Request:
    """What a point asks for, but for the values of machine and workload."""
    return Request(
        machine=values["machine"],
        workload=values["workload"],
        accounting=values.get("accounting", ACCOUNTINGS[0]),
        mapper=values.get("mapper", DEFAULT),
        mapping=values.get("mapping"),
    )


@cache
def is_trace(workload: str) -> bool:
    """Whether a workload is a trace, looked up once for each name."""
    return room_of(workload) == TRACES


def check_axes(axes: Axes, names: Sequence[str]) -> None:
    """Refuse axes that do not exist.

    Raises
    ------
    ConfigError
        An axis, or a value of accounting, that does not exist; all together.
    """
    problems = []
    for name in [*names, *axes.set, *axes.baseline]:
        plain = "." not in name and name != "clock"
        if plain and name not in REQUEST_AXES and not is_parameter(name):
            known = [*REQUEST_AXES, *parameter_names()]
            problems.append(
                Problem(
                    f"'{name}' is neither a workload parameter nor a dotted machine key{nearest(name, known)}",
                    path="sweep",
                )
            )
    given = [*axes.accounting, axes.set.get("accounting", ACCOUNTINGS[0])]
    problems += [
        Problem(
            f"'{value}' is not one of {', '.join(ACCOUNTINGS)}{nearest(value, ACCOUNTINGS)}",
            path="sweep.accounting",
        )
        for value in given
        if value not in ACCOUNTINGS
    ]
    if problems:
        raise ConfigError(*problems)
