"""``dse explain``: why a design point takes the time and energy it does, and what would relieve it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.simulator.spatial_array.physical import WINDOW
from dse.studies.levers import levers
from dse.studies.record import evaluate_one, record, refuse_infeasible
from dse.studies.requests import request
from dse.studies.tables import emit, record_table, render, write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dse.studies.batch import Group

TARGET = 0.95
TOP_ROWS = 12


def explain(
    machine: str,
    workload: str,
    parameters: list[str],
    changes: list[str],
    accounting: str,
    mapper: str,
    mapping: str | None,
    options: list[str],
    output: Path | None,
    format: str,  # noqa: A002
) -> None:
    """Print what bounds one design point, where cycles and joules go, and the levers.

    Raises
    ------
    InfeasibleError
        The point cannot exist; its levers are in the message.
    """
    asked = request(machine, workload, parameters, changes, accounting, mapper, mapping, options)
    group = evaluate_one(asked)
    found = explanation(record(asked, group), group)
    if output is not None:
        write(found, output)
    if format == "table" and "infeasible" not in found:
        _print(found)
    else:
        emit(found, format)
    refuse_infeasible(found)


def explanation(point: dict[str, Any], group: Group) -> dict[str, Any]:
    """The record of a point with its path, unit times, energy shares, window and levers."""
    if "infeasible" in point:
        return point
    evaluation = group.evaluation
    total = float(evaluation.cycles[0])
    path = [
        {"part": label, "cycles": float(c[0]), "share": float(c[0]) / total}
        for label, c in evaluation.critical_path
    ]
    units = {
        name: {
            "busy": float(time.busy[0]),
            "stall": {cause: float(c[0]) for cause, c in time.stall.items() if c[0]},
            "idle": float(time.idle[0]),
        }
        for name, time in evaluation.units.items()
    }
    energy = {name: float(j[0]) for name, j in evaluation.ledger.by("component", "joules").items()}
    return point | {
        "critical_path": path,
        "units": units,
        "energy_by_component_j": energy,
        "window": window_report(group),
        "levers": levers(group),
        "conventions": _conventions(group),
    }


def window_report(group: Group) -> dict[str, Any] | None:
    """Tiles in flight, and the smallest number that reaches 95% of the resource bound by event simulation."""
    from dse.simulator.window import smallest_window

    if group.accounting == "paper" or not np.isfinite(group.lowered.facts.window[0]):
        return None
    search = smallest_window(group.lowered.program, WINDOW, fraction=TARGET)
    return {
        "tiles": float(group.lowered.facts.window[0]),
        "smallest_for_95_percent": search.window,
        "bound_cycles_per_tile": search.resource_cycles,
        "simulated_cycles_per_tile": {str(tiles): cycles for tiles, cycles in search.cycles.items()},
    }


def _conventions(group: Group) -> list[str]:
    paper = group.mappings[0].file.paper
    if group.accounting != "paper" or paper is None:
        return [f"physical accounting: {group.mappings[0].file.counts}"]
    return list(paper.why)


def _print(found: dict[str, Any]) -> None:
    out = sys.stdout
    has_clock = bool(np.isfinite(found["cycles"]))
    clocked = f"{found['cycles']:.6g} cycles, " if has_clock else ""
    # Devices of a system have clocks of their own; its cycles are nanoseconds.
    unit = "cycles" if has_clock else "nanoseconds"
    out.write(
        f"{found['workload']} on {found['machine']}, {found['accounting']} accounting, mapping {found['mapping']}:\n"
        f"bound by {found['bound_by']}, {clocked}{found['latency_s']:.6g} s, {found['energy_j']:.6g} J\n\n"
    )
    _section(f"Where the {unit} go", found["critical_path"])
    _section(
        f"What each unit does ({unit})", [_unit_row(name, time) for name, time in found["units"].items()]
    )
    _section("Energy by component", _energy_rows(found["energy_by_component_j"]))
    rows = sorted(found["components"], key=lambda row: -float(row["energy_j"]))[:TOP_ROWS]
    _section("Largest ledger rows", rows)
    if found["window"]:
        window = found["window"]
        _section(
            f"Tiles in flight: {window['tiles']:.0f}; {_needed(window)}",
            [
                {"tiles in flight": int(tiles), "simulated cycles per tile": cycles}
                for tiles, cycles in window["simulated_cycles_per_tile"].items()
            ],
        )
    _section("What would relieve it (each doubled alone)", found["levers"])
    out.write("".join(f"- {line}\n" for line in found["conventions"]))


def _needed(window: dict[str, Any]) -> str:
    """How many tiles in flight are enough, in words."""
    bound, smallest = window["bound_cycles_per_tile"], window["smallest_for_95_percent"]
    if smallest is None:
        return f"no number tried reaches 95% of the bound of {bound:.6g} cycles per tile"
    return f"{smallest} reach 95% of the bound of {bound:.6g} cycles per tile"


def _unit_row(name: str, time: dict[str, Any]) -> dict[str, Any]:
    stall = time["stall"]
    causes = ", ".join(sorted(stall, key=lambda cause: -float(stall[cause])))
    return {
        "unit": name,
        "busy": time["busy"],
        "stall": sum(stall.values()),
        "idle": time["idle"],
        "stalled by": causes,
    }


def _energy_rows(energy: dict[str, float]) -> list[dict[str, Any]]:
    total = sum(energy.values())
    ordered = sorted(energy.items(), key=lambda item: -item[1])
    return [
        {"component": name, "energy_j": joules, "share": joules / total} for name, joules in ordered if joules
    ]


def _section(title: str, rows: Sequence[dict[str, Any]]) -> None:
    sys.stdout.write(f"{title}\n{render(record_table(rows), sys.stdout)}\n")
