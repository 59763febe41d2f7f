"""Rows of results: the columns `docs/formats.md` lists, for all design points of a group at once, and their ledgers."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from dse.errors import DseError
from dse.simulator.arrays import total
from dse.simulator.technology import OFF_CHIP, area_factor, energy_factor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dse.simulator.arrays import Array
    from dse.simulator.ledger import Ledger
    from dse.studies.batch import Group

Texts: TypeAlias = np.ndarray[tuple[int], np.dtype[np.object_]]


def result_columns(group: Group) -> dict[str, Array | Texts]:
    """Scalar results of a group's points, one array of numbers or texts for each column, in the group's order."""
    size = len(group.indices)
    evaluation, facts = group.evaluation, group.lowered.facts
    clocked = 1.0 if facts.one_clock else np.nan
    seconds = _spread(evaluation.seconds, size)
    dram = _spread(evaluation.bytes_by_component["dram"], size)
    flops = _masked(facts.flops, seconds)
    columns: dict[str, Array | Texts] = {
        "status": _texts(["ok", "infeasible"], ~np.isfinite(seconds)),
        "mapping": _labels(group),
        "cycles": _spread(evaluation.cycles, size) * clocked,
        "cycles_lower": _spread(evaluation.cycles_lower, size) * clocked,
        "cycles_upper": _spread(evaluation.cycles_upper, size) * clocked,
        "latency_s": seconds,
        **compared_columns(group),
        "flops": flops,
        "executed_flops": _masked(facts.executed_flops, seconds),
        "dram_bytes": dram,
        "onchip_bytes": _masked(facts.onchip_bytes, seconds),
        "operational_intensity_flop_per_byte": _per(flops, dram),
        "achieved_flop_per_s": flops / seconds,
        "peak_flop_per_s": _spread(facts.peak_flop_per_s, size),
        "bound_by": _bounds(group),
        "error_bar": _texts([group.error_bar], np.zeros(size)),
    }
    for name, value in facts.more.items():
        columns[name] = _masked(value, seconds)
    for name, spent in _part_seconds(group).items():
        columns[f"time.{name}"] = _spread(spent, size)
    for name, count in facts.vector_ops.items():
        columns[f"vector_ops.{name}"] = _masked(count, seconds)
    for name, occupied in facts.occupied.items():
        columns[f"utilization.{name}"] = _masked(occupied / facts.elements[name], seconds) / _spread(
            evaluation.cycles, size
        )
    for name, limit in facts.memory_byte_per_s.items():
        moved = evaluation.bytes_by_component.get(name)
        if moved is not None:
            columns[f"bandwidth.{name}.average"] = _spread(moved, size) / seconds
            columns[f"bandwidth.{name}.peak"] = _masked(limit, seconds)
    return columns


def _part_seconds(group: Group) -> dict[str, Array]:
    """Seconds of the critical path in each part that the lowering names; the innermost node with a part counts."""
    parts, evaluation = group.lowered.facts.parts, group.evaluation
    found: dict[str, Array] = {}
    if not parts:
        return found
    for label, cycles in evaluation.critical_path:
        named = [parts[node] for node in label.partition(":")[0].split("/") if node in parts]
        name = named[-1] if named else "other"
        seconds = cycles / evaluation.program.clock_hz
        found[name] = found[name] + seconds if name in found else seconds
    return found


def components(group: Group, point: int) -> list[dict[str, Any]]:
    """Ledger of one point: component, Einsum, tensor, action, count, bytes, joules, busy cycles; zero rows left out."""
    return [
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
        for row in group.evaluation.ledger.at(group.column(point))
        if row["count"]
    ]


def busy_cycles(group: Group, point: int, row: Mapping[str, Any]) -> float:
    """Cycles a ledger row keeps its component busy if nothing else is in its way; 0 for registers."""
    facts, name = group.lowered.facts, str(row["component"])
    each = facts.cycles_each.get((name, str(row["einsum"]), str(row["action"])))
    if each is not None:
        return float(row["count"]) * _at(each, point)
    per_byte = facts.cycles_per_byte.get(name)
    return 0.0 if per_byte is None else float(row["bytes"]) * _at(per_byte, point)


def busy_table(group: Group, ledger: Ledger) -> Array:
    """`busy_cycles` of every action (axis 0) at every point of a group (axis 1, of length 1 where all are alike)."""
    facts, found = group.lowered.facts, []
    for number, action in enumerate(ledger.actions):
        each = facts.cycles_each.get((action.component, action.einsum, action.action))
        per_byte = facts.cycles_per_byte.get(action.component)
        if each is not None:
            found.append(ledger.count[number] * each)
        else:
            found.append(np.zeros(1) if per_byte is None else ledger.bytes[number] * per_byte)
    size = max((len(row) for row in found), default=1)
    return np.array([np.broadcast_to(row, (size,)) for row in found]).reshape(len(found), size)


def infeasible_columns(group: Group, point: int) -> dict[str, Any]:
    """Why a point is infeasible."""
    found = group.evaluation.infeasible(group.column(point))
    if found is None:
        return {}
    return {
        "constraint": found.constraint,
        "demand": found.demand,
        "bound": found.bound,
        "unit": found.unit,
        "levers": list(found.levers),
    }


def _bounds(group: Group) -> Texts:
    """Unit or memory that bounds each point; what no unit bounds is latency, and an infeasible point has none."""
    evaluation, units = group.evaluation, group.lowered.program.units
    names = [name if name in units else "latency" for name in evaluation.bound_names]
    return _texts([*names, None], np.broadcast_to(evaluation.bound, (len(group.indices),)))


def _labels(group: Group) -> Texts:
    """Label of each point's mapping."""
    known = {id(mapping): mapping for mapping in group.mappings}
    labels = {key: mapping.label for key, mapping in known.items()}
    found = np.empty(len(group.mappings), dtype=object)
    found[:] = [labels[id(mapping)] for mapping in group.mappings]
    return found


