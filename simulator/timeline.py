"""Timeline of a simulation in the Chrome trace format, which Perfetto (ui.perfetto.dev) opens."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from dse.errors import DseError

if TYPE_CHECKING:
    from pathlib import Path

    from dse.simulator.simulate import Simulation

PROCESS = 1


def trace(simulation: Simulation) -> dict[str, Any]:
    """Trace with a track for each server of a unit and a slice for each step; times in microseconds.

    Parts that were not simulated one by one, as they repeat, stand on a track of their own.

    Raises
    ------
    DseError
        If the simulation recorded nothing.
    """
    if not simulation.slices:
        raise DseError("the simulation has no timeline; simulate with record above 0")
    scale = 1e6 * simulation.seconds / simulation.cycles if simulation.cycles else 0.0
    tracks: dict[tuple[str, int], int] = {}
    events: list[dict[str, Any]] = []
    for piece in sorted(simulation.slices, key=lambda s: (s.unit, s.lane, s.start)):
        track = tracks.setdefault((piece.unit, piece.lane), len(tracks) + 1)
        events.append(
            {
                "name": piece.name,
                "cat": piece.unit,
                "ph": "X",
                "pid": PROCESS,
                "tid": track,
                "ts": piece.start * scale,
                "dur": piece.duration * scale,
                "args": {"iteration": piece.iteration, "cycle": piece.start, "cycles": piece.duration},
            }
        )
    several = {unit for unit, lane in tracks if lane}
    names = [
        {
            "name": "thread_name",
            "ph": "M",
            "pid": PROCESS,
            "tid": track,
            "args": {"name": f"{unit} {lane}" if unit in several else unit},
        }
        for (unit, lane), track in tracks.items()
    ]
    return {"displayTimeUnit": "ns", "traceEvents": [*names, *events]}


def write_trace(simulation: Simulation, path: Path) -> None:
    """Write the timeline as JSON; the file appears whole or not at all."""
    text = json.dumps(trace(simulation))
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
