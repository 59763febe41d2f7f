"""Levers: how much faster a design point becomes when one resource of its machine is doubled alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dse.simulator.evaluate import evaluate
from dse.simulator.lowering import lower

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.arch.spatial_array import SpatialArray
    from dse.studies.batch import Group

FACTOR = 2.0


def levers(group: Group) -> list[dict[str, Any]]:
    """Each resource doubled with its speed-up, best first; the mapping is chosen again only in its block size."""
    before = group.evaluation.cycles[0]
    found = []
    for name, machine in doubled(group.machine):
        lowered = lower(group.workload, machine, group.mappings[0], group.accounting)
        after = evaluate(lowered.program).cycles[0]
        found.append({"lever": name, "speedup": float(before / after)})
    return sorted(found, key=lambda row: (-float(row["speedup"]), str(row["lever"])))


def doubled(machine: SpatialArray) -> Iterator[tuple[str, SpatialArray]]:
    """The machine with each of its bandwidths, capacities, ports, extents and registers doubled in turn."""
    for name, memory in machine.memories.items():
        for key in ("bandwidth_byte_per_s", "capacity_bytes", "ports"):
            if getattr(memory, key)[0] < float("inf"):
                bigger = replace(memory, **{key: getattr(memory, key) * FACTOR})
                yield f"memories.{name}.{key.split('_')[0]}", replace(machine, memories={**machine.memories, name: bigger})
    for name, unit in machine.units.items():
        for axis, extent in unit.axes.items():
            wider = replace(unit, axes={**unit.axes, axis: extent * FACTOR})
            yield f"units.{name}.{axis}", replace(machine, units={**machine.units, name: wider})
        deeper = replace(unit, registers=unit.registers * FACTOR)
        yield f"units.{name}.registers", replace(machine, units={**machine.units, name: deeper})
