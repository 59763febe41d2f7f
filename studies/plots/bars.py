"""Bars in groups and stacks, and values as points over the same groups; every function fills one panel.

A tidy table has one row for each bar: the columns that make groups, ``series``, and the value. A value that is not
there (an infeasible design point) is marked by a cross at the foot of its slot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.studies.plots.look import EDGE, FAINT, SHADES
from dse.studies.plots.slots import MEANS, Slots, keys_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from dse.studies.plots.look import Look

    Array = npt.NDArray[np.float64]

_LOG_SPREAD = 50.0  # largest over smallest value from which a linear axis hides the small ones
_LABEL_PT = 6.0


def slots_of(frame: pd.DataFrame, groups: Sequence[str], names: Sequence[str]) -> Slots:
    """Slots for all groups of a table, with a bar for each of the series ``names``."""
    return Slots.of(keys_of(frame, groups), len(names))


def grouped_bars(
    frame: pd.DataFrame,
    ax: Axes,
    value: str,
    groups: Sequence[str],
    names: Sequence[str],
    look: Look,
    limits: tuple[float, float] | None = None,
    origin: float = 0.0,
) -> Axes:
    """Bars of ``value`` side by side in each group; on a log axis from ``origin`` = 1 if values differ much."""
    import numpy as np

    slots = slots_of(frame, groups, names)
    grid = _grid(frame, value, slots, groups, names)
    low, high = limits or (float(np.nanmin(grid)), float(np.nanmax(grid)))
    logarithmic = origin > 0.0 and low > 0.0 and high / min(low, origin) > _LOG_SPREAD
    for k, name in enumerate(names):
        style = look.series[name]
        lefts = np.array(slots.lefts) + k * np.array(slots.widths)
        base = np.full(len(lefts), origin if logarithmic else 0.0)
        _rectangles(ax, lefts, np.array(slots.widths), base, grid[:, k], style.colour, style.hatch)
        _crosses(ax, lefts + np.array(slots.widths) / 2, grid[:, k])
    if logarithmic:
        ax.set_yscale("log")
        ax.set_ylim(min(low, origin) / 1.5, high * 2.0)
    else:
        ax.set_ylim(0.0, high * 1.05)
    _values(ax, slots, grid)
    ax.set_xlim(0.0, slots.end)
    return ax


def stacked_bars(
    frame: pd.DataFrame,
    ax: Axes,
    value: str,
    groups: Sequence[str],
    names: Sequence[str],
    parts: Sequence[str],
    look: Look,
) -> Axes:
    """Bars of ``value`` stacked by ``component`` in each group, with the colour of its machine under each bar."""
    import numpy as np

    slots = slots_of(frame, groups, names)
    widths = np.array(slots.widths)
    grids = [_grid(frame[frame["component"] == part], value, slots, groups, names) for part in parts]
    total = np.zeros((len(slots.keys), len(names)))
    for i, grid in enumerate(grids):
        shade, hatch = part_style(i)
        heights = np.nan_to_num(grid)
        for k in range(len(names)):
            lefts = np.array(slots.lefts) + k * widths
            _rectangles(ax, lefts, widths, total[:, k], total[:, k] + heights[:, k], shade, hatch)
        total += heights
    for k, name in enumerate(names):
        lefts = np.array(slots.lefts) + k * widths
        _chips(ax, lefts, widths, look.series[name].colour)
        _crosses(ax, lefts + widths / 2, np.where(total[:, k] > 0.0, 1.0, np.nan))
    ax.set_ylim(0.0, float(total.max()) * 1.05)
    ax.set_xlim(0.0, slots.end)
    return ax


def dots(
    frame: pd.DataFrame, ax: Axes, value: str, groups: Sequence[str], names: Sequence[str], look: Look
) -> Axes:
    """Values as markers above their group on a log axis, joined within a block of groups."""
    import numpy as np

    slots = slots_of(frame, groups, [names[0]])
    grid = _grid(frame, value, slots, groups, names)
    centres = np.array(slots.centres())
    for k, name in enumerate(names):
        style = look.series[name]
        for _, first, last in slots.blocks():
            part = slice(first, last + 1)
            ax.plot(
                centres[part], grid[part, k], color=style.colour, marker=style.marker, linewidth=0.8,
                markeredgecolor=EDGE, markeredgewidth=0.3, clip_on=False, zorder=3,
            )  # fmt: skip
    ax.set_yscale("log")
    ax.set_xlim(0.0, slots.end)
    return ax


def part_style(i: int) -> tuple[str, str]:
    """Shade and hatch of the component at position ``i`` of a stack."""
    hatches = ("", "", "//////", "", "......", "", "\\\\\\\\\\\\", "", "xxxxxx", "")
    return SHADES[i % len(SHADES)], hatches[i % len(hatches)]


def bar_handles(names: Sequence[str], look: Look, hatched: bool = True) -> list[Artist]:
    """Legend entries of series drawn as bars."""
    from matplotlib.patches import Patch

    styles = [look.series[name] for name in names]
    return [
        Patch(facecolor=s.colour, hatch=s.hatch if hatched else "", edgecolor=EDGE, linewidth=0.4, label=look.label(n))
        for n, s in zip(names, styles, strict=True)
    ]


def part_handles(parts: Sequence[str], look: Look) -> list[Artist]:
    """Legend entries of the components of a stack."""
    from matplotlib.patches import Patch

    styles = [part_style(i) for i in range(len(parts))]
    return [
        Patch(facecolor=shade, hatch=hatch, edgecolor=EDGE, linewidth=0.4, label=look.label(part))
        for part, (shade, hatch) in zip(parts, styles, strict=True)
    ]


def line_handles(names: Sequence[str], look: Look) -> list[Artist]:
    """Legend entries of series drawn as markers on lines."""
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=s.colour, marker=s.marker, markeredgecolor=EDGE, markeredgewidth=0.3, label=look.label(n))
        for n, s in ((name, look.series[name]) for name in names)
    ]


def _grid(frame: pd.DataFrame, value: str, slots: Slots, groups: Sequence[str], names: Sequence[str]) -> Array:
    """Values by group and series, shape (groups, series); NaN where the table has no row or no value."""
    import numpy as np

    rows = {key: i for i, key in enumerate(slots.keys)}
    columns = {name: k for k, name in enumerate(names)}
    grid = np.full((len(rows), len(columns)), np.nan)
    keys = zip(*(frame[name].tolist() for name in groups), strict=True)
    for key, name, number in zip(keys, frame["series"], frame[value], strict=True):
        if name in columns:
            grid[rows[key], columns[name]] = number
    return grid


def _rectangles(
    ax: Axes, lefts: Array, widths: Array, lower: Array, upper: Array, colour: str, hatch: str
) -> None:
    """Many bars of one look as a single artist, which draws far faster than one artist each."""
    import numpy as np
    from matplotlib.collections import PolyCollection

    there = np.isfinite(upper) & (upper != lower)
    x0, x1, y0, y1 = lefts[there], (lefts + widths)[there], lower[there], upper[there]
    corners = np.stack([np.stack([x0, y0], 1), np.stack([x0, y1], 1), np.stack([x1, y1], 1), np.stack([x1, y0], 1)], 1)
    bars = PolyCollection(corners, facecolors=colour, edgecolors=EDGE, linewidths=0.3, zorder=2)
    bars.set_hatch(hatch or None)
    ax.add_collection(bars, autolim=False)


def _crosses(ax: Axes, centres: Array, values: Array) -> None:
    """Mark the slots that have no value."""
    import numpy as np

    missing = centres[~np.isfinite(values)]
    if missing.size:
        foot = np.full(missing.shape, 0.03)
        ax.plot(missing, foot, "x", color=FAINT, markersize=2.5, transform=ax.get_xaxis_transform(), zorder=3)


def _chips(ax: Axes, lefts: Array, widths: Array, colour: str) -> None:
    """A strip of the machine's colour under each of its bars."""
    import numpy as np
    from matplotlib.collections import PolyCollection

    x0, x1 = lefts, lefts + widths
    y0, y1 = np.full_like(x0, -0.055), np.full_like(x0, -0.01)
    corners = np.stack([np.stack([x0, y0], 1), np.stack([x0, y1], 1), np.stack([x1, y1], 1), np.stack([x1, y0], 1)], 1)
    strip = PolyCollection(corners, facecolors=colour, edgecolors="none", transform=ax.get_xaxis_transform())
    strip.set_clip_on(False)
    ax.add_collection(strip, autolim=False)


def _values(ax: Axes, slots: Slots, grid: Array) -> None:
    """Write the value over every bar that is wide enough, and make room for it."""
    import numpy as np

    pitch = slots.pitch(ax)
    wide = [i for i, width in enumerate(slots.widths) if width * pitch >= _LABEL_PT]
    for i in wide:
        for k in range(grid.shape[1]):
            if np.isfinite(grid[i, k]):
                x = slots.lefts[i] + (k + 0.5) * slots.widths[i]
                ax.annotate(
                    f"{grid[i, k]:.2f}", (x, grid[i, k]), xytext=(0, 1.5), textcoords="offset points", rotation=90,
                    ha="center", va="bottom", fontsize=_LABEL_PT, annotation_clip=False,
                )  # fmt: skip
    if wide and ax.get_yscale() == "linear":
        ax.set_ylim(top=max(ax.get_ylim()[1], float(np.nanmax(grid[wide])) * 1.35))
