"""Mapping of an attention cascade onto a spatial array: binding, spatial ranks, storage, fusion, window, stages.

Modelled: which unit runs each Einsum and which rank each array axis unrolls; what the global buffer keeps of each
tensor and how often it is fetched; which Einsums are fused; how many tiles are in flight; and, where a paper states
them, the stages its latency formula adds up. Options are named patches of the same file: a search chooses among them.
Not modelled: loop orders beyond queries in blocks, keys outside, query tiles inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from dse import spec
from dse.errors import ConfigError, MappingError, Problem, nearest
from dse.units import Bytes, PositiveCount

if TYPE_CHECKING:
    from collections.abc import Mapping as Dict

    from dse.simulator.arrays import Array

ROOM = "mappers/mappings"
Extent = Literal["all", "block", "tile"]


class StorageFile(spec.Spec):
    """What the global buffer does with one tensor."""

    buffered: bool = Field(
        default=True, description="goes through the buffer; else straight between DRAM and arrays"
    )
    keep: dict[str, Extent] = Field(
        default_factory=dict, description="extent kept of each rank; all if not named"
    )
    held: bool = Field(default=True, description="takes room in the buffer")
    copies: PositiveCount = 1
    fetch: Literal["once", "block", "stream"] = Field(
        default="once",
        description="inputs: fetched once, once for each block of queries, or as often as the arrays stream it",
    )
    spill: bool = Field(default=False, description="intermediate that goes out to DRAM and comes back")


class StageFile(spec.Spec):
    """Einsums that run side by side, one sequence on each unit."""

    einsums: list[str]
    wait: list[str] = Field(default_factory=list, description="Einsums whose reduction latency is waited for")


class GroupFile(spec.Spec):
    """A fusion group: its Einsums overlap with its own DRAM traffic, groups follow one another."""

    stages: list[StageFile]


class WindowFile(spec.Spec):
    """Tiles in flight: an Einsum pair between which a tile occupies storage."""

    ranks: list[Literal["m", "p"]] = Field(description="ranks whose tiles are in flight")
    acquire: str
    release: str
    unit: str | None = Field(
        default=None, description="unit whose registers hold a tile; else the global buffer"
    )
    words: PositiveCount = Field(default=1, description="registers of one element that a tile occupies")
    limit: PositiveCount | None = Field(default=None, description="no more tiles than this, whatever fits")


class PaperFile(spec.Spec):
    """Conventions of the published model that the paper accounting follows, each with its reason."""

    why: list[str]
    error: str = Field(description="how far results are known to be from the published ones")
    block: Literal["divisor", "largest"] = Field(
        default="largest", description="blocks: a divisor of the query tiles, or whatever fits"
    )
    block_capacity: Bytes | None = Field(default=None, description="buffer size that blocks are cut for")
    free_operations: list[str] = Field(
        default_factory=list, description="operations whose energy is not counted"
    )
    first_read_bits: dict[str, PositiveCount] = Field(
        default_factory=dict,
        description="per Einsum: bits of the counter of first reads of its sums; those lost cost a buffer read each",
    )


class MappingFile(spec.Spec):
    """A mapping file."""

    title: str
    source: str
    kind: str
    cascade: str
    binding: dict[str, list[str]]
    spatial: dict[str, dict[str, str]] = Field(description="per unit or Einsum: rank on each axis")
    block: PositiveCount | None = Field(
        default=None, description="queries in a block; else the most that fit"
    )
    overflow: Literal["shrink", "spill"] = "shrink"
    storage: dict[str, StorageFile]
    forwarded: dict[str, list[str]] = Field(
        default_factory=dict, description="per Einsum: operands it takes from registers"
    )
    held: dict[str, list[str]] = Field(
        default_factory=dict, description="per Einsum: operands read once, then kept in registers"
    )
    staged: list[str] = Field(
        default_factory=list,
        description="tensors that pass between the arrays through registers of the consumer",
    )
    groups: list[GroupFile]
    window: WindowFile | None = None
    paper: PaperFile | None = None
    options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="named alternatives, each a patch of this file"
    )
    points: str | None = Field(default=None, description="table of published choices beside this file")


@dataclass(frozen=True)
class Mapping:
    """A mapping with its options chosen; ``block`` is queries over design points, 0 for the most that fit."""

    name: str
    file: MappingFile
    choices: Dict[str, str]
    block: Array
    path: Path = field(compare=False)
    points: Path | None = field(default=None, compare=False)

    def unit_of(self, einsum: str) -> str:
        """Unit that runs an Einsum."""
        return next(unit for unit, names in self.file.binding.items() if einsum in names)

    def spatial_of(self, einsum: str) -> Dict[str, str]:
        """Axis → rank of an Einsum: its own entry, else its unit's."""
        own = self.file.spatial.get(einsum)
        return self.file.spatial[self.unit_of(einsum)] if own is None else own

    def storage_of(self, tensor: str) -> StorageFile | None:
        """What the buffer does with a tensor; None if it lives in registers only."""
        return self.file.storage.get(tensor)

    def with_block(self, block: Array) -> Mapping:
        """The same mapping with blocks of ``block`` queries."""
        return replace(self, block=block)

    def at(self, point: int) -> Mapping:
        """The mapping of one design point."""
        return replace(self, block=self.block if len(self.block) == 1 else self.block[point : point + 1])

    @property
    def label(self) -> str:
        """Name with the options chosen, for tables."""
        parts = [f"{key}={value}" for key, value in self.choices.items()]
        parts += [f"block={self.block[0]:.0f}"] if self.block[0] else []
        return f"{self.name}({', '.join(parts)})" if parts else self.name


def load_mapping(source: str | Path, choices: Dict[str, str] | None = None) -> Mapping:
    """The mapping of a path or shipped name with its options chosen (the first of each by default).

    Raises
    ------
    ConfigError, MappingError
        The file is wrong, or a choice is not among its options.
    """
    file = spec.load(source, MappingFile, ROOM)
    chosen = {name: next(iter(patches)) for name, patches in file.options.items()}
    for name, choice in (choices or {}).items():
        if name not in file.options:
            raise MappingError(Problem(f"no option '{name}'{nearest(name, file.options)}", path="options"))
        if choice not in file.options[name]:
            allowed = ", ".join(file.options[name])
            raise MappingError(Problem(f"'{choice}' is not one of {allowed}", path=f"options.{name}"))
        chosen[name] = choice
    patched = _patched(file, chosen)
    path = spec.origin(file)
    return Mapping(
        name=path.stem,
        file=patched,
        choices=chosen,
        block=np.array([float(patched.block or 0)]),
        path=path,
        points=None if file.points is None else _beside(spec.place_of(file, "points").file, file.points),
    )


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
        return spec.checked(tree, MappingFile, spec.origin(file).name)
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
