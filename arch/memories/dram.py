"""DRAM device: organisation, command timing, refresh and energy of one stack or package.

Modelled: channels of pseudo channels, ranks, bank groups, banks, rows and columns; the constraints between commands in
cycles of the command clock; energy of an activation and of each stretch of the way from the cells to the pins. Not
modelled: per-bank refresh, temperature, power-down, standby current. Numbers are float64 arrays of shape (1,).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from dse import spec
from dse.units import Bytes, Cycles, Hertz, In, JoulesPerBit, JoulesPerRow, PositiveCount

if TYPE_CHECKING:
    from pathlib import Path

    from dse.arch.machine import Array

ROOM = "arch/memories"
Span = Annotated[float, In(("cycle",), positive=True)]


@dataclass(frozen=True, slots=True)
class Timing:
    """Constraints between commands, in cycles of the command clock; NaN where the source does not give one."""

    burst: Array
    cl: Array
    rcd: Array
    rp: Array
    ras: Array
    rc: Array
    ccd_s: Array
    ccd_l: Array
    rrd_s: Array
    rrd_l: Array
    faw: Array
    rtp_s: Array
    rtp_l: Array
    rfc: Array
    refi: Array
    cwl: Array
    wr: Array
    wtr_s: Array
    wtr_l: Array
    rtw: Array


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy of an activation, and per bit of each stretch between the cells and the pins; NaN where not given."""

    activate_j: Array
    cell_j_per_bit: Array
    group_j_per_bit: Array
    global_j_per_bit: Array
    tsv_j_per_bit: Array
    io_j_per_bit: Array

    @property
    def read_j_per_byte(self) -> Array:
        """A read all the way to the pins, without its activation."""
        stretches = (self.cell_j_per_bit, self.group_j_per_bit, self.global_j_per_bit, self.tsv_j_per_bit)
        total = self.io_j_per_bit
        for stretch in stretches:
            total = total + stretch
        return 8.0 * total


@dataclass(frozen=True, slots=True)
class Dram:
    """One DRAM device; see the module docstring. ``banks`` are those of one bank group."""

    name: str
    title: str
    clock_hz: Array
    channels: Array
    pseudo_channels: Array
    ranks: Array
    bank_groups: Array
    banks: Array
    rows: Array
    columns: Array
    access_bytes: Array
    timing: Timing
    energy: Energy

    @property
    def row_bytes(self) -> Array:
        """Bytes of one row of one bank."""
        return self.columns * self.access_bytes

    @property
    def pseudo_channel_count(self) -> Array:
        """Pseudo channels of the device."""
        return self.channels * self.pseudo_channels

    @property
    def banks_each(self) -> Array:
        """Banks of a pseudo channel, all ranks."""
        return self.ranks * self.bank_groups * self.banks

    @property
    def capacity_bytes(self) -> Array:
        """Bytes the device stores."""
        return self.pseudo_channel_count * self.banks_each * self.rows * self.row_bytes

    @property
    def byte_per_s(self) -> Array:
        """Peak of the device by its organisation: an access per burst on every pseudo channel."""
        spacing = np.maximum(self.timing.burst, self.timing.ccd_s)
        return self.pseudo_channel_count * self.access_bytes / spacing * self.clock_hz


class OrganisationFile(spec.Spec):
    """How a device is divided."""

    channels: PositiveCount
    pseudo_channels: PositiveCount = Field(default=1, description="of a channel; they share its command bus")
    ranks: PositiveCount = 1
    bank_groups: PositiveCount
    banks: PositiveCount = Field(description="of a bank group")
    rows: PositiveCount
    columns: PositiveCount = Field(description="column accesses in a row of a bank")
    access: Bytes = Field(description="bytes of one column access")


class TimingFile(spec.Spec):
    """Constraints between commands, in cycles of the command clock."""

    burst: Span = Field(description="data bus busy with one access")
    cl: Span = Field(description="read command to data")
    rcd: Span = Field(description="activation to column command")
    rp: Span = Field(description="precharge to activation")
    ras: Span = Field(description="activation to precharge")
    rc: Span = Field(description="activation to activation of one bank")
    ccd_s: Span = Field(description="column to column command, another bank group")
    ccd_l: Span = Field(description="column to column command, the same bank group")
    rrd_s: Span = Field(description="activation to activation, another bank group")
    rrd_l: Span = Field(description="activation to activation, the same bank group")
    faw: Span = Field(description="window of four activations of a rank")
    rtp_s: Span = Field(description="read to precharge of all banks")
    rtp_l: Span = Field(description="read to precharge of its bank")
    rfc: Span = Field(description="refresh of all banks")
    refi: Span = Field(description="from one refresh to the next")
    cwl: Cycles | None = Field(default=None, description="write command to data")
    wr: Cycles | None = Field(default=None, description="end of write data to precharge")
    wtr_s: Cycles | None = Field(default=None, description="end of write data to read, another bank group")
    wtr_l: Cycles | None = Field(default=None, description="end of write data to read, the same bank group")
    rtw: Cycles | None = Field(default=None, description="read to write command")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.refi <= self.rfc + self.rp:
            raise ValueError("refi must exceed rfc and rp: the device would do nothing but refresh")
        if self.ccd_l < self.ccd_s or self.rrd_l < self.rrd_s:
            raise ValueError(
                "a bank group cannot be faster alone than with others: ccd_l or rrd_l is too small"
            )
        return self


class EnergyFile(spec.Spec):
    """Energy of an activation and of each stretch between the cells and the pins."""

    source: str
    activate: JoulesPerRow = Field(description="activation and precharge of one row of one bank")
    cell: JoulesPerBit = Field(description="column access in the bank")
    group: JoulesPerBit = Field(description="column decoder to the bank group's multiplexer")
    global_: JoulesPerBit = Field(alias="global", description="bank group to the device's global multiplexer")
    tsv: JoulesPerBit = Field(default=0.0, description="through the stack; 0 for a device that is no stack")
    io: JoulesPerBit = Field(description="pins and wires to the host")


class File(spec.Spec):
    """A DRAM device file."""

    title: str
    source: str
    notes: list[str] = Field(default_factory=list)
    clock: Hertz = Field(description="command clock, whose cycles the timing counts")
    organisation: OrganisationFile
    timing: TimingFile
    energy: EnergyFile | None = Field(default=None, description="absent where no source gives it")

    def build(self, name: str) -> Dram:
        """The device this file describes."""
        shape = {key: _array(value) for key, value in self.organisation if key != "access"}
        return Dram(
            name=name,
            title=self.title,
            clock_hz=_array(self.clock),
            access_bytes=_array(self.organisation.access),
            timing=Timing(
                **{field.name: _array(getattr(self.timing, field.name)) for field in fields(Timing)}
            ),
            energy=self._energy(),
            **shape,
        )

    def _energy(self) -> Energy:
        file = self.energy
        if file is None:
            return Energy(*(_array(None) for _ in fields(Energy)))
        stretches = (file.cell, file.group, file.global_, file.tsv, file.io)
        return Energy(_array(file.activate), *(_array(value) for value in stretches))


@cache
def load_dram(source: str | Path) -> Dram:
    """The DRAM device of a path or shipped name.

    Raises
    ------
    ConfigError
        The file is wrong; all problems together.
    """
    file = spec.load(source, File, ROOM)
    return file.build(spec.origin(file).stem)


def _array(value: float | None) -> Array:
    array = np.array([np.nan if value is None else value], dtype=np.float64)
    array.flags.writeable = False
    return array
