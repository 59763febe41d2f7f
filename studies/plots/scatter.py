"""What figures with two quantities on log axes share: panels side by side, legend entries, readable ticks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.studies.plots.look import EDGE
from dse.studies.plots.marks import entry, label_decades
from dse.studies.plots.sheet import PAGE_IN, Sheet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from dse.studies.plots.look import Look, Style

_SMALLEST_SPREAD = 5.0
_FEW_DECADES = 2.5
_MOST_POINTS = 20_000
_SPOTS = 400  # marks nearer than this part of an axis hide each other


def panel_sheet(
    table: pd.DataFrame, facets: Sequence[str], width: float, look: Look
) -> tuple[Sheet, list[tuple[str, pd.DataFrame]]]:
    """A page with a panel for each facet, side by side on a page and one above the other in a column."""
    parts = [("", table)]
    if facets:
        groups = table.groupby(list(facets), sort=False)
        parts = [(look.facet(facets, key), part) for key, part in groups]
    columns = min(len(parts), 2) if width >= PAGE_IN else 1
    rows = -(-len(parts) // columns)
    sheet = Sheet(width, rows, 2.0, columns)
    for spare in sheet.axes[len(parts) :]:
        spare.set_axis_off()
    for ax in sheet.axes:
        ax.grid(visible=True, axis="both")
    return sheet, parts


def label_panel(ax: Axes, name: str) -> None:
    """Name a panel above its left corner."""
    if name:
        ax.text(0.0, 1.02, name, transform=ax.transAxes, va="bottom", fontsize=7.5)


def log_axis(ax: Axes, which: str, values: npt.NDArray[np.float64], margin: float = 0.1) -> None:
    """A log axis around the values with readable ticks, or a linear one if they span less than a factor 5.

    Ticks of the y axis have SI prefixes; those of the x axis, whose unit has one already, are plain.
    """
    import numpy as np
    from matplotlib.ticker import LogLocator

    low, high = float(values.min()), float(values.max())
    axis = ax.xaxis if which == "x" else ax.yaxis
    limit = ax.set_xlim if which == "x" else ax.set_ylim
    if high < _SMALLEST_SPREAD * low:
        pad = max(margin * (high - low), 0.02 * high)
        limit(low - pad, high + pad)
        return
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    decades = np.log10(high / low)
    limit(low / 10.0 ** (margin * decades), high * 10.0 ** (margin * decades))
    label_decades(axis, prefixes=which == "y")
    if decades < _FEW_DECADES:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))


def series_handles(names: Sequence[str], styles: Mapping[str, Style], look: Look) -> list[Artist]:
    """Legend entries with colour and marker."""
    shape = {"linestyle": "", "markeredgecolor": EDGE, "markeredgewidth": 0.3, "markersize": 5}
    looks = [styles[name] for name in names]
    return [
        entry(look.label(name), marker=style.marker, color=style.colour, **shape)
        for name, style in zip(names, looks, strict=True)
    ]


def thinned(table: pd.DataFrame, columns: Sequence[str], same: Sequence[str]) -> pd.DataFrame:
    """Of very many rows alike in ``same``, one for each spot that they would print on over log axes.

    Rows with a true column ``front`` all stay.
    """
    import numpy as np

    if len(table) <= _MOST_POINTS:
        return table
    spots = {}
    for i, name in enumerate(columns):
        logs = np.log(table[name].to_numpy())
        spots[f"spot_{i}"] = ((logs - logs.min()) / max(float(np.ptp(logs)), 1e-9) * _SPOTS).astype(int)
    keep = ~table.assign(**spots).duplicated([*same, *spots])
    return table[keep | table["front"] if "front" in table else keep].reset_index(drop=True)
