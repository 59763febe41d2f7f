"""One design point as an object: what ``dse run --format json`` prints, its keys as in `docs/formats.md`."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

import dse
from dse.errors import InfeasibleError
from dse.studies.batch import Request, Resolver, evaluate_requests
from dse.studies.rows import (
    baseline_ratios,
    compared_columns,
    components,
    infeasible_columns,
    result_columns,
)

if TYPE_CHECKING:
    from dse.studies.batch import Group

RATIOS = ("energy_ratio", "energy_ratio_scaled", "area_ratio", "area_ratio_scaled")
_FAMILIES = ("vector_ops", "utilization", "time")


def evaluate_one(request: Request, resolver: Resolver | None = None) -> Group:
    """Evaluation of one request, a group of one point."""
    return evaluate_requests([request], resolver)[0]


def record(request: Request, group: Group, baseline: Group | None = None) -> dict[str, Any]:
    """Everything known of one design point; an infeasible one says why."""
    head: dict[str, Any] = {
        "machine": group.machine.name,
        "workload": group.workload.name,
        "parameters": dict(group.workload.parameters)
        | {f"machine.{key}": value for key, value in request.overrides},
        "accounting": request.accounting,
        "mapper": request.mapper,
        "mapping": group.mappings[0].label,
    }
    if group.evaluation.feasible[0]:
        return head | {"infeasible": infeasible_columns(group, 0)}
    found = {
        key: _scalar(values[0])
        for key, values in result_columns(group).items()
        if key not in ("status", "mapping")
    }
    body = {key: value for key, value in found.items() if "." not in key}
    for family in _FAMILIES:
        body[family] = {
            k.removeprefix(f"{family}."): v for k, v in found.items() if k.startswith(f"{family}.")
        }
    body["bandwidth_byte_per_s"] = _bandwidths(found)
    facts = group.lowered.facts
    body["window_tiles"] = _scalar(facts.window[0])
    body["block_queries"] = _scalar(facts.block_queries[0])
    body |= _compared(group, baseline)
    body["components"] = components(group, 0)
    body["notes"] = list(group.machine.notes)
    body["versions"] = {"dse": dse.__version__, "python": platform.python_version()}
    return head | body


def refuse_infeasible(found: dict[str, Any]) -> None:
    """Raise if the record is of an infeasible point.

    Raises
    ------
    InfeasibleError
        Says which constraint is not met, by how much, and what would help.
    """
    why = found.get("infeasible")
    if why:
        raise InfeasibleError(
            f"{found['machine']} cannot run {found['workload']}: "
            f"{why['constraint']} needs {why['demand']:.6g} {why['unit']}, "
            f"there is {why['bound']:.6g}; try {', or '.join(why['levers'])}"
        )


def _bandwidths(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    nested: dict[str, dict[str, Any]] = {}
    for key, value in found.items():
        if key.startswith("bandwidth."):
            _, memory, kind = key.split(".")
            nested.setdefault(memory, {})[kind] = value
    return nested


def _compared(group: Group, baseline: Group | None) -> dict[str, Any]:
    """Speed-up and energy ratios over a baseline at the same workload."""
    if baseline is None:
        return dict.fromkeys(("baseline", "speedup", *RATIOS))
    speedup = baseline.evaluation.seconds[0] / group.evaluation.seconds[0]
    ratios = baseline_ratios(compared_columns(group), compared_columns(baseline))
    found = {name: float(ratio[0]) for name, ratio in ratios.items()}
    return {"baseline": baseline.machine.name, "speedup": float(speedup)} | found


def _scalar(value: Any) -> Any:  # noqa: ANN401
    return value.item() if hasattr(value, "item") else value
