"""Pruning accelerator: a pipeline of score array, softmax, top-k engines and value array behind banks of fetcher lanes.

Modelled: DRAM channels and their interleaving, fetcher lanes and their response FIFOs, key and value SRAMs with their
allocations, multipliers of both arrays, latencies of the pipelines, the top-k engines, the replay of rows whose
low-order key bits are fetched again. Energies are those of a generic table, named in the file, not of the published
chip; power and area that its paper states are facts apart. Not modelled: leakage, control, the softmax unit's energy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from dse.arch.machine import Array, MachineFile, Named, one_point
from dse.arch.memories.dram import load_dram
from dse.errors import ConfigError
from dse.spec import Spec
from dse.units import (
    Bytes,
    BytesPerSecond,
    Count,
    Cycles,
    JoulesPerBit,
    JoulesPerOp,
    Metres,
    PositiveCount,
    SquareMetres,
    Watts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.arch.memories.dram import Dram as Device

KIND = "spatten"


@dataclass(frozen=True, slots=True)
class Dram:
    """Off-chip memory: ``interleave_bytes`` lie in one channel, the next in the next.

    ``device`` gives timing, banks and rows of a channel; the bandwidth is the channels' own, whatever the device's.
    """

    channels: Array
    bandwidth_byte_per_s: Array
    interleave_bytes: Array
    read_j_per_byte: Array
    device: Device


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Lanes that fetch a vector each; a beat leaves when every lane of it has its data."""

    lanes: Array
    response_entries: Array


@dataclass(frozen=True, slots=True)
class Sram:
    """Key or value buffer: lines as wide as the array's multipliers."""

    lines: Array
    bits: Array
    allocations: Array
    read_j_per_byte: Array
    write_j_per_byte: Array


@dataclass(frozen=True, slots=True)
class Multipliers:
    """An array of multipliers with its reduction; ``latency_cycles`` from SRAM to result."""

    multipliers: Array
    latency_cycles: Array
    mac_j: Array


@dataclass(frozen=True, slots=True)
class Softmax:
    """Softmax pipeline, as wide as the score array; rows that wait for their turn behind a replayed one."""

    latency_cycles: Array
    reorder_lines: Array
    replays: Array


@dataclass(frozen=True, slots=True)
class TopKEngines:
    """Top-k engines; rules as ``dse.simulator.topk`` has them."""

    lanes: Array
    capacity: Array
    engines: Array
    seed: Array
    compare_j: Array
    pivot: str
    ties: str
    overflow: str
    bypass: str
    select: str


@dataclass(frozen=True, slots=True)
class Published:
    """Power and area the paper states for its own chip."""

    power_w: Array
    area_m2: Array
    technology_m: Array


@dataclass(frozen=True, slots=True)
class SpAtten(Named):
    """A pruning accelerator; see the module docstring."""

    dram: Dram
    key_sram: Sram
    value_sram: Sram
    fetcher: Fetcher
    array_qk: Multipliers
    array_pv: Multipliers
    softmax: Softmax
    topk: TopKEngines
    published: Published | None

    @property
    def peak_flop_per_s(self) -> Array:
        """Multiply-adds x 2 of both arrays, each cycle."""
        return 2.0 * (self.array_qk.multipliers + self.array_pv.multipliers) * self.clock_hz

    @property
    def key_sram_bytes(self) -> Array:
        """Bytes of the key buffer."""
        return self.array_qk.multipliers * self.key_sram.lines * self.key_sram.bits / 8.0

    @property
    def value_sram_bytes(self) -> Array:
        """Bytes of the value buffer."""
        return self.array_pv.multipliers * self.value_sram.lines * self.value_sram.bits / 8.0

    def scaled_resources(self, factor: float) -> Iterator[tuple[str, SpAtten]]:
        """The machine with each bandwidth, array, buffer and engine scaled in turn."""
        for part, keys in {
            "dram": ("bandwidth_byte_per_s",),
            "fetcher": ("lanes", "response_entries"),
            "key_sram": ("lines",),
            "value_sram": ("lines",),
            "array_qk": ("multipliers",),
            "array_pv": ("multipliers",),
            "topk": ("lanes", "capacity", "engines"),
        }.items():
            for key in keys:
                unit = getattr(self, part)
                bigger = replace(unit, **{key: getattr(unit, key) * factor})
                group = "memories" if part in {"dram", "key_sram", "value_sram"} else "units"
                yield f"{group}.{part}.{key.split('_', maxsplit=1)[0]}", replace(self, **{part: bigger})


