"""Simulated against measured latencies: a scatter plot with the diagonal, and relative errors over the latency.

Both take a table with columns ``class``, ``latency_s`` (measured), ``simulated_s``, ``relative_error``, and an Axes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.studies.plots.look import COLOURS, EDGE, FAINT, MARKERS
from dse.studies.plots.marks import entry, label_decades
from dse.studies.plots.sheet import COLUMN_IN, Sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURED, SIMULATED, ERROR = "latency_s", "simulated_s", "relative_error"
COLUMNS = ("class", MEASURED, SIMULATED, ERROR)
BAND = 0.1
_LARGEST = 0.5  # errors beyond are drawn at the edge
_FACTOR = 1.3


def scatter(table: pd.DataFrame, ax: Axes) -> Axes:
    """Simulated over measured seconds on log axes; the diagonal, and lines at 10% error on both sides of it."""
    values = table[[MEASURED, SIMULATED]].to_numpy(dtype=float)
    low, high = values.min() / _FACTOR, values.max() * _FACTOR
    for axis, scale in ((ax.xaxis, ax.set_xscale), (ax.yaxis, ax.set_yscale)):
        scale("log")
        label_decades(axis)
    for factor in (1.0 - BAND, 1.0, 1.0 + BAND):
        style = "-" if factor == 1.0 else ":"
        ax.plot([low, high], [low * factor, high * factor], style, color=FAINT, linewidth=0.7, zorder=2)
    _marks(table, ax, MEASURED, SIMULATED)
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    ax.set_xlabel("Measured latency (s)", labelpad=1)
    return ax


def residuals(table: pd.DataFrame, ax: Axes) -> Axes:
    """Relative error over measured seconds; errors beyond 50% stand at the edge."""
    shown = table.assign(**{ERROR: table[ERROR].clip(-_LARGEST, _LARGEST)})
    ax.set_xscale("log")
    label_decades(ax.xaxis)
    for level in (-BAND, 0.0, BAND):
        ax.axhline(level, linestyle="-" if level == 0.0 else ":", color=FAINT, linewidth=0.7, zorder=2)
    _marks(shown, ax, MEASURED, ERROR)
    ax.set_xlim(shown[MEASURED].min() / _FACTOR, shown[MEASURED].max() * _FACTOR)
    ax.set_ylim(-_LARGEST * 1.05, _LARGEST * 1.05)
    ax.set_xlabel("Measured latency (s)", labelpad=1)
    return ax


def _marks(table: pd.DataFrame, ax: Axes, x: str, y: str) -> None:
    for i, (_, part) in enumerate(table.groupby("class", sort=False)):
        ax.plot(
            part[x], part[y], linestyle="", marker=MARKERS[i % len(MARKERS)], color=COLOURS[i % len(COLOURS)],
            markeredgecolor=EDGE, markeredgewidth=0.2, markersize=2.8, zorder=3,
        )  # fmt: skip


def figure(table: pd.DataFrame, kind: str, width: float = COLUMN_IN) -> Figure:
    """One of the two on a page of its own, with a legend; use inside ``sheet.styled``."""
    sheet = Sheet(width, 1, 2.4 if kind == "scatter" else 1.8)
    sheet.axes[0].grid(visible=True, axis="both")
    draw, label = {
        "scatter": (scatter, "Simulated latency (s)"),
        "residuals": (residuals, "Simulated / measured - 1"),
    }[kind]
    draw(table, sheet.axes[0])
    return sheet.finish(label, [_legend(list(dict.fromkeys(table["class"])))])


def _legend(names: Sequence[str]) -> list[Artist]:
    shape = {"linestyle": "", "markeredgecolor": EDGE, "markeredgewidth": 0.3, "markersize": 4}
    return [
        entry(
            str(name).replace("_", " "),
            marker=MARKERS[i % len(MARKERS)],
            color=COLOURS[i % len(COLOURS)],
            **shape,
        )
        for i, name in enumerate(names)
    ]
