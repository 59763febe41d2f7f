"""Rows of results: the columns `docs/formats.md` lists, for all design points of a group at once, and their ledgers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dse.simulator.arrays import Array

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.studies.batch import Group

def result_columns(group: Group) -> dict[str, Array | list[Any]]:
    """Scalar results of a group's points, one array or list for each column, in the group's order."""
    size = len(group.indices)
    evaluation, facts = group.evaluation, group.lowered.facts
    seconds = _spread(evaluation.seconds, size)
    dram = _spread(evaluation.bytes_by_component["dram"], size)
    flops = _masked(facts.flops, seconds)
    columns: dict[str, Array | list[Any]] = {
        "status": ["ok" if np.isfinite(s) else "infeasible" for s in seconds],
        "mapping": [mapping.label for mapping in group.mappings],
        "cycles": _spread(evaluation.cycles, size),
        "cycles_lower": _spread(evaluation.cycles_lower, size),
        "cycles_upper": _spread(evaluation.cycles_upper, size),
        "latency_s": seconds,
        "energy_j": _spread(evaluation.joules, size),
        "area_m2": _spread(group.machine.area_m2, size),
        "flops": flops,
        "executed_flops": _masked(facts.executed_flops, seconds),
        "dram_bytes": dram,
        "onchip_bytes": _masked(facts.onchip_bytes, seconds),
        "operational_intensity_flop_per_byte": flops / dram,
        "achieved_flop_per_s": flops / seconds,
        "peak_flop_per_s": _spread(group.machine.peak_flop_per_s, size),
        "bound_by": [_bound(group, point) for point in range(size)],
        "error_bar": [group.error_bar] * size,
    }
    for name, count in facts.vector_ops.items():
        columns[f"vector_ops.{name}"] = _masked(count, seconds)
    for name, occupied in facts.occupied.items():
        columns[f"utilization.{name}"] = _masked(occupied / facts.elements[name], seconds) / _spread(evaluation.cycles, size)
    for name, memory in group.machine.memories.items():
        moved = evaluation.bytes_by_component.get(name)
        columns[f"bandwidth.{name}.average"] = _masked(np.zeros(1) if moved is None else moved, seconds) / seconds
        if name == "dram":
            columns[f"bandwidth.{name}.peak"] = _masked(memory.bandwidth_byte_per_s, seconds)
    return columns


def components(group: Group, point: int) -> list[dict[str, Any]]:
    """Ledger of one point: component, Einsum, tensor, action, count, bytes, joules, busy cycles; zero rows left out."""
    found = []
    for row in group.evaluation.ledger.at(point):
        if row["count"]:
            found.append(
                {
                    "component": row["component"],
                    "einsum": row["einsum"],
                    "tensor": row["tensor"],
                    "action": row["action"],
                    "count": row["count"],
                    "bytes": row["bytes"],
                    "energy_j": row["joules"],
                    "busy_cycles": busy_cycles(group, point, row),
                }
            )
    return found


def busy_cycles(group: Group, point: int, row: Mapping[str, Any]) -> float:
    """Cycles a component is busy with one ledger row if nothing else were in its way; 0 for registers."""
    machine, name = group.machine, str(row["component"])
    if name in machine.units:
        operation = machine.units[name].operations[str(row["action"])]
        elements = machine.units[name].elements
        return float(row["count"]) * _at(operation.busy_cycles, point) / _at(elements, point)
    if name == "dram":
        rate = machine.memories[name].bandwidth_byte_per_s / machine.clock_hz
        return float(row["bytes"]) / _at(rate, point)
    if name in machine.memories:
        memory = machine.memories[name]
        return float(row["bytes"]) / _at(memory.row_bytes * memory.ports, point)
    return 0.0


def infeasible_columns(group: Group, point: int) -> dict[str, Any]:
    """Why a point is infeasible."""
    found = group.evaluation.infeasible(point)
    if found is None:
        return {}
    return {
        "constraint": found.constraint,
        "demand": found.demand,
        "bound": found.bound,
        "unit": found.unit,
        "levers": list(found.levers),
    }


def _bound(group: Group, point: int) -> str | None:
    """Unit or memory that bounds a point; what no unit bounds is latency."""
    name = group.evaluation.bound_by(point if len(group.evaluation.bound) > 1 else 0)
    if name is None or name in group.machine.units or name in group.machine.memories:
        return name
    return "latency"


def _spread(array: Array, size: int) -> Array:
    found: Array = np.broadcast_to(array, (size,)).astype(np.float64)
    return found


def _masked(array: Array, seconds: Array) -> Array:
    return np.where(np.isfinite(seconds), _spread(array, len(seconds)), np.nan)


def _at(array: Array, point: int) -> float:
    return float(array[point if len(array) > 1 else 0])
