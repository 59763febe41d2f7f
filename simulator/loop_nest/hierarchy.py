"""Memories and compute units as loop nests see them: energies per byte, bytes per cycle, axes and what they can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import MappingError, Problem, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.arch.parts.memory import Memory
    from dse.arch.spatial_array import ComputeUnit, Operation, SpatialArray
    from dse.simulator.arrays import Array

REGISTERS, STREAM = "registers", "stream"
UNIT_OPERATION = {"multiply": "mac"}


@dataclass(frozen=True)
class Level:
    """One memory: what it holds, what passes it each cycle, what a byte costs; infinite where nothing limits it."""

    name: str
    capacity_bytes: Array
    byte_per_cycle: Array
    read_j_per_byte: Array
    write_j_per_byte: Array


@dataclass(frozen=True)
class ArrayUnit:
    """One compute unit: extents of its axes, what they share, registers of an element, operations."""

    name: str
    axes: Mapping[str, Array]
    multicast: Mapping[str, bool]
    reduces: Mapping[str, bool]
    entries: Array
    register_read_j: Array
    register_write_j: Array
    operations: Mapping[str, Operation]


@dataclass(frozen=True)
class Hierarchy:
    """Memories from the outermost to the innermost, compute units by name, and the clock of all cycles.

    ``registers`` are those of a whole unit as a store that Einsums share: what one leaves there the next finds
    (``array.registers``), or takes word by word while it is made (``array.stream``).
    """

    name: str
    memories: tuple[Level, ...]
    units: Mapping[str, ArrayUnit]
    clock_hz: Array
    registers: tuple[Level, ...] = ()

    def store(self, name: str) -> Level:
        """A memory, or the registers of a unit."""
        return next(level for level in (*self.memories, *self.registers) if level.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the memories."""
        return tuple(memory.name for memory in self.memories)


def hierarchy_of(machine: SpatialArray, value_bytes: Array | None = None) -> Hierarchy:
    """The memories and units of a spatial array, for values of ``value_bytes`` (2 if not given)."""
    width = np.full(1, 2.0) if value_bytes is None else value_bytes
    return Hierarchy(
        name=machine.name,
        memories=tuple(_level(memory, machine.clock_hz) for memory in machine.memories.values()),
        units={name: _unit(unit) for name, unit in machine.units.items()},
        clock_hz=machine.clock_hz,
        registers=tuple(
            _pool(unit, store, width)
            for unit in machine.units.values()
            if unit.registers[0]
            for store in (REGISTERS, STREAM)
        ),
    )


def _pool(unit: ComputeUnit, store: str, width: Array) -> Level:
    """Registers of all elements of a unit; each element reads its own, so nothing limits their bandwidth."""
    return Level(
        name=f"{unit.name}.{store}",
        capacity_bytes=unit.registers * unit.elements * width,
        byte_per_cycle=np.full(1, np.inf),
        read_j_per_byte=unit.register_read_j / width,
        write_j_per_byte=unit.register_write_j / width,
    )


def _level(memory: Memory, clock_hz: Array) -> Level:
    return Level(
        name=memory.name,
        capacity_bytes=memory.capacity_bytes,
        byte_per_cycle=memory.byte_per_cycle(clock_hz),
        read_j_per_byte=memory.read_j_per_byte,
        write_j_per_byte=memory.write_j_per_byte,
    )


def _unit(unit: ComputeUnit) -> ArrayUnit:
    return ArrayUnit(
        name=unit.name,
        axes=unit.axes,
        multicast=unit.multicast,
        reduces=unit.reduces,
        entries=unit.registers,
        register_read_j=unit.register_read_j,
        register_write_j=unit.register_write_j,
        operations=unit.operations,
    )


def operations_of(
    einsum: str, listed: tuple[tuple[str, tuple[str, ...]], ...], unit: ArrayUnit
) -> list[tuple[Operation, tuple[str, ...]]]:
    """Operations of the unit that an Einsum's operators become, with their ranks; a product that is summed is one mac.

    Raises
    ------
    MappingError
        The unit cannot do one of them.
    """
    names = list(listed)
    for pair in [("multiply", ranks) for name, ranks in listed if name == "add"]:
        if pair in names and "mac" in unit.operations:
            names.remove(pair)
            names[names.index(("add", pair[1]))] = ("mac", pair[1])
    found = []
    for operator, ranks in names:
        name = operator if operator in unit.operations else UNIT_OPERATION.get(operator, operator)
        if name not in unit.operations:
            known = ", ".join(unit.operations)
            hint = nearest(name, unit.operations)
            raise MappingError(
                Problem(
                    f"{unit.name} has no operation '{name}', which Einsum {einsum} needs; it has {known}{hint}"
                )
            )
        found.append((unit.operations[name], ranks))
    return found
