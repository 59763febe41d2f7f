"""Mapping of a workload onto a machine, as far as every kind of machine has it.

A mapping file says how one kind of machine runs a cascade; each kind adds its own keys in
``simulator/<kind>/mapping.py``, with a schema `File`. Options are named patches of the same file, and numbers are what
a search may choose for each design point: both are set with ``--option``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic

import numpy as np
from pydantic import Field
from typing_extensions import TypeVar

from dse import spec
from dse.errors import ConfigError, MappingError, Problem, nearest
from dse.units import parse_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.simulator.arrays import Array

ROOM = "mappers/mappings"


class PaperFile(spec.Spec):
    """What the paper accounting of a published model is, and how close it comes."""

    why: list[str] = Field(description="conventions of the published model, each with its reason")
    error: str = Field(description="how far results are known to be from the published ones")


class MappingFile(spec.Spec):
    """Keys every mapping file may have.

    ``machines`` are the kinds of machine that a kind of mapping is for, its own if empty; ``numbers`` are what may be
    set for each design point, with their meanings; a number is a key of the file too, 0 where it is left out.
    ``runs_launches`` says that the machine runs the launches of a traced kernel as they are; ``counts`` is what its
    physical accounting counts.
    """

    machines: ClassVar[tuple[str, ...]] = ()
    numbers: ClassVar[Dict[str, str]] = {}
    runs_launches: ClassVar[bool] = False
    counts: ClassVar[str] = "window, reduction latency, ports, fill and drain, register files counted"

    title: str
    source: str
    kind: str = Field(description="kind of mapping: the package that lowers it")
    cascade: str = Field(default="", description="cascade it is for, where it is for one alone")
    paper: PaperFile | None = None
    error: str | None = Field(
        default=None,
        description="how far physical accounting is known to be from published or measured results",
    )
    options: dict[str, Annotated[dict[str, dict[str, Any]], Field(min_length=1)]] = Field(
        default_factory=dict, description="named alternatives, each a patch of this file"
    )
    points: str | None = Field(default=None, description="table of published choices beside this file")

    def strangers(self) -> Iterator[Problem]:
        """What the file names without its cascade having it."""
        yield from ()

    def takes(self, machine: str) -> bool:
        """Whether a mapping of this kind is for machines of that kind."""
        return machine in (type(self).machines or (self.kind,))


F = TypeVar("F", bound=MappingFile, default=Any)


@dataclass(frozen=True)
class Mapping(Generic[F]):
    """A mapping with its options chosen; ``numbers`` are arrays over design points, 0 where left to the lowering."""

    name: str
    file: F
    choices: Dict[str, str]
    numbers: Dict[str, Array]
    path: Path = field(compare=False)
    points: Path | None = field(default=None, compare=False)

    def with_numbers(self, **numbers: Array) -> Mapping[F]:
        """The same mapping with some of its numbers set."""
        assert numbers.keys() <= type(self.file).numbers.keys()
        return replace(self, numbers={**self.numbers, **numbers})

    def at(self, point: int) -> Mapping[F]:
        """The mapping of one design point."""
        numbers = {k: v if len(v) == 1 else v[point : point + 1] for k, v in self.numbers.items()}
        return replace(self, numbers=numbers)

    @property
    def label(self) -> str:
        """Name with the options chosen, for tables."""
        parts = [f"{key}={value}" for key, value in self.choices.items()]
        parts += [f"{key}={value[0]:.0f}" for key, value in self.numbers.items() if value[0]]
        return f"{self.name}({', '.join(parts)})" if parts else self.name


def kinds() -> tuple[str, ...]:
    """Kinds of mapping there are: the packages here that have a module ``mapping``."""
    here = Path(__file__).parent
    return tuple(sorted(path.parent.name for path in here.glob("*/mapping.py")))


def schema(kind: str) -> type[MappingFile]:
    """The file schema of a kind of mapping.

    Raises
    ------
    ConfigError
        No such kind.
    """
    if kind not in kinds():
        raise ConfigError(Problem(f"'{kind}' is not a kind of mapping{nearest(kind, kinds())}", path="kind"))
    found: type[MappingFile] = importlib.import_module(f"dse.simulator.{kind}.mapping").File
    return found


def load_file(source: str | Path) -> MappingFile:
    """The mapping file of a path or shipped name, read by the schema of its kind.

    Raises
    ------
    ConfigError
        The file is wrong.
    """
    return spec.load(source, schema(spec.load(source, _Kind, ROOM).kind), ROOM)


def load_mapping(source: str | Path, choices: Dict[str, str] | None = None) -> Mapping[Any]:
    """The mapping of a path or shipped name with its options chosen (the first of each by default).

    Raises
    ------
    ConfigError, MappingError
        The file is wrong, or a choice is not among its options, or a number is none.
    """
    file = load_file(source)
    chosen = {name: next(iter(patches)) for name, patches in file.options.items()}
    numbers = type(file).numbers
    given: dict[str, float] = {}
    for name, choice in (choices or {}).items():
        if name in numbers:
            given[name] = _number(name, choice)
        elif name not in file.options:
            known = [*file.options, *numbers]
            raise MappingError(Problem(f"no option '{name}'{nearest(name, known)}", path="options"))
        elif choice not in file.options[name]:
            allowed = ", ".join(file.options[name])
            raise MappingError(Problem(f"'{choice}' is not one of {allowed}", path=f"options.{name}"))
        else:
            chosen[name] = choice
    patched = _patched(file, chosen)
    path = spec.origin(file)
    return Mapping(
        name=path.stem,
        file=patched,
        choices=chosen,
        numbers={k: np.array([given.get(k, float(getattr(patched, k) or 0))]) for k in numbers},
        path=path,
        points=None if file.points is None else _beside(spec.place_of(file, "points").file, file.points),
    )


def _number(name: str, text: str) -> float:
    """Value of a number that is set by hand."""
    try:
        return float(parse_count(str(text)))
    except ConfigError as error:
        raise MappingError(Problem(str(error), path=f"options.{name}")) from None


def _beside(file: str, name: str) -> Path:
    """A file named in another, in the same folder."""
    return Path(file).resolve().parent / name


def _patched(file: MappingFile, chosen: Dict[str, str]) -> MappingFile:
    """The file with the patches of the chosen options merged in, key by key."""
    patches = {name: file.options[name][choice] for name, choice in chosen.items()}
    if not any(patches.values()):
        return file
    tree = file.model_dump(exclude_unset=True)
    for patch in patches.values():
        tree = _merged(tree, patch)
    try:
        return spec.checked(tree, type(file), spec.origin(file).name)
    except ConfigError as error:
        raise ConfigError(*_placed(error, file, chosen)) from None


def _placed(error: ConfigError, file: MappingFile, chosen: Dict[str, str]) -> list[Problem]:
    """Problems of a patched file, at the options whose patches name what they are about."""
    found = []
    for problem in error.problems:
        last = problem.path.rpartition(".")[2]
        named = [f"options.{n}.{c}" for n, c in chosen.items() if f"'{last}'" in repr(file.options[n][c])]
        at = named[0] if named else "options"
        found.append(Problem(f"{problem.path}: {problem.message}", spec.place_of(file, at), at))
    return found


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


class _Kind(spec.Spec, extra="allow"):
    """Only the kind, to choose the schema that reads the rest."""

    kind: str