def _texts(names: Sequence[str | None], codes: Any) -> Texts:  # noqa: ANN401
    """Names by code; the code -1 is the last."""
    found: Texts = np.array(names, dtype=object)[np.asarray(codes, dtype=np.int64)]
    return found


def compared_columns(group: Group) -> dict[str, Array]:
    """Joules, those of them that leave the chip and do not scale with logic, technology node, and area."""
    size, joules = len(group.indices), group.evaluation.ledger.by("component", "joules")
    return {
        "energy_j": _spread(group.evaluation.joules, size),
        "offchip_energy_j": _spread(total([joules[name] for name in OFF_CHIP if name in joules]), size),
        "technology_m": _masked(group.machine.technology_m, _spread(group.evaluation.seconds, size)),
        "area_m2": _spread(group.lowered.facts.area_m2, size),
    }


def baseline_ratios(mine: Mapping[str, Array], base: Mapping[str, Array]) -> dict[str, Array]:
    """Energy and area over those of a baseline: as they are, and with its chip scaled to this technology node.

    Where both are of one node the two are the same; where the rule does not reach a node the scaled one is NaN.
    """
    nodes = list(zip(base["technology_m"], mine["technology_m"], strict=True))
    energy = np.array([_factor(energy_factor, *pair) for pair in nodes])
    area = np.array([_factor(area_factor, *pair) for pair in nodes])
    offchip = base["offchip_energy_j"]
    onchip = (base["energy_j"] - offchip) * energy
    energy_ratio = mine["energy_j"] / base["energy_j"]
    return {
        "energy_ratio": energy_ratio,
        "energy_ratio_scaled": np.where(energy == 1.0, energy_ratio, mine["energy_j"] / (onchip + offchip)),
        "area_ratio": mine["area_m2"] / base["area_m2"],
        "area_ratio_scaled": mine["area_m2"] / (base["area_m2"] * area),
    }


@cache
def _factor(rule: Callable[[Array, Array], Array], from_m: float, to_m: float) -> float:
    """Factor between two nodes; NaN outside the rule's range."""
    if from_m == to_m:
        return 1.0
    try:
        return float(rule(np.array([from_m]), np.array([to_m]))[0])
    except DseError:
        return math.nan


def _spread(array: Array, size: int) -> Array:
    found: Array = np.broadcast_to(array, (size,)).astype(np.float64)
    return found


def _masked(array: Array, seconds: Array) -> Array:
    return np.where(np.isfinite(seconds), _spread(array, len(seconds)), np.nan)


def _per(values: Array, divisors: Array) -> Array:
    """Quotients; NaN where nothing is there to divide by."""
    return np.divide(values, divisors, out=np.full_like(values, np.nan), where=divisors > 0)


def _at(array: Array, point: int) -> float:
    return float(array[point if len(array) > 1 else 0])
