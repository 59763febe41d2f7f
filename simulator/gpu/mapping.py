"""Mapping of a workload onto a GPU: the kernels that run it and their launch parameters.

Modelled: the kernel of prefill, of decode and of dense layers, with tiles, warps, stages and splits; each is a number
that a search may set. Not modelled: kernels that are not named, persistent blocks, clusters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from dse.simulator.mapping import MappingFile
from dse.spec import Spec
from dse.units import PositiveCount

if TYPE_CHECKING:
    from collections.abc import Mapping as Dict

Tile = Annotated[list[PositiveCount], Field(min_length=2, max_length=2)]


class PrefillFile(Spec):
    """The kernel that runs attention of many queries."""

    kernel: str
    queries: PositiveCount = Field(description="query rows of a tile")
    keys: PositiveCount = Field(description="keys of a tile")
    warps: PositiveCount
    stages: PositiveCount = Field(description="tiles of keys and values in flight")
    order: Literal["grid", "longest_first"] = "grid"


class DecodeFile(Spec):
    """The kernel that runs attention of one query per sequence."""

    kernel: str
    rows: PositiveCount = Field(description="query heads of a tile: those of a key head, padded")
    keys: PositiveCount = Field(description="keys of a tile")
    warps: PositiveCount
    stages: PositiveCount
    splits: PositiveCount | None = Field(
        default=None, description="parts of the keys; the fewest that fill the SMs if not given"
    )


class GemmFile(Spec):
    """The kernels that run dense layers: the fastest of a list of tiles."""

    kernel: str
    tiles: list[Tile] = Field(description="rows and columns of the output that a block owns")
    depth: PositiveCount = Field(description="depth of a step")
    splits: list[PositiveCount] = Field(description="parts of the sum to choose from")
    warps: PositiveCount
    stages: PositiveCount


class File(MappingFile):
    """A mapping file of a GPU."""

    numbers: ClassVar[Dict[str, str]] = {
        "tile_queries": "query rows of a tile in prefill",
        "tile_keys": "keys of a tile",
        "num_warps": "warps of a thread block of attention",
        "num_stages": "tiles of keys and values in flight",
        "splits": "parts of the keys in decode",
    }

    runs_launches: ClassVar[bool] = True
    counts: ClassVar[str] = (
        "thread blocks listed over SMs, demands of a tile overlapped as their family does, transfers a fluid that all "
        "SMs share, launches one after another"
    )

    prefill: PrefillFile
    decode: DecodeFile
    latent: DecodeFile = Field(description="decode of absorbed latent attention")
    gemm: GemmFile
    tile_queries: PositiveCount | None = Field(default=None, description="that of each kernel if not given")
    tile_keys: PositiveCount | None = None
    num_warps: PositiveCount | None = None
    num_stages: PositiveCount | None = None
    splits: PositiveCount | None = None
