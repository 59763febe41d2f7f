"""What machines, workloads and components look like: one colour, hatch and marker in all figures of a sweep.

Colours are Okabe and Ito's, told apart by readers with any colour vision; hatches and markers repeat the
distinction for print without colour. Machines take them in the order in which the results name them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dse.studies.quantities import size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dse.studies.plots.shape import Shape

COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#F0E442", "#999999")
HATCHES = ("", "//////", "......", "\\\\\\\\\\\\", "xxxxxx", "------", "||||||", "++++++")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SHADES = (
    "#eeeeee",
    "#4d4d4d",
    "#bdd7e7",
    "#fdbe85",
    "#b2df8a",
    "#cab2d6",
    "#ffff99",
    "#969696",
    "#fbb4ae",
    "#ccebc5",
)
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
    """Styles and texts by name; a name without a text is shown as it is, without underscores."""

    series: Mapping[str, Style]
    machines: Mapping[str, Style]
    workloads: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, shape: Shape, labels: Mapping[str, str] | None = None) -> Look:
        """Styles for all series of a sweep: colour by machine, hatch and marker by series."""
        machines = list(dict.fromkeys(shape.table["machine"]))
        plain = {name: _style(k, k) for k, name in enumerate(machines)}
        own = shape.table[["series", "machine"]].drop_duplicates("series").itertuples(index=False)
        series = {name: _style(machines.index(machine), i) for i, (name, machine) in enumerate(own)}
        names = dict.fromkeys(shape.table["workload"])
        shapes = {name: MARKERS[k % len(MARKERS)] for k, name in enumerate(names)}
        return cls(series, plain, shapes, labels or {})

    def label(self, value: object) -> str:
        """Text for a name, a size (``64K``) or several names joined by ``, ``."""
        if not isinstance(value, str):
            return size(value)
        if value in self.labels:
            return self.labels[value]
        if ", " in value:
            return ", ".join(self.label(part) for part in value.split(", "))
        return value.replace("_", " ")

    def facet(self, names: Sequence[str], values: Sequence[object]) -> str:
        """Text for a panel: an accounting alone says that it is one."""
        texts = [self.label(value) for value in values]
        return f"{texts[0]} accounting" if list(names) == ["accounting"] else "\n".join(texts)

    def joined(self, values: Iterable[object]) -> str:
        """Texts of several names, one after the other."""
        return ", ".join(self.label(value) for value in values)


def _style(machine: int, series: int) -> Style:
    k = series % len(HATCHES)
    return Style(COLOURS[machine % len(COLOURS)], HATCHES[k], MARKERS[k])
