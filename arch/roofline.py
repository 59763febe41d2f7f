"""Roofline device: a processor that is nothing but its peak, its memory and what share of both it sustains.

Modelled: FLOP/s, bandwidth and capacity of the memory, energy of a byte read or written, of a row opened and of a
multiply-add, a fixed time and a speed for element-wise passes; optionally the cores that thread blocks are spread
over, and energies of the caches between them. Not modelled: launch overheads, caches that keep data between layers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from dse.arch.machine import Array, MachineFile, Named, one_point
from dse.arch.memories.dram import load_dram
from dse.arch.memories.stream import lock_step_share, pins_share
from dse.spec import Spec
from dse.units import (
    Bytes,
    BytesPerSecond,
    FlopsPerSecond,
    Joules,
    JoulesPerBit,
    JoulesPerOp,
    PositiveCount,
    Seconds,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KIND = "roofline"
Share = Annotated[float, Field(gt=0, le=1)]


class MemoryFile(Spec):
    """The memory of a roofline device."""

    bandwidth: BytesPerSecond
    capacity: Bytes
    access: JoulesPerBit = Field(description="energy of a bit read or written")
    row: Bytes = Field(description="bytes of an opened row")
    activate: Joules = Field(description="energy to open and close a row; 0 where access includes it")
    source: str


class StreamFile(Spec):
    """Share of the memory's bandwidth that DRAM timing leaves a long stream."""

    timing: str = Field(description="DRAM device, a shipped name of arch/memories or a path")
    stacks: PositiveCount
    by: Literal["pins", "lock_step"]
    refresh: Seconds = Field(description="time of a refresh of all banks")
    source: str


class PassFile(Spec):
    """An element-wise pass over activations."""

    latency: Seconds = 0.0
    share: Annotated[float, Field(gt=0)] = Field(default=1.0, description="of the memory's bandwidth")
    source: str


class CoresFile(Spec):
    """Cores that thread blocks are spread over, and the energies of their caches."""

    count: PositiveCount
    l1: Bytes
    l2: Bytes
    l1_access: JoulesPerBit
    l2_access: JoulesPerBit
    register_access: JoulesPerOp
    source: str


class File(MachineFile):
    """A roofline device file."""

    compute: FlopsPerSecond
    mac: JoulesPerOp = Field(description="energy of a multiply-add")
    memory: MemoryFile
    sustained_compute: Share = 1.0
    sustained_memory: Share = 1.0
    stream: StreamFile | None = Field(default=None, description="in place of sustained_memory")
    passes: dict[str, PassFile] = Field(default_factory=dict, description="activation, normalisation")
    cores: CoresFile | None = None

    def build(self, name: str) -> Roofline:
        """The machine this file describes."""
        cores = None
        if self.cores is not None:
            c = self.cores
            values = (c.count, c.l1, c.l2, c.l1_access * 8.0, c.l2_access * 8.0, c.register_access)
            cores = Cores(*(one_point(value) for value in values))
        return Roofline(
            **self.identity(name),
            peak_flop_per_s=one_point(self.compute),
            byte_per_s=one_point(self.memory.bandwidth),
            capacity_bytes=one_point(self.memory.capacity),
            access_j_per_byte=one_point(self.memory.access * 8.0),
            row_bytes=one_point(self.memory.row),
            activate_j=one_point(self.memory.activate),
            mac_j=one_point(self.mac),
            sustained_compute=one_point(self.sustained_compute),
            sustained_memory=self._sustained_memory(),
            passes={key: (one_point(p.latency), one_point(p.share)) for key, p in self.passes.items()},
            cores=cores,
        )

    def _sustained_memory(self) -> Array:
        """Share of the bandwidth sustained: as given, or as DRAM timing leaves it of the stacks' own peak."""
        if self.stream is None:
            return one_point(self.sustained_memory)
        dram = load_dram(self.stream.timing)
        if self.stream.by == "pins":
            peak = dram.byte_per_s * self.stream.stacks / self.memory.bandwidth
            return pins_share(dram, self.stream.refresh) * peak
        # Lock-step bandwidths are stated as multiples of the pins' that the organisation reaches exactly.
        multiple = np.round(self.memory.bandwidth / (dram.byte_per_s * self.stream.stacks))
        peak = multiple * dram.byte_per_s * self.stream.stacks / self.memory.bandwidth
        return lock_step_share(dram, self.stream.refresh) * peak


@dataclass(frozen=True, slots=True)
class Cores:
    """Cores of a device: count, cache sizes, energies of a byte of either cache and of a register access."""

    count: Array
    l1_bytes: Array
    l2_bytes: Array
    l1_j_per_byte: Array
    l2_j_per_byte: Array
    register_j: Array


@dataclass(frozen=True, slots=True)
class Roofline(Named):
    """A roofline device; ``passes`` holds the latency and share of bandwidth of element-wise passes by name."""

    peak_flop_per_s: Array
    byte_per_s: Array
    capacity_bytes: Array
    access_j_per_byte: Array
    row_bytes: Array
    activate_j: Array
    mac_j: Array
    sustained_compute: Array
    sustained_memory: Array
    passes: Mapping[str, tuple[Array, Array]]
    cores: Cores | None

    def scaled_resources(self, factor: float) -> Iterator[tuple[str, Roofline]]:
        """The device with its peak, or its memory, scaled."""
        yield "compute", replace(self, peak_flop_per_s=self.peak_flop_per_s * factor)
        yield "memory.bandwidth", replace(self, byte_per_s=self.byte_per_s * factor)
