"""``dse run``: one design point, in closed form and, where asked, by event simulation."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dse.studies.batch import Resolver
from dse.studies.record import evaluate_one, record, refuse_infeasible
from dse.studies.requests import request
from dse.studies.tables import emit, write

if TYPE_CHECKING:
    from pathlib import Path

    from dse.studies.batch import Group

TIMELINE_SLICES = 20_000


def run(
    machine: str,
    workload: str,
    parameters: list[str],
    changes: list[str],
    accounting: str,
    mapper: str,
    mapping: str | None,
    options: list[str],
    baseline: str | None,
    simulate: bool,
    timeline: Path | None,
    output: Path | None,
    format: str,  # noqa: A002
) -> None:
    """Evaluate one design point and print it.

    Raises
    ------
    InfeasibleError
        The point cannot exist; the record is printed first.
    """
    asked, resolver = (
        request(machine, workload, parameters, changes, accounting, mapper, mapping, options),
        Resolver(),
    )
    group = evaluate_one(asked, resolver)
    other = None
    if baseline is not None:
        other = evaluate_one(
            replace(asked, machine=baseline, mapping=None, options=(), overrides=()), resolver
        )
    found = record(asked, group, other)
    if simulate or timeline is not None:
        found["simulated"] = _simulated(group, timeline)
    if output is not None:
        write(found, output)
    if format == "table":
        _print(found)
    else:
        emit(found, format)
    refuse_infeasible(found)


def _print(found: dict[str, Any]) -> None:
    """The record as a table, its notes below."""
    hidden = ("notes", "versions", "error_bar")
    emit({key: value for key, value in found.items() if key not in hidden}, "table")
    notes = [*found.get("notes", []), *([found["error_bar"]] if found.get("error_bar") else [])]
    sys.stdout.writelines(f"note: {note}\n" for note in notes)


def _simulated(group: Group, timeline: Path | None) -> dict[str, Any]:
    """Event simulation of the point beside its bounds; infeasible points have none."""
    from dse.simulator.simulate import simulate
    from dse.simulator.timeline import write_trace

    if group.evaluation.feasible[0]:
        return {}
    result = simulate(group.lowered.program, record=0 if timeline is None else TIMELINE_SLICES)
    if timeline is not None:
        write_trace(result, timeline)
    units = {
        name: {"busy": time.busy, "stall": time.stall, "idle": time.idle}
        for name, time in result.units.items()
    }
    return {
        "cycles": result.cycles,
        "latency_s": result.seconds,
        "extrapolated": result.extrapolated,
        "units": units,
    }
