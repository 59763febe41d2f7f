"""Bars of a study's metrics in groups by workload, whole or in parts, with the claimed heights marked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dse.studies.plots import bars, grouped
from dse.studies.plots.look import EDGE, Look
from dse.studies.plots.shape import Shape
from dse.studies.plots.sheet import Sheet
from dse.studies.plots.slots import Slots, keys_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dse.studies.study_file import Drawing, StudyFile

METRIC, PART, VALUE, CLAIMED, X = OWN = ("metric", "component", "value", "claimed", "x")
_HEIGHT_IN = 0.95


def draw_bars(table: pd.DataFrame, shown: pd.DataFrame, drawing: Drawing, file: StudyFile) -> Figure:
    """Bars of the rows ``shown``, a panel for each metric; ``table`` has all machines, so that each keeps its look."""
    look = Look.of(_shape(table), file.labels)
    shape = _shape(shown)
    names = shape.names
    rows = shape.table.join(shown[[name for name in OWN if name in shown]])
    facets = [METRIC, *shape.facets] if len(drawing.metrics) > 1 else list(shape.facets)
    panels = grouped.Panels(rows, facets, shape.cells, len(names), drawing.inches)
    claimed = panels.parts
    if drawing.mean is not None:
        panels.add_means(VALUE, drawing.mean)
    parts = list(dict.fromkeys(rows[PART])) if PART in rows else []
    known = {id(part): before for part, before in zip(panels.parts, claimed, strict=True)}
    marks: list[Artist] = []
    relative = any(file.metrics[name].against for name in drawing.metrics)

    def fill(part: pd.DataFrame, ax: Axes) -> Axes:
        if parts:
            bars.stacked_bars(part, ax, VALUE, panels.groups, names, parts, look)
        else:
            bars.grouped_bars(part, ax, VALUE, panels.groups, names, look)
        if relative:
            ax.axhline(1.0, color=EDGE, linewidth=0.6, zorder=2.5)
        marks.append(mark(ax, *_heights(part, known[id(part)], panels.groups, names), "_"))
        return ax

    sheet = Sheet(drawing.inches, len(panels.parts), _HEIGHT_IN)
    panels.draw(sheet, fill, look, len(names), drop=3.0 if parts else 0.0, apart=METRIC)
    legends = [bars.bar_handles(names, look, hatched=not parts)]
    if rows[CLAIMED].notna().any():
        legends[0] = [*legends[0], marks[0]]
    if parts:
        legends.insert(0, bars.part_handles(parts, look))
    return sheet.finish(drawing.ylabel or look.joined(drawing.metrics), legends)


def _shape(table: pd.DataFrame) -> Shape:
    return Shape.of(table.drop(columns=[name for name in OWN if name in table]))


def mark(ax: Axes, x: Sequence[float], y: Sequence[float], shape: str) -> Artist:
    """Marks at published values; the artist serves as their legend entry."""
    (artist,) = ax.plot(
        x, y, shape, color="#c00000", markersize=4.5, markeredgewidth=1.0, zorder=5, clip_on=False,
        label="published",
    )  # fmt: skip
    known = [height for height in y if math.isfinite(height)]
    if known and max(known) > ax.get_ylim()[1]:
        ax.set_ylim(top=1.05 * max(known))
    return artist


def _heights(
    part: pd.DataFrame, claimed: pd.DataFrame, groups: Sequence[str], names: Sequence[str]
) -> tuple[list[float], list[float]]:
    """Middle and claimed height of every bar that has one; of a stack only where all its parts have one."""
    slots = Slots.of(keys_of(part, groups), len(names))
    where = {key: i for i, key in enumerate(slots.keys)}
    totals: dict[tuple[int, int], float] = {}
    keys = zip(*(claimed[name].tolist() for name in groups), strict=True)
    bars_of = zip(keys, claimed["series"], claimed[VALUE], claimed[CLAIMED], strict=True)
    for key, name, value, number in bars_of:
        if value:
            place = where[key], names.index(name)
            totals[place] = totals.get(place, 0.0) + number
    x = [slots.lefts[i] + (k + 0.5) * slots.widths[i] for i, k in totals]
    return x, list(totals.values())
