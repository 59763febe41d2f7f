"""Spatial array: a 2D array and a 1D array of processing elements under one global buffer and DRAM.

Modelled: shape or lanes, registers per element, busy cycles and energy per operation (operations made of others
included), buffer capacity, row, ports and energy per row, DRAM bandwidth and energy per bit; area as the sum of
functional units and registers of every element and of the buffer, so that it follows shape and register count.
Not modelled: network on chip, leakage, control; they are absent from the FuseMax artifact, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from dse.arch.machine import Array, MachineFile, Named
from dse.arch.parts.memory import Memory, MemoryFile, array_or
from dse.spec import Spec
from dse.units import (
    Bits,
    Cycles,
    In,
    JoulesPerOp,
    PositiveCount,
    Quantity,
    SquareMetres,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KIND = "spatial_array"
WordEnergy = Annotated[Quantity, In(("J/word", "J/bit"))]


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
    bit of a register's address. NaN is an area the file does not know. An axis that multicasts delivers one read to all
    elements that share it; one that reduces adds up their results on the way out.
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
    multicast: Mapping[str, bool]
    reduces: Mapping[str, bool]

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
        address_bits = np.maximum(np.ceil(np.log2(np.maximum(self.registers, 1.0))), 1.0)
        registers = entries + address_bits * self.address_bit_area_m2
        return self.elements * (self.logic_area_m2 + registers)


@dataclass(frozen=True, slots=True)
class SpatialArray(Named):
    """A spatial-array machine; see the module docstring."""

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
            if unit.registers[0]:
                deeper = replace(unit, registers=unit.registers * factor)
                yield f"units.{name}.registers", replace(self, units={**self.units, name: deeper})

    @property
    def area_m2(self) -> Array:
        """Sum of the component areas the file gives; NaN where one is not given."""
        total = np.zeros(1)
        for unit in self.units.values():
            total = total + unit.area_m2
        return total + self.memories["global_buffer"].area_m2


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
    width: Bits | None = Field(default=None, description="of a word; needed where energy is per bit")
    read: WordEnergy
    write: WordEnergy
    area: RegisterAreaFile | None = None
    source: str

    @model_validator(mode="after")
    def _width_known(self) -> Self:
        if self.width is None and "J/bit" in (self.read.unit, self.write.unit):
            raise ValueError("needs width: energies per bit count the bits of a word")
        return self

    def word_j(self, energy: Quantity) -> float:
        """Energy of one word."""
        return energy.value * (self.width or 1.0) if energy.unit == "J/bit" else energy.value


class AxisFile(Spec):
    """What an axis of an array does for all its elements at once."""

    multicast: bool = Field(default=True, description="one read serves all elements that use the word")
    reduce: bool = Field(default=True, description="results of the elements are added up on the way out")


class UnitFile(Spec):
    """One compute unit: ``shape`` [rows, columns] or ``lanes``."""

    source: str
    shape: Annotated[list[PositiveCount], Field(min_length=2, max_length=2)] | None = None
    lanes: PositiveCount | None = None
    axes: dict[Literal["rows", "columns", "lanes"], AxisFile] = Field(
        default_factory=dict, description="axes that cannot both multicast and reduce"
    )
    registers: RegistersFile | None = Field(default=None, description="absent where elements keep nothing")
    operations: dict[str, OperationFile]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.shape is None) == (self.lanes is None):
            raise ValueError("needs either shape or lanes")
        for axis in self.axes:
            if (axis == "lanes") == (self.lanes is None):
                raise ValueError(f"has no axis {axis}")
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
        registers = self.registers
        area = None if registers is None else registers.area
        return ComputeUnit(
            name=name,
            axes={axis: array_or(extent, np.nan) for axis, extent in axes.items()},
            registers=array_or(0 if registers is None else registers.entries, np.nan),
            register_read_j=array_or(0.0 if registers is None else registers.word_j(registers.read), np.nan),
            register_write_j=array_or(
                0.0 if registers is None else registers.word_j(registers.write), np.nan
            ),
            logic_area_m2=array_or(self._logic_area_m2(), np.nan),
            entry_area_m2=array_or(None if area is None else area.entry, np.nan),
            least_entries=array_or(None if area is None else area.least, np.nan),
            address_bit_area_m2=array_or(None if area is None else area.address_bit, np.nan),
            operations={key: self._operation(key) for key in self.operations},
            multicast={axis: self._axis(axis).multicast for axis in axes},
            reduces={axis: self._axis(axis).reduce for axis in axes},
        )

    def _axis(self, name: str) -> AxisFile:
        return next((given for axis, given in self.axes.items() if axis == name), AxisFile())

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
            busy_cycles=array_or(busy, 0.0),
            energy_j=array_or(energy, 0.0),
            register_reads=array_or(reads, 0.0),
            register_writes=array_or(writes, 0.0),
            uses={used: array_or(count, 0.0) for used, count in file.uses.items()},
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
        if "array_2d" not in self.units or "mac" not in self.units["array_2d"].operations:
            raise ValueError("units needs array_2d with an operation mac")
        if self.memories["dram"].bandwidth is None:
            raise ValueError("memories.dram needs bandwidth")
        buffer = self.memories["global_buffer"]
        if buffer.capacity is None or (buffer.ports is None and buffer.bandwidth is None):
            raise ValueError("memories.global_buffer needs capacity, and row and ports or bandwidth")
        for name, memory in self.memories.items():
            table = memory.macros()
            if table is not None and table.technology != self.technology:
                raise ValueError(f"memories.{name}.table is of another technology than the machine")
        return self

    def build(self, name: str) -> SpatialArray:
        """The machine this file describes."""
        return SpatialArray(
            **self.identity(name),
            memories={key: memory.build(key) for key, memory in self.memories.items()},
            units={key: unit.build(key) for key, unit in self.units.items()},
        )
