"""What every machine, workload and component looks like: one colour, hatch and marker in all figures of a sweep.

Colours are Okabe and Ito's, told apart by readers with any colour vision; hatches and markers repeat the
distinction for print without colour. Machines take them in the order in which the results name them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dse.studies.quantities import size

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from dse.studies.plots.shape import Shape

COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#F0E442", "#999999")
HATCHES = ("", "//////", "......", "\\\\\\\\\\\\", "xxxxxx", "------", "||||||", "++++++")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SHADES = ("#f7f7f7", "#4d4d4d", "#bdd7e7", "#fdbe85", "#b2df8a", "#cab2d6", "#ffff99", "#969696", "#fbb4ae", "#ccebc5")
EDGE = "#222222"
FAINT = "#777777"


@dataclass(frozen=True, slots=True)
class Style:
    """Appearance of one series."""

    colour: str
    hatch: str
    marker: str


@dataclass(frozen=True, slots=True)
class Look:
    """Styles by series name and texts by name; a name without a text is shown as it is, without underscores."""

    series: Mapping[str, Style]
    workloads: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, shape: Shape, labels: Mapping[str, str] | None = None) -> Look:
        """Styles for all series of a sweep: colour by machine, hatch and marker by series."""
        machines = list(dict.fromkeys(shape.table["machine"]))
        styles: dict[str, Style] = {}
        owners = dict(zip(shape.table["series"], shape.table["machine"], strict=True))
        for i, (name, machine) in enumerate(owners.items()):
            k = machines.index(machine)
            style = Style(COLOURS[k % len(COLOURS)], HATCHES[i % len(HATCHES)], MARKERS[i % len(MARKERS)])
            styles[name] = style
        names = dict.fromkeys(shape.table["workload"])
        return cls(styles, dict(zip(names, MARKERS * len(names), strict=False)), labels or {})

    def label(self, value: object) -> str:
        """Text for a name, a size (``64K``) or several names joined by ``, ``."""
        if not isinstance(value, str):
            return size(value)
        if value in self.labels:
            return self.labels[value]
        if ", " in value:
            return ", ".join(self.label(part) for part in value.split(", "))
        return value.replace("_", " ")