class DramFile(Spec):
    """Off-chip memory of a machine file."""

    channels: PositiveCount
    bandwidth: BytesPerSecond = Field(description="of all channels")
    interleave: Bytes = Field(description="consecutive bytes in one channel")
    read: JoulesPerBit
    device: str = Field(description="DRAM device whose timing, banks and rows a channel has")
    source: str

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.interleave < 1.0 or self.interleave % 1.0:
            raise ValueError(f"interleave must be whole bytes, at least one, not {self.interleave:g} B")
        try:
            load_dram(self.device)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    def build(self) -> Dram:
        """The memory this part describes."""
        return Dram(
            channels=one_point(self.channels),
            bandwidth_byte_per_s=one_point(self.bandwidth),
            interleave_bytes=one_point(self.interleave),
            read_j_per_byte=one_point(8.0 * self.read),
            device=load_dram(self.device),
        )


class SramFile(Spec):
    """Key or value buffer."""

    lines: PositiveCount
    bits: PositiveCount = Field(description="of an element")
    allocations: PositiveCount = Field(default=16, description="rows it holds at once at most")
    read: JoulesPerBit
    write: JoulesPerBit
    source: str


class MemoriesFile(Spec):
    """Memories of a machine file."""

    dram: DramFile
    key_sram: SramFile
    value_sram: SramFile


class FetcherFile(Spec):
    """Fetcher lanes."""

    lanes: PositiveCount
    response_entries: PositiveCount = Field(description="pieces of one interleave each that a lane holds")
    source: str


class MultipliersFile(Spec):
    """Score or value array."""

    multipliers: PositiveCount
    latency: Cycles
    mac: JoulesPerOp
    source: str


class SoftmaxFile(Spec):
    """Softmax pipeline."""

    latency: Cycles
    reorder_lines: PositiveCount = Field(description="lines of scores that wait behind a replayed row")
    replays: PositiveCount = Field(description="requests that may enter between a row and its replay")
    source: str


class TopKFile(Spec):
    """Top-k engines."""

    lanes: PositiveCount = Field(description="elements compared in a cycle")
    capacity: PositiveCount = Field(description="elements of each result FIFO")
    engines: PositiveCount = 1
    seed: Count = 0
    pivot: Literal["uniform", "row_head", "first", "median_of_three", "oracle"] = "uniform"
    ties: Literal["three_way", "two_way"] = "three_way"
    overflow: Literal["rescan", "spill", "refuse"] = "rescan"
    bypass: Literal["in_order", "immediate", "never"] = "in_order"
    select: Literal["top_k", "threshold", "search"] = Field(
        default="top_k",
        description="what chooses: top-k of the probabilities, a threshold on them, or a search before the scores",
    )
    compare: JoulesPerOp
    source: str


class UnitsFile(Spec):
    """Units of a machine file."""

    fetcher: FetcherFile
    array_qk: MultipliersFile
    softmax: SoftmaxFile
    topk: TopKFile
    array_pv: MultipliersFile


class PublishedFile(Spec):
    """What the paper states of its own chip; no model here uses it."""

    power: Watts
    area: SquareMetres
    technology: Metres
    source: str


class File(MachineFile):
    """A machine file of kind spatten."""

    memories: MemoriesFile
    units: UnitsFile
    published: PublishedFile | None = None

    def build(self, name: str) -> SpAtten:
        """The machine this file describes."""
        units = self.units
        fetcher, softmax, said = units.fetcher, units.softmax, self.published
        return SpAtten(
            **self.identity(name),
            dram=self.memories.dram.build(),
            key_sram=_sram(self.memories.key_sram),
            value_sram=_sram(self.memories.value_sram),
            fetcher=Fetcher(*map(one_point, (fetcher.lanes, fetcher.response_entries))),
            array_qk=_multipliers(units.array_qk),
            array_pv=_multipliers(units.array_pv),
            softmax=Softmax(*map(one_point, (softmax.latency, softmax.reorder_lines, softmax.replays))),
            topk=_engines(units.topk),
            published=None
            if said is None
            else Published(*map(one_point, (said.power, said.area, said.technology))),
        )


def _engines(file: TopKFile) -> TopKEngines:
    return TopKEngines(
        lanes=one_point(file.lanes),
        capacity=one_point(file.capacity),
        engines=one_point(file.engines),
        seed=one_point(file.seed),
        compare_j=one_point(file.compare),
        pivot=file.pivot,
        ties=file.ties,
        overflow=file.overflow,
        bypass=file.bypass,
        select=file.select,
    )


def _sram(file: SramFile) -> Sram:
    return Sram(*map(one_point, (file.lines, file.bits, file.allocations, 8.0 * file.read, 8.0 * file.write)))


def _multipliers(file: MultipliersFile) -> Multipliers:
    return Multipliers(*map(one_point, (file.multipliers, file.latency, file.mac)))
