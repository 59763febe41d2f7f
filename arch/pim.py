"""Processing in memory: DRAM stacks with multipliers at their banks, bank groups or buffer die.

Modelled: the DRAM device, how many units of a pseudo channel one command drives, how they share keys and head
dimension, how many query rows a unit multiplies with one column access, the spacing of such accesses with and without
a power limit, energy of the way from the cells to the units, of a multiply-add and of the softmax unit on the buffer
die. Not modelled: area, standby power, how data get into the layout the units need.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from dse.arch.machine import Array, MachineFile, Named, one_point
from dse.arch.memories.dram import Dram, Span, load_dram
from dse.errors import ConfigError
from dse.spec import Spec
from dse.units import JoulesPerBit, JoulesPerOp, PositiveCount

if TYPE_CHECKING:
    from collections.abc import Iterator

KIND = "pim"
Level = Literal["bank", "bank_group", "buffer", "logic"]
HALF_BYTES = 2.0


@dataclass(frozen=True)
class Softmax:
    """Softmax unit of one channel: values it takes per cycle, operations and joules of a value."""

    values_per_cycle: Array
    passes: Array
    operations: Array
    operation_j: Array


@dataclass(frozen=True)
class Pim(Named):
    """Stacks with units in them; see the module docstring.

    ``units`` are those of one pseudo channel that one command drives; ``head_dim`` of them share out the head
    dimension, the rest the keys. ``spacing_cycles`` is that of the power limit in force; ``opening_cycles`` pass from
    the first to the last activation of the banks one command drives.
    """

    dram: Dram
    stacks: Array
    level: Level
    units: Array
    head_dim: Array
    queries: Array
    spacing_cycles: Array
    opening_cycles: Array
    read_j_per_bit: Array
    move_j_per_bit: Array
    mac_j: Array
    softmax: Softmax | None
    queue: Array
    ahead: bool
    paired: bool

    @cached_property
    def across_keys(self) -> Array:
        """Units of a channel that share out the keys of a head."""
        return self.dram.pseudo_channels * self.units / self.head_dim

    @cached_property
    def bank_sets(self) -> Array:
        """Sets of banks a unit reaches; while one is read, rows of the others can be opened."""
        return self.dram.banks_each / self.units

    @property
    def capacity_bytes(self) -> Array:
        """Bytes all stacks store."""
        return self.stacks * self.dram.capacity_bytes

    @property
    def internal_byte_per_s(self) -> Array:
        """Bytes all units read per second with every row open and no refresh."""
        units = self.stacks * self.dram.pseudo_channel_count * self.units
        return units * self.dram.access_bytes / self.spacing_cycles * self.clock_hz

    @property
    def peak_flop_per_s(self) -> Array:
        """Multiply-adds of 16-bit values × 2 of all units, each busy."""
        return 2.0 * self.queries * self.internal_byte_per_s / HALF_BYTES

    def roofline_s(self, bytes_: Array, flops: Array) -> Array:
        """Least time to read ``bytes_`` and do ``flops``: the larger of the two alone."""
        return np.maximum(bytes_ / self.internal_byte_per_s, flops / self.peak_flop_per_s)

    def scaled_resources(self, factor: float) -> Iterator[tuple[str, Pim]]:
        """The machine with more stacks, closer accesses, or more queries for one access."""
        yield "memory.stacks", replace(self, stacks=self.stacks * factor)
        yield "placement.spacing", replace(self, spacing_cycles=self.spacing_cycles / factor)
        yield "placement.queries", replace(self, queries=self.queries * factor)
        if self.softmax is not None:
            faster = replace(self.softmax, values_per_cycle=self.softmax.values_per_cycle * factor)
            yield "softmax.values_per_cycle", replace(self, softmax=faster)


class SpacingFile(Spec):
    """Cycles from one multiply-accumulate command of a channel to the next."""

    limited: Span = Field(description="where the stack's power is limited")
    unlimited: Span = Field(description="where only the data path limits it")


class PlacementFile(Spec):
    """Where the units are and what one command makes them do."""

    source: str
    level: Level
    units: PositiveCount = Field(description="units of a pseudo channel that one command drives")
    head_dim: PositiveCount = Field(default=1, description="of them, those that share out the head dimension")
    activated: PositiveCount | None = Field(
        default=None,
        description="banks of a rank opened at once, a window of four activations before the next; all if left out",
    )
    queries: PositiveCount = Field(
        default=1, description="query rows a unit multiplies with one column access"
    )
    spacing: SpacingFile
    power_limited: bool = Field(default=True, description="which of the two spacings holds")
    read: JoulesPerBit | None = Field(
        default=None, description="cells to unit, without activation; the memory's stretches if left out"
    )


class MacFile(Spec):
    """The multiply-adders."""

    source: str
    energy: JoulesPerOp


class SoftmaxFile(Spec):
    """The softmax unit of one channel on the buffer die."""

    source: str
    values_per_cycle: PositiveCount
    passes: PositiveCount = Field(description="times it goes over the scores of a head")
    operations: PositiveCount = Field(description="operations of one value")
    energy: JoulesPerOp

    def build(self) -> Softmax:
        """The unit this section describes."""
        numbers = (self.values_per_cycle, self.passes, self.operations, self.energy)
        return Softmax(*(one_point(number) for number in numbers))


class ControllerFile(Spec):
    """The channel's controller."""

    source: str
    queue: PositiveCount = Field(description="requests it looks at")
    ahead: bool = Field(default=True, description="opens and closes rows ahead of barriers")
    paired: bool = Field(default=True, description="a row and a column command may come in one cycle")


