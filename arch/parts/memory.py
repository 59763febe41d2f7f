"""A memory level of a machine: capacity, row, ports or pooled bandwidth, energy per access, area.

Not modelled: banks and their conflicts, refresh, leakage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from dse.arch.tables.sram import Macro, SramFile, load_sram
from dse.errors import ConfigError
from dse.spec import Spec
from dse.units import Bytes, BytesPerSecond, In, PositiveCount, Quantity, SquareMetres

if TYPE_CHECKING:
    from dse.arch.machine import Array

AccessEnergy = Annotated[Quantity, In(("J/bit", "J/row"))]


@dataclass(frozen=True, slots=True)
class Memory:
    """A memory level. Energies are per byte; an infinite capacity or bandwidth is one the file does not limit."""

    name: str
    capacity_bytes: Array
    bandwidth_byte_per_s: Array
    row_bytes: Array
    ports: Array
    read_j_per_byte: Array
    write_j_per_byte: Array
    area_m2: Array

    def byte_per_cycle(self, clock_hz: Array) -> Array:
        """Bytes that can be read and written in a cycle: rows of all ports, or the bandwidth, whichever is less."""
        rows = self.row_bytes * self.ports
        pooled = self.bandwidth_byte_per_s / clock_hz
        return np.where(np.isnan(rows), pooled, np.minimum(np.where(np.isnan(rows), np.inf, rows), pooled))


class MemoryFile(Spec):
    """One memory level of a machine file."""

    source: str
    capacity: Bytes | None = None
    bandwidth: BytesPerSecond | None = None
    row: Bytes | None = Field(
        default=None, description="bytes one access moves; needed where energy is per row"
    )
    ports: PositiveCount | None = Field(
        default=None, description="rows that can be read or written per cycle"
    )
    read: AccessEnergy | None = Field(default=None, description="absent where no source gives it")
    write: AccessEnergy | None = None
    area: SquareMetres | None = None
    table: str | None = Field(
        default=None,
        description="table of memories that knows the area of this size, and energies not given here",
    )
    banks: PositiveCount = Field(
        default=1, description="equal macros it is made of, each with its share of capacity and ports"
    )

    @model_validator(mode="after")
    def _area_once(self) -> Self:
        if self.table is None:
            return self
        if self.area is not None:
            raise ValueError("needs either area or table")
        if self.capacity is None or self.row is None or self.ports is None:
            raise ValueError("needs capacity, row and ports to be found in its table")
        if self.ports % self.banks:
            raise ValueError(f"{self.ports} ports are no multiple of {self.banks} banks")
        try:
            self.macro()
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    @model_validator(mode="after")
    def _row_known(self) -> Self:
        per_row = any(energy is not None and energy.unit == "J/row" for energy in (self.read, self.write))
        if self.row is None and (self.ports is not None or per_row):
            raise ValueError("needs row: energies per row and ports count rows")
        return self

    def macros(self) -> SramFile | None:
        """The table this memory is looked up in."""
        try:
            return None if self.table is None else load_sram(self.table)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    def macro(self) -> Macro | None:
        """What the table knows of one bank."""
        table = self.macros()
        if table is None or self.capacity is None or self.row is None or self.ports is None:
            return None
        return table.macro(self.capacity / self.banks, self.row, self.ports / self.banks)

    def build(self, name: str) -> Memory:
        """The memory level, with energies per byte."""
        row = float("nan") if self.row is None else self.row
        macro = self.macro()
        read = macro.read_j_per_row / row if self.read is None and macro else _per_byte(self.read, row)
        write = macro.write_j_per_row / row if self.write is None and macro else _per_byte(self.write, row)
        return Memory(
            name=name,
            capacity_bytes=array_or(self.capacity, np.inf),
            bandwidth_byte_per_s=array_or(self.bandwidth, np.inf),
            row_bytes=array_or(self.row, np.nan),
            ports=array_or(self.ports, np.nan),
            read_j_per_byte=array_or(read, np.nan),
            write_j_per_byte=array_or(write, np.nan),
            area_m2=array_or(self.area if macro is None else macro.area_m2 * self.banks, np.nan),
        )


def array_or(value: float | None, missing: float) -> Array:
    """A value of a file as an array of one design point, ``missing`` where the file does not give it."""
    return np.array([missing if value is None else value], dtype=np.float64)


def _per_byte(energy: Quantity | None, row_bytes: float) -> float | None:
    if energy is None:
        return None
    return energy.value * 8.0 if energy.unit == "J/bit" else energy.value / row_bytes
