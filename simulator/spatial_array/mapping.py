"""Mapping of an attention cascade onto a spatial array: binding, spatial ranks, storage, fusion, window, stages.

Modelled: which unit runs each Einsum and which rank each array axis unrolls; what the global buffer keeps of each
tensor and how often it is fetched; which Einsums are fused; how many tiles are in flight; and, where a paper states
them, the stages its latency formula adds up. Not modelled: loop orders beyond queries in blocks, keys outside, query
tiles inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dse import spec
from dse.errors import Problem, nearest
from dse.simulator.mapping import MappingFile, PaperFile
from dse.units import Bytes, PositiveCount
from dse.workloads.cascade_file import load_cascade

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Mapping as Dict

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


class SpatialPaperFile(PaperFile):
    """Conventions of the published model that the paper accounting follows, each with its reason."""

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


class File(MappingFile):
    """A mapping file of a spatial array."""

    numbers: ClassVar[Dict[str, str]] = {
        "block": "queries in a block; 0 for the most that fit",
        "heights": "array heights in a tile of keys, of cascades that tile them; 0 for one",
    }

    cascade: str
    binding: dict[str, list[str]]
    spatial: dict[str, dict[str, str]] = Field(description="per unit or Einsum: rank on each axis")
    block: PositiveCount | None = Field(
        default=None, description="queries in a block; else the most that fit"
    )
    heights: PositiveCount | None = Field(
        default=None, description="array heights in a tile of keys: elements hold that many keys; else one"
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
    paper: SpatialPaperFile | None = None

    def unit_of(self, einsum: str) -> str:
        """Unit that runs an Einsum."""
        return next(unit for unit, names in self.binding.items() if einsum in names)

    def spatial_of(self, einsum: str) -> Dict[str, str]:
        """Axis → rank of an Einsum: its own entry, else its unit's."""
        own = self.spatial.get(einsum)
        return self.spatial[self.unit_of(einsum)] if own is None else own

    def strangers(self) -> Iterator[Problem]:
        """Names given to Einsums and tensors that the cascade does not have."""
        cascade = load_cascade(self.cascade)
        einsums = [einsum.name for einsum in cascade.einsums]
        bound = [
            (f"binding.{unit}[{i}]", name)
            for unit, names in self.binding.items()
            for i, name in enumerate(names)
        ]
        staged = [
            (f"groups[{g}].stages[{s}].einsums[{i}]", name)
            for g, group in enumerate(self.groups)
            for s, stage in enumerate(group.stages)
            for i, name in enumerate(stage.einsums)
        ]
        for path, name in (*bound, *staged):
            if name not in einsums:
                message = f"cascade {cascade.name} has no Einsum '{name}'{nearest(name, einsums)}"
                yield Problem(message, spec.place_of(self, path), path)
        for name in self.storage:
            if name not in cascade.tensors:
                message = f"cascade {cascade.name} has no tensor '{name}'{nearest(name, cascade.tensors)}"
                yield Problem(message, spec.place_of(self, f"storage.{name}"), f"storage.{name}")
