"""Spatial array: a 2D array and a 1D array of processing elements under one global buffer and DRAM.

Modelled: shape or lanes, registers per element, busy cycles and energy per operation (operations made of others
included), buffer capacity, row, ports and energy per row, DRAM bandwidth and energy per bit; area as the sum of
functional units and registers of every element and of the buffer, so that it follows shape and register count.
Not modelled: network on chip, leakage, control; they are absent from the FuseMax artifact, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from dse.arch.machine import Array, MachineFile
from dse.arch.tables.sram import SramFile, load_sram
from dse.errors import ConfigError
from dse.spec import Spec
from dse.units import (
    Bytes,
    BytesPerSecond,
    Cycles,
    In,
    JoulesPerOp,
    JoulesPerWord,
    PositiveCount,
    Quantity,
    SquareMetres,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KIND = "spatial_array"
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


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a processing element: cycles it holds the element, energy, register accesses.

    ``uses`` counts the other operations it consists of; ``absorbs`` names operations pipelined in front of it, which
    then cost energy and no cycles.
    """

    name: str
    busy_cycles: Array
    energy_j: Array
    register_reads: Array
    register_writes: Array
    uses: Mapping[str, Array]
    absorbs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ComputeUnit:
    """An array of processing elements: rows × columns, or lanes (one row).

    Areas are those of one element: its functional units, each register entry of at least ``least_entries``, and each
    bit of a register's address. NaN is an area the file does not know.
    """

    name: str
    axes: Mapping[str, Array]
    registers: Array
    register_read_j: Array
    register_write_j: Array
    logic_area_m2: Array
    entry_area_m2: Array
    least_entries: Array
    address_bit_area_m2: Array
    operations: Mapping[str, Operation]

    @property
    def elements(self) -> Array:
        """Processing elements of the unit."""
        total = np.ones(1)
        for extent in self.axes.values():
            total = total * extent
        return total

    @property
    def area_m2(self) -> Array:
        """Area of all elements, registers included."""
        entries = np.maximum(self.registers, self.least_entries) * self.entry_area_m2
        address_bits = np.maximum(np.ceil(np.log2(self.registers)), 1.0)
        registers = entries + address_bits * self.address_bit_area_m2
        return self.elements * (self.logic_area_m2 + registers)


@dataclass(frozen=True, slots=True)
class SpatialArray:
    """A spatial-array machine; see the module docstring."""

    name: str
    kind: str
    title: str
    mapping: str
    technology_m: Array
    clock_hz: Array
    notes: tuple[str, ...]
    memories: Mapping[str, Memory]
    units: Mapping[str, ComputeUnit]

    @property
    def peak_flop_per_s(self) -> Array:
        """Multiply-adds × 2 of all elements of the 2D array, each cycle."""
        unit = self.units["array_2d"]
        return 2.0 * unit.elements / unit.operations["mac"].busy_cycles * self.clock_hz

    def scaled_resources(self, factor: float) -> Iterator[tuple[str, SpatialArray]]:
        """The machine with each bandwidth, capacity, port count, extent and register count scaled in turn."""
        for name, memory in self.memories.items():
            for key in ("bandwidth_byte_per_s", "capacity_bytes", "ports"):
                if getattr(memory, key)[0] < np.inf:
                    bigger = replace(memory, **{key: getattr(memory, key) * factor})
                    path = f"memories.{name}.{key.split('_', maxsplit=1)[0]}"
                    yield path, replace(self, memories={**self.memories, name: bigger})
        for name, unit in self.units.items():
            for axis, extent in unit.axes.items():
                wider = replace(unit, axes={**unit.axes, axis: extent * factor})
                yield f"units.{name}.{axis}", replace(self, units={**self.units, name: wider})
            deeper = replace(unit, registers=unit.registers * factor)
            yield f"units.{name}.registers", replace(self, units={**self.units, name: deeper})

    @property
    def area_m2(self) -> Array:
        """Sum of the component areas the file gives; NaN where one is not given."""
        total = np.zeros(1)
        for unit in self.units.values():
            total = total + unit.area_m2
        return total + self.memories["global_buffer"].area_m2


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
    table: str | None = Field(default=None, description="table of memories that knows the area of this size")

    @model_validator(mode="after")
    def _area_once(self) -> Self:
        if self.table is None:
            return self
        if self.area is not None:
            raise ValueError("needs either area or table")
        if self.capacity is None or self.row is None or self.ports is None:
            raise ValueError("needs capacity, row and ports to be found in its table")
        self.macros()
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

    def build(self, name: str) -> Memory:
        """The memory level, with energies per byte."""
        row = float("nan") if self.row is None else self.row
        return Memory(
            name=name,
            capacity_bytes=_array(self.capacity, np.inf),
            bandwidth_byte_per_s=_array(self.bandwidth, np.inf),
            row_bytes=_array(self.row, np.nan),
            ports=_array(self.ports, np.nan),
            read_j_per_byte=_array(_per_byte(self.read, row), np.nan),
            write_j_per_byte=_array(_per_byte(self.write, row), np.nan),
            area_m2=_array(self._area_m2(), np.nan),
        )

    def _area_m2(self) -> float | None:
        table = self.macros()
        if table is None or self.capacity is None or self.row is None or self.ports is None:
            return self.area
        return table.area_m2(self.capacity, self.row, self.ports)


