"""Mapping spaces: what a search may choose among, one YAML each, and constraints on it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from dse import spec
from dse.errors import ConfigError, Problem, nearest
from dse.simulator.loop_nest.mapping import ConventionsFile
from dse.simulator.mapping import Mapping, load_mapping
from dse.units import PositiveCount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.simulator.arrays import Array

ROOM = "mappers/spaces"


class RangeFile(spec.Spec):
    """Bounds of a numeric choice, both inclusive."""

    least: PositiveCount = 1
    most: PositiveCount | None = None


class NestsFile(spec.Spec):
    """Loop nests of a cascade: how its Einsums may be fused, and what may vary in each group."""

    cascade: str = Field(default="", description="cascade to map; the workload's own if left out")
    fusion: Literal["all", "none", "full"] = Field(
        default="all",
        description="every way to fuse neighbouring Einsums, each Einsum alone, or all together",
    )
    windows: list[PositiveCount] = Field(
        default_factory=lambda: [1, 2],
        description="tiles in flight to try where Einsums are fused; 1: one Einsum after another",
    )
    tiles: Literal["all", "counts", "perfect"] = Field(
        default="all", description="tile sizes: all, the smallest for each number of tiles, or divisors"
    )
    parts: dict[str, PositiveCount] = Field(
        default_factory=dict, description="size of the inner parts of split ranks, such as keys in a tile"
    )
    conventions: ConventionsFile | None = Field(
        default=None, description="what is counted how; as the machine's mapping says if left out"
    )


class SpaceFile(spec.Spec):
    """A space file: the mapping it varies, what may vary, and what is fixed, forbidden or bounded."""

    title: str
    source: str
    mapping: str = Field(default="", description="mapping whose options and numbers vary")
    nests: NestsFile | None = Field(default=None, description="loop nests instead of a mapping's options")
    options: dict[str, list[str]] = Field(
        default_factory=dict,
        description="choices allowed for each option of the mapping; all choices of an option not named",
    )
    cascades: list[str] = Field(
        default_factory=list, description="cascades the mapping may run; its own if none is named"
    )
    numbers: dict[str, list[PositiveCount]] = Field(
        default_factory=dict, description="values to try for numbers of the mapping"
    )
    blocks: Literal["doubling", "given"] = Field(
        default="given",
        description="queries in a block: one tile, doubled up to all queries, or as the mapping says",
    )
    alternatives: list[str] = Field(
        default_factory=list,
        description="further spaces searched beside this one, with mappings of their own",
    )
    fix: dict[str, str | list[str]] = Field(
        default_factory=dict, description="axis: the one choice it keeps, or those it keeps"
    )
    forbid: list[dict[str, str]] = Field(
        default_factory=list, description="combinations of choices that are left out"
    )
    range: dict[str, RangeFile] = Field(default_factory=dict, description="bounds of numeric axes")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.mapping) == (self.nests is not None):
            raise ValueError("needs either mapping or nests")
        if self.nests is not None and (self.options or self.numbers or self.cascades):
            raise ValueError("options, numbers and cascades belong to a mapping, not to nests")
        return self


def has_space(mapping: Mapping) -> bool:
    """Whether a space of the mapping's name is shipped."""
    return mapping.name in spec.shipped(ROOM)


def load_space(name: str) -> SpaceFile:
    """The space of a path or shipped name."""
    return spec.load(name, SpaceFile, ROOM)


def options_of(space: SpaceFile) -> dict[str, list[str]]:
    """Choices of every option of the space's mapping.

    Raises
    ------
    ConfigError
        The space names an option or a choice that the mapping does not have.
    """
    known = {name: list(patches) for name, patches in load_mapping(space.mapping).file.options.items()}
    problems = []
    for name, choices in space.options.items():
        if name not in known:
            problems.append(_unknown(space, f"options.{name}", name, known))
        else:
            problems += [
                _unknown(space, f"options.{name}", choice, known[name])
                for choice in choices
                if choice not in known[name]
            ]
    if problems:
        raise ConfigError(*problems)
    return {name: space.options.get(name, choices) for name, choices in known.items()}


def numbers_of(space: SpaceFile) -> dict[str, list[int]]:
    """Values of the numbers the space names.

    Raises
    ------
    ConfigError
        The mapping has no such number.
    """
    known = list(type(load_mapping(space.mapping).file).numbers)
    unknown = [name for name in space.numbers if name not in known]
    if unknown:
        raise ConfigError(*(_unknown(space, f"numbers.{name}", name, known) for name in unknown))
    return {name: [int(value) for value in values] for name, values in space.numbers.items()}


def _unknown(space: SpaceFile, path: str, given: str, known: dict[str, list[str]] | list[str]) -> Problem:
    return Problem(
        f"mapping {space.mapping} has no '{given}'{nearest(given, list(known))}",
        spec.place_of(space, path),
        path,
    )


def combinations(space: SpaceFile) -> Iterator[Mapping]:
    """Every mapping of the space, blocks aside, first options first."""
    options = options_of(space)
    for chosen in itertools.product(*options.values()):
        yield load_mapping(space.mapping, dict(zip(options, chosen, strict=True)))


def blocks(space: SpaceFile, tile: float, queries: float) -> Array:
    """Block sizes to try for one design point."""
    if space.blocks == "given":
        return np.zeros(1)
    tiles = int(np.ceil(queries / tile))
    counts = sorted({1 << k for k in range(tiles.bit_length()) if 1 << k <= tiles} | {tiles})
    return tile * np.array(counts, dtype=np.float64)
