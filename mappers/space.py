"""Mapping spaces: the options and block sizes a search may choose among, one YAML each."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from dse import spec
from dse.simulator.mapping import Mapping, load_mapping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.simulator.arrays import Array

ROOM = "mappers/spaces"


class SpaceFile(spec.Spec):
    """A space file: the mapping it varies, and what may vary."""

    title: str
    source: str
    mapping: str
    options: dict[str, list[str]] = Field(description="choices allowed for each option of the mapping")
    blocks: Literal["doubling", "given"] = Field(
        default="given",
        description="queries in a block: one tile, doubled up to all queries, or as the mapping says",
    )


def has_space(mapping: Mapping) -> bool:
    """Whether a space of the mapping's name is shipped."""
    return mapping.name in spec.shipped(ROOM)


def load_space(name: str) -> SpaceFile:
    """The space of a path or shipped name."""
    return spec.load(name, SpaceFile, ROOM)


def combinations(space: SpaceFile) -> Iterator[Mapping]:
    """Every mapping of the space, blocks aside, first options first."""
    names = list(space.options)
    for chosen in itertools.product(*space.options.values()):
        yield load_mapping(space.mapping, dict(zip(names, chosen, strict=True)))


def blocks(space: SpaceFile, tile: float, queries: float) -> Array:
    """Block sizes to try for one design point."""
    if space.blocks == "given":
        return np.zeros(1)
    tiles = int(np.ceil(queries / tile))
    counts = sorted({1 << k for k in range(tiles.bit_length()) if 1 << k <= tiles} | {tiles})
    return tile * np.array(counts, dtype=np.float64)
