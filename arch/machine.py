"""Machine specification common to every kind: what a machine file says before its kind's own sections.

Modelled: technology node, clock, and the name of the default mapping. Each kind adds its memories and compute units in
a module of this folder named after it, with a pydantic schema `File` and a frozen dataclass it builds. Numbers are
float64 arrays of shape (1,): a machine is a batch of one design point.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dse import spec
from dse.errors import ConfigError, Problem, nearest
from dse.units import Hertz, Metres

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Array: TypeAlias = NDArray[np.float64]
ROOM = "arch"


class Machine(Protocol):
    """What every kind of machine has; `kind` names its module here and its lowering in the simulator."""

    @property
    def name(self) -> str:
        """Shipped name, or the stem of the file."""

    @property
    def kind(self) -> str:
        """Kind of machine."""

    @property
    def title(self) -> str:
        """Name for figures."""

    @property
    def mapping(self) -> str:
        """Default mapping."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know before trusting a result."""

    @property
    def technology_m(self) -> Array:
        """Feature size of the node the energies and areas belong to."""

    @property
    def clock_hz(self) -> Array:
        """Clock of the machine's cycles."""

    def scaled_resources(self, factor: float) -> Iterator[tuple[str, Machine]]:
        """The machine with each of its resources scaled in turn, under its dotted name."""


class Identity(TypedDict):
    """What every machine says of itself, under the names of `Named`."""

    name: str
    kind: str
    title: str
    mapping: str
    technology_m: Array
    clock_hz: Array
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Named:
    """What every machine says of itself; see `Machine`."""

    name: str
    kind: str
    title: str
    mapping: str
    technology_m: Array
    clock_hz: Array
    notes: tuple[str, ...]


class MachineFile(spec.Spec):
    """Keys every machine file may have."""

    kind: str = Field(description="kind of machine; one module of this folder each")
    title: str = Field(description="name for figures and tables")
    technology: Metres = Field(description="node the energies and areas belong to")
    source: str = Field(description="where the numbers come from")
    clock: Hertz
    mapping: str = Field(description="default mapping, a shipped name or a path")
    notes: list[str] = Field(default_factory=list, description="what to know before trusting a result")
    sweep: Any = Field(default=None, description="design points that dse sweep explores")

    def build(self, name: str) -> Machine:
        """The machine this file describes."""
        raise NotImplementedError

    def identity(self, name: str, *notes: str) -> Identity:
        """What the machine says of itself, with ``notes`` after those of the file."""
        return {
            "name": name,
            "kind": self.kind,
            "title": self.title,
            "mapping": self.mapping,
            "technology_m": one_point(self.technology),
            "clock_hz": one_point(self.clock),
            "notes": (*self.notes, *notes),
        }


def one_point(value: float | None) -> Array:
    """A number of a file as an array of one design point, NaN where the file does not give it."""
    return np.array([np.nan if value is None else value], dtype=np.float64)


def kinds() -> tuple[str, ...]:
    """Kinds of machine there are: the modules of this folder that define a `File`."""
    here = Path(__file__).parent
    return tuple(sorted(p.stem for p in here.glob("*.py") if p.stem not in {"__init__", "machine"}))


def schema(kind: str) -> type[MachineFile]:
    """The file schema of a kind of machine.

    Raises
    ------
    ConfigError
        No such kind.
    """
    if kind not in kinds():
        raise ConfigError(Problem(f"'{kind}' is not a kind of machine{nearest(kind, kinds())}", path="kind"))
    found: type[MachineFile] = importlib.import_module(f"dse.arch.{kind}").File
    return found


def load_machine(source: str | Path, overrides: Mapping[str, str] | None = None) -> Machine:
    """The machine of a path or shipped name, with dotted keys replaced by the text of ``overrides``.

    Raises
    ------
    ConfigError
        The file, or an override, is wrong; all problems together.
    """
    return read_machine(source).build(overrides)


@dataclass(frozen=True)
class OpenMachine:
    """A machine file that was read, to be built any number of times with different values."""

    document: spec.Document
    schema: type[MachineFile]

    def build(self, overrides: Mapping[str, str] | None = None) -> Machine:
        """The machine with dotted keys replaced, as in `load_machine`."""
        return self.document.load(self.schema, overrides).build(self.document.path.stem)

    def component(self, key: str) -> tuple[str | int, ...]:
        """The part of the machine that a dotted key belongs to: ``memories.dram`` for its bandwidth."""
        return self.document.steps(key)[:2]


def read_machine(source: str | Path) -> OpenMachine:
    """The machine file of a path or shipped name, read once.

    Raises
    ------
    ConfigError
        The file cannot be read, or is of no known kind.
    """
    document = spec.read(source, ROOM)
    return OpenMachine(document, schema(document.load(_Kind).kind))


class _Kind(spec.Spec, extra="allow"):
    """Only the kind, to choose the schema that reads the rest."""

    kind: str
