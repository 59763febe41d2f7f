"""On-chip memories by capacity and row: what a table knows of macros that were estimated one by one.

Modelled: area of a macro of exactly this capacity and row. Not modelled: sizes between the macros of a table; a
memory of another size has no known area.
"""

from __future__ import annotations

from functools import cache

from pydantic import Field

from dse import spec
from dse.units import Bytes, Metres, PositiveCount, SquareMetres

ROOM = "arch/tables"


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
    macros: dict[str, MacroFile]

    def area_m2(self, capacity_bytes: float, row_bytes: float, ports: int) -> float:
        """Area of the macro of this size, NaN if the table has none."""
        for macro in self.macros.values():
            if (macro.capacity, macro.row, macro.ports) == (capacity_bytes, row_bytes, ports):
                return macro.area
        return float("nan")


@cache
def load_sram(name: str) -> SramFile:
    """The memory macros in a table of ``arch/tables``.

    Raises
    ------
    ConfigError
        No such table, or a wrong one.
    """
    return spec.load(name, SramFile, ROOM)