class OperationFile(Spec):
    """One operation: its own cycles and energy, or the operations it uses."""

    busy: Cycles | None = None
    energy: JoulesPerOp | None = None
    uses: dict[str, PositiveCount] = Field(default_factory=dict, description="operations it is made of")
    absorbs: list[str] = Field(
        default_factory=list, description="operations pipelined in front, at no cycles"
    )
    area: SquareMetres | None = Field(
        default=None, description="its functional unit in one element; 0 where another operation's serves it"
    )
    register_reads: int = Field(default=2, ge=0, description="register reads per operation")
    register_writes: int = Field(default=1, ge=0, description="register writes per operation")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = self.busy is not None and self.energy is not None
        if given == bool(self.uses) or (self.uses and (self.busy is not None or self.energy is not None)):
            raise ValueError("needs either busy and energy, or uses")
        if self.uses and self.area is not None:
            raise ValueError("has no area of its own: it uses other operations")
        return self


class RegisterAreaFile(Spec):
    """Area of one element's registers, growing with their number."""

    entry: SquareMetres = Field(description="of one entry")
    least: PositiveCount = Field(default=1, description="entries that take area even where there are fewer")
    address_bit: SquareMetres = Field(
        default=0.0, description="of each bit of the address, such as of its adders"
    )


class RegistersFile(Spec):
    """Registers of one processing element."""

    entries: PositiveCount = Field(description="words per element")
    read: JoulesPerWord
    write: JoulesPerWord
    area: RegisterAreaFile | None = None
    source: str


class UnitFile(Spec):
    """One compute unit: ``shape`` [rows, columns] or ``lanes``."""

    source: str
    shape: Annotated[list[PositiveCount], Field(min_length=2, max_length=2)] | None = None
    lanes: PositiveCount | None = None
    registers: RegistersFile
    operations: dict[str, OperationFile]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.shape is None) == (self.lanes is None):
            raise ValueError("needs either shape or lanes")
        for name, operation in self.operations.items():
            for used in (*operation.uses, *operation.absorbs):
                if used not in self.operations:
                    raise ValueError(f"operation {name} names {used}, which is not an operation of this unit")
                if self.operations[used].uses:
                    raise ValueError(f"operation {name} uses {used}, which is itself made of others")
        return self

    def build(self, name: str) -> ComputeUnit:
        """The compute unit, operations made of others resolved to cycles and energy."""
        axes = (
            {"lanes": self.lanes}
            if self.shape is None
            else dict(zip(("rows", "columns"), self.shape, strict=True))
        )
        area = self.registers.area
        return ComputeUnit(
            name=name,
            axes={axis: _array(extent, np.nan) for axis, extent in axes.items()},
            registers=_array(self.registers.entries, np.nan),
            register_read_j=_array(self.registers.read, np.nan),
            register_write_j=_array(self.registers.write, np.nan),
            logic_area_m2=_array(self._logic_area_m2(), np.nan),
            entry_area_m2=_array(None if area is None else area.entry, np.nan),
            least_entries=_array(None if area is None else area.least, np.nan),
            address_bit_area_m2=_array(None if area is None else area.address_bit, np.nan),
            operations={key: self._operation(key) for key in self.operations},
        )

    def _logic_area_m2(self) -> float | None:
        """Area of one element's functional units; None unless every one is known."""
        total = 0.0
        for operation in self.operations.values():
            if operation.area is None and not operation.uses:
                return None
            total += operation.area or 0.0
        return total

    def _operation(self, name: str) -> Operation:
        file = self.operations[name]
        parts = [(self.operations[used], float(count)) for used, count in file.uses.items()] or [(file, 1.0)]
        busy = energy = reads = writes = 0.0
        for part, count in parts:
            busy += count * (part.busy or 0.0)
            energy += count * (part.energy or 0.0)
            reads += count * part.register_reads
            writes += count * part.register_writes
        return Operation(
            name=name,
            busy_cycles=_array(busy, 0.0),
            energy_j=_array(energy, 0.0),
            register_reads=_array(reads, 0.0),
            register_writes=_array(writes, 0.0),
            uses={used: _array(count, 0.0) for used, count in file.uses.items()},
            absorbs=tuple(file.absorbs),
        )


class File(MachineFile):
    """A spatial-array machine file."""

    memories: dict[str, MemoryFile] = Field(description="outermost first: dram, global_buffer")
    units: dict[str, UnitFile]

    @model_validator(mode="after")
    def _levels(self) -> Self:
        for name in ("dram", "global_buffer"):
            if name not in self.memories:
                raise ValueError(f"memories needs {name}")
        if self.memories["dram"].bandwidth is None:
            raise ValueError("memories.dram needs bandwidth")
        buffer = self.memories["global_buffer"]
        if buffer.capacity is None or buffer.ports is None:
            raise ValueError("memories.global_buffer needs capacity, row and ports")
        for name, memory in self.memories.items():
            table = memory.macros()
            if table is not None and table.technology != self.technology:
                raise ValueError(f"memories.{name}.table is of another technology than the machine")
        return self

    def build(self, name: str) -> SpatialArray:
        """The machine this file describes."""
        return SpatialArray(
            name=name,
            kind=KIND,
            title=self.title,
            mapping=self.mapping,
            technology_m=_array(self.technology, np.nan),
            clock_hz=_array(self.clock, np.nan),
            notes=tuple(self.notes),
            memories={key: memory.build(key) for key, memory in self.memories.items()},
            units={key: unit.build(key) for key, unit in self.units.items()},
        )


def _array(value: float | None, missing: float) -> Array:
    return np.array([missing if value is None else value], dtype=np.float64)


def _per_byte(energy: Quantity | None, row_bytes: float) -> float | None:
    if energy is None:
        return None
    return energy.value * 8.0 if energy.unit == "J/bit" else energy.value / row_bytes
