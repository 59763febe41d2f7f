"""One metric of a study over another on log axes, a line for each value of an axis, claimed values marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.studies.plots.look import COLOURS, EDGE, MARKERS
from dse.studies.plots.scatter import log_axis
from dse.studies.plots.sheet import Sheet
from dse.studies.study_bars import CLAIMED, METRIC, VALUE, X, mark

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dse.studies.study_file import Drawing

_HEIGHT_IN = 1.7


def draw_curve(shown: pd.DataFrame, drawing: Drawing, labels: Mapping[str, str]) -> Figure:
    """Lines of the rows ``shown``, a panel for each metric; points of a line stand in the order of x."""
    sheet = Sheet(drawing.inches, len(drawing.metrics), _HEIGHT_IN)
    legend: list[Artist] = []
    for ax, name in zip(sheet.axes, drawing.metrics, strict=True):
        legend = _lines(ax, shown[shown[METRIC] == name], drawing.lines, labels)
    sheet.axes[-1].set_xlabel(drawing.xlabel or str(drawing.x), labelpad=1)
    text = ", ".join(labels.get(name, name) for name in drawing.metrics)
    return sheet.finish(drawing.ylabel or text, [legend])


def _lines(ax: Axes, part: pd.DataFrame, axis: str, labels: Mapping[str, str]) -> list[Artist]:
    """All lines of a panel; returns their legend entries."""
    legend: list[Artist] = []
    for k, (name, line) in enumerate(part.groupby(axis, sort=False)):
        points = line.sort_values(X)
        legend += ax.plot(
            points[X], points[VALUE], color=COLOURS[k % len(COLOURS)], marker=MARKERS[k % len(MARKERS)],
            linewidth=0.8, markersize=3.5, markeredgecolor=EDGE, markeredgewidth=0.3,
            label=labels.get(str(name), str(name)),
        )  # fmt: skip
    if part[CLAIMED].notna().any():
        legend.append(mark(ax, part[X].tolist(), part[CLAIMED].tolist(), "+"))
    log_axis(ax, "x", part[X].to_numpy())
    log_axis(ax, "y", part[VALUE].to_numpy())
    ax.grid(visible=True, axis="both")
    return legend
