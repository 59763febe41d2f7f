"""A pruning accelerator at one design point, for heads of one depth: plain numbers, and its top-k engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dse.errors import ConfigError, Problem
from dse.simulator.topk import TopK, convention

if TYPE_CHECKING:
    from dse.arch.spatten import SpAtten


@dataclass(frozen=True, slots=True)
class Chip:
    """Numbers of one design point. ``width`` and ``value_width`` are keys and values computed in a cycle."""

    machine: SpAtten
    depth: int
    width: int
    value_width: int
    dram_bytes_per_cycle: float

    def number(self, unit: str, key: str) -> float:
        """A number of one of the machine's units."""
        return float(getattr(getattr(self.machine, unit), key)[0])

    def engine(self, published: str) -> TopK:
        """Its top-k engine, with cycles counted by a published convention."""
        topk = self.machine.topk
        rules: dict[str, Any] = {
            name: getattr(topk, name) for name in ("pivot", "ties", "overflow", "bypass")
        }
        rules |= {name: int(getattr(topk, name)[0]) for name in ("lanes", "capacity", "engines", "seed")}
        return TopK(convention=convention(published), width=self.width, **rules)

    def resident(self, unit: str, elements: int) -> int:
        """Rows of so many vectors that the key or value buffer holds at once; 0 if not one fits."""
        width = self.width if unit == "key_sram" else self.value_width
        lines = -(-elements // width)
        return int(min(self.number(unit, "allocations"), self.number(unit, "lines") // lines))


def chip_of(machine: SpAtten, depth: int) -> Chip:
    """The machine at its only design point, for heads of this depth.

    Raises
    ------
    ConfigError
        An array has fewer multipliers than a head is deep.
    """
    widths = {}
    for name in ("array_qk", "array_pv"):
        multipliers = int(getattr(machine, name).multipliers[0])
        widths[name] = multipliers // depth
        if not widths[name]:
            text = f"{multipliers} multipliers cannot take one vector of depth {depth} in a cycle"
            raise ConfigError(Problem(text, path=f"units.{name}.multipliers"))
    rate = float(machine.dram.bandwidth_byte_per_s[0] / machine.clock_hz[0])
    return Chip(machine, depth, widths["array_qk"], widths["array_pv"], rate)
