"""On-chip memories by capacity, row and ports: macros estimated one by one, or a grid of them with the sizes between.

Modelled: area, and where a table has it energy per row, of a macro of exactly this size; between the macros of a grid a
power law in each of capacity, row and ports. Not modelled: sizes outside a grid, or between the macros of a table
without one; leakage; routing between banks.
"""

from __future__ import annotations

import csv
import itertools
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from dse import spec
from dse.errors import ConfigError, Place, Problem
from dse.units import Bytes, Metres, PositiveCount, SquareMetres, format_quantity

if TYPE_CHECKING:
    from pathlib import Path

    from dse.arch.machine import Array

ROOM = "arch/tables"
KEYS = ("capacity_bytes", "row_bytes", "ports")
VALUES = ("area_m2", "read_j_per_row", "write_j_per_row")


class Macro(NamedTuple):
    """What is known of one macro; NaN is not known. Energies are those of one row."""

    area_m2: float
    read_j_per_row: float = float("nan")
    write_j_per_row: float = float("nan")


class MacroFile(spec.Spec):
    """One memory macro."""

    capacity: Bytes
    row: Bytes = Field(description="bytes one access moves")
    ports: PositiveCount = Field(description="rows that can be read or written per cycle")
    area: SquareMetres


class SramFile(spec.Spec):
    """Memory macros of one technology node."""

    title: str
    technology: Metres
    source: str
    notes: list[str] = Field(default_factory=list)
    macros: dict[str, MacroFile] = Field(default_factory=dict)
    grid: str | None = Field(default=None, description="file of macros beside this one, on a grid of sizes")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.macros) == (self.grid is not None):
            raise ValueError("needs either macros or grid")
        return self

    def macro(self, capacity_bytes: float, row_bytes: float, ports: float) -> Macro:
        """The macro of this size; of one that a table without grid does not list nothing is known.

        Raises
        ------
        ConfigError
            A size outside the grid.
        """
        if self.grid is not None:
            return load_grid(spec.origin(self).parent / self.grid).at(capacity_bytes, row_bytes, ports)
        for macro in self.macros.values():
            if (macro.capacity, macro.row, macro.ports) == (capacity_bytes, row_bytes, ports):
                return Macro(macro.area)
        return Macro(float("nan"))

    def area_m2(self, capacity_bytes: float, row_bytes: float, ports: int) -> float:
        """Area of the macro of this size, NaN if the table has none."""
        return self.macro(capacity_bytes, row_bytes, ports).area_m2


@dataclass(frozen=True)
class Grid:
    """Macros on a grid: sizes along each axis, and the logarithm of each value; NaN where no macro was estimated."""

    axes: tuple[Array, Array, Array]
    logs: Array

    def at(self, *size: float) -> Macro:
        """The macro of a size; between those of the grid each value follows a power law of each axis.

        Raises
        ------
        ConfigError
            The size is outside the grid, or next to a hole in it.
        """
        found, ends = np.zeros(len(VALUES)), []
        for axis, value in zip(self.axes, size, strict=True):
            if not axis[0] <= value <= axis[-1]:
                raise ConfigError(self._outside(size))
            high = int(np.searchsorted(axis, value))
            low = high if axis[high] == value else high - 1
            share = 0.0 if low == high else float(np.log(value / axis[low]) / np.log(axis[high] / axis[low]))
            ends.append(((low, 1.0 - share), (high, share)) if share else ((low, 1.0),))
        for corner in itertools.product(*ends):
            weight = corner[0][1] * corner[1][1] * corner[2][1]
            found = found + weight * self.logs[tuple(index for index, _ in corner)]
        if np.isnan(found).any():
            raise ConfigError(self._outside(size))
        return Macro(*(float(value) for value in np.exp(found)))

    def _outside(self, size: tuple[float, ...]) -> str:
        capacity, row, ports = size
        ends = [(axis[0], axis[-1]) for axis in self.axes]
        asked = (
            f"{format_quantity(capacity, 'B')} in rows of {format_quantity(row, 'B')} with {ports:g} ports"
        )
        return (
            f"{asked} is outside the table: {format_quantity(ends[0][0], 'B')} to {format_quantity(ends[0][1], 'B')}, "
            f"rows of {format_quantity(ends[1][0], 'B')} to {format_quantity(ends[1][1], 'B')} and 64 rows at least, "
            f"{ends[2][0]:g} to {ends[2][1]:g} ports"
        )


@cache
def load_grid(path: Path) -> Grid:
    """The macros of a file with the columns capacity_bytes, row_bytes, ports, and what is known of each.

    Raises
    ------
    ConfigError
        The file cannot be read, or is no such table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(line for line in file if not line.startswith("#")))
        sizes = np.array([[float(line[key]) for key in KEYS] for line in lines])
        values = np.array([[float(line[key]) for key in VALUES] for line in lines])
    except OSError as error:
        raise ConfigError(Problem(f"cannot read this table: {error.strerror}", Place(str(path)))) from None
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(Problem(f"is no table of macros: {error}", Place(str(path)))) from None
    places = [np.unique(column, return_inverse=True) for column in sizes.T]
    logs = np.full((*(len(axis) for axis, _ in places), len(VALUES)), np.nan)
    logs[tuple(index.reshape(-1) for _, index in places)] = np.log(values)
    return Grid((places[0][0], places[1][0], places[2][0]), logs)


@cache
def load_sram(name: str) -> SramFile:
    """The memory macros in a table of ``arch/tables``.

    Raises
    ------
    ConfigError
        No such table, or a wrong one.
    """
    return spec.load(name, SramFile, ROOM)
