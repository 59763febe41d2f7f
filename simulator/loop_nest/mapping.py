"""Mapping file of a loop nest: groups of fused Einsums, the loops and stores around each, tile sizes, conventions.

A loop without a tile size leaves it to a search, which sets it for each design point. Not modelled: masks, several
precisions in one cascade.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from dse import spec
from dse.errors import MappingError, Problem, nearest
from dse.simulator.loop_nest.nest import Branch, Group, Keep, Loop, LoopKey, Nest, NestNode
from dse.simulator.loop_nest.plan import Conventions
from dse.simulator.mapping import Mapping, MappingFile
from dse.units import PositiveCount
from dse.workloads.cascade_file import load_cascade

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Mapping as Dict

    from dse.simulator.arrays import Array

KIND = "loop_nest"


class NodeFile(spec.Spec):
    """One loop (`loop`, `tile`, `axis`) or one store (`keep`, `memory`), outermost first."""

    loop: str | None = Field(default=None, description="rank of a loop")
    tile: PositiveCount | None = Field(default=None, description="tile size; left to a search if not given")
    axis: str | None = Field(default=None, description="axis of the unit that runs the loop side by side")
    keep: str | None = Field(default=None, description="tensor stored here, from here on inwards")
    memory: str | None = Field(default=None, description="memory of the machine, or registers")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.loop is None) == (self.keep is None):
            raise ValueError("needs either loop or keep")
        if self.keep is not None and (self.memory is None or self.tile is not None or self.axis is not None):
            raise ValueError("keep needs memory, and no tile or axis")
        if self.loop is not None and self.memory is not None:
            raise ValueError("a loop has no memory")
        return self

    def node(self) -> NestNode:
        """The loop or store."""
        if self.loop is not None:
            return Loop(self.loop, self.axis)
        return Keep(str(self.keep), str(self.memory))


class EinsumFile(spec.Spec):
    """Where an Einsum is computed, and its own loops and stores."""

    unit: str
    nodes: list[NodeFile] = Field(default_factory=list, description="outermost first")


class NestGroupFile(spec.Spec):
    """Einsums fused under shared loops."""

    shared: list[NodeFile] = Field(default_factory=list, description="loops and stores around all of them")
    window: PositiveCount = Field(
        default=1, description="iterations of the shared loops in flight; 1: one Einsum after another"
    )
    einsums: dict[str, EinsumFile]


class ConventionsFile(spec.Spec):
    """What published models count differently."""

    register_reads: Literal["operation", "fill"] = "operation"
    bandwidth: Literal["pooled", "ports", "operands"] = "pooled"
    buffering: Literal["single", "double"] = "single"
    array_fill: Literal["counted", "ignored"] = "counted"


class File(MappingFile):
    """A mapping file of loop nests."""

    machines: ClassVar[tuple[str, ...]] = ("spatial_array",)

    cascade: str
    parts: dict[str, PositiveCount] = Field(
        default_factory=dict, description="size of the inner parts of split ranks, such as keys in a tile"
    )
    conventions: ConventionsFile = Field(default_factory=ConventionsFile)
    groups: dict[str, NestGroupFile]

    def nest(self) -> Nest:
        """The structure."""
        return Nest(
            tuple(
                Group(
                    tuple(node.node() for node in group.shared),
                    tuple(
                        Branch(name, einsum.unit, tuple(node.node() for node in einsum.nodes))
                        for name, einsum in group.einsums.items()
                    ),
                )
                for group in self.groups.values()
            )
        )

    def loops(self) -> list[NodeFile]:
        """Loops in the order of the rows of an array of tiles."""
        found = []
        for group in self.groups.values():
            found += [node for node in group.shared if node.loop]
            for einsum in group.einsums.values():
                found += [node for node in einsum.nodes if node.loop]
        return found

    def strangers(self) -> Iterator[Problem]:
        """Names of Einsums, ranks and tensors that the cascade does not have."""
        cascade = load_cascade(self.cascade)
        einsums = [einsum.name for einsum in cascade.einsums]
        for key, group in self.groups.items():
            path = f"groups.{key}"
            yield from self._nodes(f"{path}.shared", group.shared)
            for name, einsum in group.einsums.items():
                at = f"{path}.einsums.{name}"
                if name not in einsums:
                    message = f"cascade {cascade.name} has no Einsum '{name}'{nearest(name, einsums)}"
                    yield Problem(message, spec.place_of(self, at), at)
                yield from self._nodes(f"{at}.nodes", einsum.nodes)

    def _nodes(self, path: str, nodes: Sequence[NodeFile]) -> Iterator[Problem]:
        cascade = load_cascade(self.cascade)
        ranks, tensors = [*cascade.ranks, "b", "h"], cascade.tensors
        for place, node in enumerate(nodes):
            at = f"{path}[{place}]"
            if node.loop is not None and node.loop not in ranks:
                message = f"cascade {cascade.name} has no rank '{node.loop}'{nearest(node.loop, ranks)}"
                yield Problem(message, spec.place_of(self, at), at)
            if node.keep is not None and node.keep not in tensors:
                message = f"cascade {cascade.name} has no tensor '{node.keep}'{nearest(node.keep, tensors)}"
                yield Problem(message, spec.place_of(self, at), at)


def names_of(nest: Nest) -> tuple[str, ...]:
    """A name for each loop: its Einsum (or group), rank and axis, numbered where that is not enough."""
    plain = [_name(nest, key) for key in nest.loops]
    return tuple(
        name if plain.count(name) == 1 else f"{name}.{plain[: row + 1].count(name)}"
        for row, name in enumerate(plain)
    )


def _name(nest: Nest, key: LoopKey) -> str:
    group = f"group{key.group}" if len(nest.groups) > 1 else "shared"
    owner = key.einsum or group
    return f"{owner}.{key.loop.rank}" + (f".{key.loop.axis}" if key.loop.axis else "")


def tiles_of(mapping: Mapping[File], nest: Nest) -> list[Array]:
    """Tile sizes by row: as the file says, or as a search has set them.

    Raises
    ------
    MappingError
        A loop has neither.
    """
    found, missing = [], []
    for name, node in zip(names_of(nest), mapping.file.loops(), strict=True):
        if node.tile is not None:
            found.append(np.array([float(node.tile)]))
        elif name in mapping.numbers:
            found.append(mapping.numbers[name])
        else:
            missing.append(Problem(f"loop {name} has no tile size; give one, or search", path="groups"))
    if missing:
        raise MappingError(*missing)
    return found


def mapping_of(
    nest: Nest,
    tiles: Sequence[Array],
    cascade: str,
    window: Sequence[int] | None = None,
    conventions: Conventions | None = None,
    parts: Dict[str, int] | None = None,
    name: str = "found",
    source: str = "found by search",
) -> Mapping[File]:
    """A mapping of this structure; ``tiles`` holds an array over design points for each loop."""
    windows = [1] * len(nest.groups) if window is None else list(window)
    chosen = asdict(conventions or Conventions())
    groups = {f"group{n}": _group(group, windows[n]) for n, group in enumerate(nest.groups)}
    file = File(
        title=name,
        source=source,
        kind=KIND,
        cascade=cascade,
        parts=dict(parts or {}),
        conventions=ConventionsFile(**chosen),
        groups=groups,
    )
    numbers = {
        key: np.asarray(tile, dtype=np.float64) for key, tile in zip(names_of(nest), tiles, strict=True)
    }
    return Mapping(name=name, file=file, choices={}, numbers=numbers, path=Path(name))


def written(mapping: Mapping[File], point: int = 0) -> dict[str, Any]:
    """The mapping file of one design point as plain values, tile sizes included."""
    file, nest = mapping.file, mapping.file.nest()
    tiles = [int(tile[point if len(tile) > 1 else 0]) for tile in tiles_of(mapping, nest)]
    tree: dict[str, Any] = file.model_dump(exclude_defaults=True, exclude_none=True)
    given = iter(tiles)
    for group in tree["groups"].values():
        for node in group.get("shared", []):
            if "loop" in node:
                node["tile"] = next(given)
        for einsum in group["einsums"].values():
            for node in einsum.get("nodes", []):
                if "loop" in node:
                    node["tile"] = next(given)
    return tree


def _group(group: Group, window: int) -> NestGroupFile:
    return NestGroupFile(
        shared=[_node(node) for node in group.shared],
        window=window,
        einsums={
            branch.einsum: EinsumFile(unit=branch.unit, nodes=[_node(node) for node in branch.nodes])
            for branch in group.branches
        },
    )


def _node(node: NestNode) -> NodeFile:
    if isinstance(node, Loop):
        return NodeFile(loop=node.rank, axis=node.axis)
    return NodeFile(keep=node.tensor, memory=node.memory)
