"""Launches of measured rows from traces: the same kernel, at the same parameters and seed, in the interpreter.

For kernels without a description in closed form. A row whose kernel cannot be traced, takes too long, or launched other
grids than the trace is counted with that reason. Not modelled: bf16, which the interpreter does not compute.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

from dse import spec
from dse.errors import DseError, TraceError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dse.workloads.annotation import Annotation
    from dse.workloads.launches import Launch
    from dse.workloads.trace import Value

ROOM = "kernels"


@dataclass
class Tracing:
    """Traces rows one after the other, each for at most ``seconds``, and keeps what could not be traced and why.

    Traces are kept in ``folder``; with 0 seconds only those that are there are used. ``used`` counts rows by kernel,
    ``refused`` rows by kernel and reason.
    """

    seconds: float
    folder: Path
    used: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    _known: dict[str, tuple[Launch, ...] | str] = field(default_factory=dict)

    def launches(self, cells: Mapping[str, Any]) -> tuple[Launch, ...]:
        """Launches of a row, none where it has no trace; ``cells`` are its columns."""
        name = str(cells["kernel"])
        if name not in spec.shipped(ROOM, ".yaml"):
            return self._refuse(name, "no shipped kernel has this name")
        try:
            found = self._traced(name, cells)
            _check_grids(found, str(cells.get("launches", "")))
        except DseError as error:
            return self._refuse(name, str(error))
        self.used[name] += 1
        return found

    def left_out(self) -> list[str]:
        """What could not be traced, for a report."""
        return [f"{count} rows of {name}: {why}" for (name, why), count in self.refused.items()]

    def _refuse(self, name: str, why: str) -> tuple[Launch, ...]:
        self.refused[name, why] += 1
        return ()

    def _traced(self, name: str, cells: Mapping[str, Any]) -> tuple[Launch, ...]:
        """Launches at the row's parameters; rows that differ in the state of the cache are traced once."""
        from dse.workloads.annotation import load_annotation

        annotation = load_annotation(name)
        values = annotation.resolve(_given(annotation, cells))
        seed = int(str(cells.get("seed", "")) or 0)
        key = repr((name, sorted(values.items()), seed))
        if key not in self._known:
            try:
                self._known[key] = self._new(annotation, name, values, seed)
            except DseError as error:
                self._known[key] = str(error)
        found = self._known[key]
        if isinstance(found, str):
            raise TraceError(found)
        return found

    def _new(
        self, annotation: Annotation, name: str, values: Mapping[str, Value], seed: int
    ) -> tuple[Launch, ...]:
        from dse.kernels.trace_cache import kept_trace
        from dse.workloads.trace_part import launches_of, part_of

        part = part_of(annotation, values)

        def say() -> None:
            sys.stderr.write(f"tracing {name} (at most {self.seconds:g} s)\n")

        trace = kept_trace(name, part.values, seed, self.seconds, self.folder, say)
        return launches_of(trace, annotation, part)


def _given(annotation: Annotation, cells: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as the table has them; lengths are joined by + there."""
    texts = {name: str(cells.get(name, "")) for name in annotation.parameters}
    return {
        name: text.replace("+", ",") if annotation.parameters[name].kind == "lengths" else text
        for name, text in texts.items()
        if text
    }


def _check_grids(launches: tuple[Launch, ...], text: str) -> None:
    """Compare blocks with the grids that were measured.

    Raises
    ------
    TraceError
        There are more or fewer launches, or blocks.
    """
    measured = [prod(one["grid"]) for one in json.loads(text)] if text else []
    traced = [round(float(launch.count[0])) for launch in launches]
    if measured and measured != traced:
        raise TraceError(f"the measured launches have {measured} blocks, the traced ones {traced}")