class StacksFile(Spec):
    """The memory."""

    device: str = Field(description="DRAM device of each stack, a shipped name of arch/memories or a path")
    stacks: PositiveCount


class File(MachineFile):
    """A processing-in-memory machine file."""

    memory: StacksFile
    placement: PlacementFile
    mac: MacFile
    softmax: SoftmaxFile | None = Field(
        default=None, description="absent where softmax is the host's: scores leave, weights return"
    )
    controller: ControllerFile

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        try:
            dram = load_dram(self.memory.device)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if float(dram.clock_hz[0]) != self.clock:
            raise ValueError(
                f"clock must be the command clock of {self.memory.device}, {dram.clock_hz[0] / 1e6:g} MHz"
            )
        place = self.placement
        if float(dram.banks_each[0]) % place.units:
            raise ValueError(
                f"placement.units must divide the {dram.banks_each[0]:.0f} banks of a pseudo channel"
            )
        if place.units % place.head_dim:
            raise ValueError("placement.head_dim must divide placement.units")
        return self

    def build(self, name: str) -> Pim:
        """The machine this file describes."""
        place, dram = self.placement, load_dram(self.memory.device)
        spacing = place.spacing.limited if place.power_limited else place.spacing.unlimited
        read, move = _stretches(dram, place.level)
        return Pim(
            **self.identity(name),
            dram=dram,
            stacks=one_point(self.memory.stacks),
            level=place.level,
            units=one_point(place.units),
            head_dim=one_point(place.head_dim),
            queries=one_point(place.queries),
            spacing_cycles=one_point(spacing),
            opening_cycles=_opening(dram, place),
            read_j_per_bit=read if place.read is None else one_point(place.read),
            move_j_per_bit=move,
            mac_j=one_point(self.mac.energy),
            softmax=None if self.softmax is None else self.softmax.build(),
            queue=one_point(self.controller.queue),
            ahead=self.controller.ahead,
            paired=self.controller.paired,
        )


def _opening(dram: Dram, place: PlacementFile) -> Array:
    """Cycles from the first to the last activation of the banks one command drives."""
    if place.activated is None:
        return np.zeros(1)
    each = np.maximum(place.units / dram.ranks, 1.0)
    windows: Array = np.ceil(each / place.activated) - 1.0
    return windows * dram.timing.faw


def _stretches(dram: Dram, level: Level) -> tuple[Array, Array]:
    """Joules per bit from the cells to the units, and between the units and the buffer die."""
    energy, nothing = dram.energy, np.zeros(1)
    near = energy.cell_j_per_bit
    if level == "bank":
        return near, energy.group_j_per_bit + energy.global_j_per_bit + energy.tsv_j_per_bit
    near = near + energy.group_j_per_bit
    if level == "bank_group":
        return near, energy.global_j_per_bit + energy.tsv_j_per_bit
    return near + energy.global_j_per_bit + energy.tsv_j_per_bit, nothing
