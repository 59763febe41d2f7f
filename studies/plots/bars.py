"""Bars in groups and stacks, and values as points over the same groups; every function fills one panel.

A tidy table has one row for each bar: the columns that make groups, ``series``, and the value. A value that
is not there (an infeasible design point) is marked by a cross at the foot of its slot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.studies.plots.look import EDGE, FAINT, SHADES
from dse.studies.plots.marks import entry, label_decades, note, patch, points_of
from dse.studies.plots.slots import Slots, keys_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.path import Path

    from dse.studies.plots.look import Look

    Array = npt.NDArray[np.float64]

_LOG_SPREAD = 50.0  # largest over smallest value from which a linear axis hides the small ones
_LABEL_PT, _FLAT_LABEL_PT = 6.0, 15.0


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
    """Bars of ``value`` side by side in each group, on a log axis from ``origin`` if values differ much."""
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
        label_decades(ax.yaxis)
        ax.set_ylim(min(low, origin) / 1.3, high * 1.3)
    else:
        ax.set_ylim(0.0, high * 1.05)
    _values(ax, slots, grid, origin if logarithmic else 0.0)
    ax.set_xlim(*slots.limits(ax))
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
    """Bars of ``value`` stacked by ``component`` in each group, the colour of its machine under each."""
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
    ax.set_xlim(*slots.limits(ax))
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
    label_decades(ax.yaxis)
    ax.set_xlim(*slots.limits(ax))
    return ax


def part_style(i: int) -> tuple[str, str]:
    """Shade and hatch of the component at position ``i`` of a stack."""
    hatches = ("", "", "//////", "", "......", "", "\\\\\\\\\\\\", "", "xxxxxx", "")
    return SHADES[i % len(SHADES)], hatches[i % len(hatches)]


def bar_handles(names: Sequence[str], look: Look, *, hatched: bool = True) -> list[Artist]:
    """Legend entries of series drawn as bars."""
    styles = [look.series[name] for name in names]
    return [
        patch(look.label(name), style.colour, style.hatch if hatched else "", EDGE)
        for name, style in zip(names, styles, strict=True)
    ]


def part_handles(parts: Sequence[str], look: Look) -> list[Artist]:
    """Legend entries of the components of a stack."""
    return [patch(look.label(part), *part_style(i), EDGE) for i, part in enumerate(parts)]


def line_handles(names: Sequence[str], look: Look) -> list[Artist]:
    """Legend entries of series drawn as markers on lines."""
    edge = {"markeredgecolor": EDGE, "markeredgewidth": 0.3}
    styles = [look.series[name] for name in names]
    return [
        entry(look.label(name), color=style.colour, marker=style.marker, **edge)
        for name, style in zip(names, styles, strict=True)
    ]


def _grid(
    frame: pd.DataFrame, value: str, slots: Slots, groups: Sequence[str], names: Sequence[str]
) -> Array:
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
    """Many bars of one look as one path: its hatch is then rendered once, not once for each bar."""
    import numpy as np
    from matplotlib.patches import PathPatch

    there = np.isfinite(upper) & (upper != lower)
    if there.any():
        path = _boxes(lefts[there], (lefts + widths)[there], lower[there], upper[there])
        bars = PathPatch(path, facecolor=colour, edgecolor=EDGE, linewidth=0.3, hatch=hatch or None, zorder=2)
        ax.add_artist(bars)


def _boxes(x0: Array, x1: Array, y0: Array, y1: Array) -> Path:
    """Closed rectangles as one compound path."""
    import numpy as np
    from matplotlib.path import Path

    corners = np.stack([x0, y0, x0, y1, x1, y1, x1, y0, x0, y0], axis=1).reshape(-1, 2)
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    return Path(corners, codes * len(x0))


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
    from matplotlib.patches import PathPatch

    path = _boxes(lefts, lefts + widths, np.full_like(lefts, -0.055), np.full_like(lefts, -0.01))
    strip = PathPatch(
        path, facecolor=colour, edgecolor="none", transform=ax.get_xaxis_transform(), clip_on=False
    )
    ax.add_artist(strip).set_clip_on(False)


def _values(ax: Axes, slots: Slots, grid: Array, origin: float) -> None:
    """Write the value at the end of every bar that is wide enough, and make room for it."""
    import numpy as np

    pitch = slots.pitch(ax)
    flat = pitch >= _FLAT_LABEL_PT
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.3, "alpha": 0.85}
    style = {"fontsize": _LABEL_PT, "rotation": 0 if flat else 90, "bbox": ground}
    longest = 0
    for i, width in enumerate(slots.widths):
        for k in range(grid.shape[1]) if width * pitch >= _LABEL_PT else ():
            if np.isfinite(grid[i, k]):
                x, up, text = slots.lefts[i] + (k + 0.5) * width, grid[i, k] >= origin, _short(grid[i, k])
                shift = (0.0, 1.5 if up else -1.5)
                note(
                    ax,
                    text,
                    (x, grid[i, k]),
                    shift,
                    va="bottom" if up else "top",
                    ha="center",
                    zorder=4,
                    **style,
                )
                longest = max(longest, len(text))
    if longest:
        _make_room(ax, 8.0 if flat else 0.5 * _LABEL_PT * longest + 3.0, both=origin > 0.0)


def _make_room(ax: Axes, points: float, *, both: bool) -> None:
    """Widen the value axis so that text of this height fits beyond the highest (and the lowest) bar."""
    share = min(0.4, points / points_of(ax)[1])
    low, high = ax.get_ylim()
    if both:
        spread = (high / low) ** (share / (1 - 2 * share))
        ax.set_ylim(low / spread, high * spread)
    else:
        ax.set_ylim(low, low + (high - low) / (1 - share))


def _short(value: float) -> str:
    """Three digits or two decimals, whichever is shorter; three decimals for what would be 0.0."""
    if value >= 9.995:
        return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.0995 else f"{value:.3f}"
