"""Rooflines: throughput that compute and memory bandwidth allow, and where the design points lie below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dse.errors import ConfigError
from dse.studies.plots.look import EDGE
from dse.studies.plots.marks import entry, label_decades, note, points_of
from dse.studies.plots.scatter import label_panel, panel_sheet, thinned
from dse.studies.plots.shape import require
from dse.studies.quantities import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dse.studies.plots.look import Look
    from dse.studies.plots.shape import Shape

INTENSITY, THROUGHPUT = "operational_intensity_flop_per_byte", "achieved_flop_per_s"
_MOST_ROOFS, _MOST_JOINED, _LINE_PT = 6, 500, 8.0
PEAK, BANDWIDTH = "peak_flop_per_s", "peak_byte_per_s"


def tidy(shape: Shape) -> pd.DataFrame:
    """Intensity, throughput and roofs of every feasible point; the memory is DRAM where there is one."""
    require(shape.table, [INTENSITY, THROUGHPUT, PEAK])
    peaks = [str(n) for n in shape.table if str(n).startswith("bandwidth.") and str(n).endswith(".peak")]
    if not peaks:
        raise ConfigError("results have no column bandwidth.<memory>.peak, which this plot shows")
    peaks.sort(key=lambda name: name != "bandwidth.dram.peak")
    roof = shape.table[peaks[0]]
    for name in peaks[1:]:
        roof = roof.fillna(shape.table[name])
    names = dict.fromkeys(
        [*shape.facets, "workload", *shape.cells, *shape.designs, "series", INTENSITY, THROUGHPUT, PEAK]
    )
    table = shape.table[list(names)].assign(**{BANDWIDTH: roof})
    table = table.dropna(subset=[INTENSITY, THROUGHPUT, PEAK, BANDWIDTH]).reset_index(drop=True)
    if table.empty:
        raise ConfigError("no feasible design point to plot")
    return thinned(table, [INTENSITY, THROUGHPUT], ["machine", "workload", PEAK, BANDWIDTH, *shape.facets])


def roofline_plot(table: pd.DataFrame, ax: Axes, cells: Sequence[str], look: Look) -> Axes:
    """One panel: roofs with their ridge points, marks by series (colour) and workload (shape).

    Points that differ in the last of ``cells`` only are joined.
    """
    roofs = table.drop_duplicates([PEAK, BANDWIDTH])
    ridges = roofs[PEAK] / roofs[BANDWIDTH]
    low, high = min(table[INTENSITY].min(), ridges.min()) / 3, max(table[INTENSITY].max(), ridges.max()) * 3
    ax.set_xscale("log")
    ax.set_yscale("log")
    label_decades(ax.xaxis)
    label_decades(ax.yaxis)
    ax.set_xlim(low, high)
    floor = min(table[THROUGHPUT].min(), (roofs[BANDWIDTH] * low).min()) / 1.5
    listed = len(roofs) if 1 < len(roofs) <= _MOST_ROOFS else 0.8  # lines of text above the highest roof
    share = (listed + 1) * _LINE_PT / points_of(ax)[1]
    ax.set_ylim(floor, floor * (roofs[PEAK].max() / floor) ** (1 / (1 - share)))
    _draw_roofs(ax, table, look)
    joined = len(table) <= _MOST_JOINED
    trail = [name for name in cells[:-1] if name in table] if joined else []
    for _, part in table.groupby(["series" if joined else "machine", "workload", *trail], sort=False):
        colour, marker = (
            look.machines[part["machine"].iloc[0]].colour,
            look.workloads[part["workload"].iloc[0]],
        )
        ax.plot(
            part[INTENSITY], part[THROUGHPUT], color=colour, marker=marker if joined else ".",
            linestyle="-" if joined else "", linewidth=0.7, markeredgecolor=EDGE if joined else colour,
            markeredgewidth=0.3, markersize=3.5 if joined else 1.5, zorder=3, rasterized=not joined,
        )  # fmt: skip
    return ax


def _draw_roofs(ax: Axes, table: pd.DataFrame, look: Look) -> None:
    """Roofs with peak, slope and ridge point labelled in place; a few are listed in the empty corner."""
    low, high = ax.get_xlim()
    roofs = [part for _, part in table.groupby([PEAK, BANDWIDTH], sort=False)]
    for i, part in enumerate(roofs):
        peak, slope = float(part[PEAK].iloc[0]), float(part[BANDWIDTH].iloc[0])
        shared = len(roofs) == 1 or part["machine"].nunique() > 1
        ridge, colour = peak / slope, EDGE if shared else look.machines[part["machine"].iloc[0]].colour
        ax.plot([low, ridge, high], [low * slope, peak, peak], color=colour, linewidth=1.1, zorder=2)
        ring: dict[str, Any] = {"markeredgecolor": colour, "markeredgewidth": 0.9, "markersize": 3.5}
        ax.plot(ridge, peak, "o", zorder=4, markerfacecolor="white", **ring)
        limits = [quantity(peak, "FLOP/s", 3), quantity(slope, "B/s", 3)]
        limits.append(f"ridge {quantity(ridge, 'FLOP/B', 3)}")
        if len(roofs) == 1:
            _label_roof(ax, ridge, peak, limits)
        elif len(roofs) <= _MOST_ROOFS:
            text = f"{_owners(part['series'], look)}: {', '.join(limits)}"
            shift = (0.0, -3.0 - _LINE_PT * i)
            note(ax, text, (0.02, 1.0), shift, xycoords="axes fraction", va="top", color=colour)


def _owners(series: pd.Series[str], look: Look) -> str:
    """Whose roof it is: the one design, what all designs under it have in common, or how many they are."""
    names = list(dict.fromkeys(series))
    if len(names) == 1:
        return look.label(names[0])
    common = [part for part in names[0].split(", ") if all(part in name.split(", ") for name in names)]
    return look.joined(common) if common else f"{len(names)} designs"


def _label_roof(ax: Axes, ridge: float, peak: float, limits: Sequence[str]) -> None:
    import math

    low, high = ax.get_xlim()
    note(ax, limits[0], (high, peak), (-3.0, 2.0), ha="right", va="bottom")
    note(ax, limits[2], (ridge, peak), (-2.0, 3.0), ha="right", va="bottom")
    foot, top = ax.transData.transform([(low, peak * low / ridge), (ridge, peak)])
    angle = math.atan2(top[1] - foot[1], top[0] - foot[0])
    x = low * (ridge / low) ** 0.5
    turned = {"rotation": math.degrees(angle), "rotation_mode": "anchor", "ha": "center"}
    note(ax, limits[1], (x, peak * x / ridge), (-3 * math.sin(angle), 3 * math.cos(angle)), **turned)


def roofline(shape: Shape, look: Look, width: float) -> tuple[Figure, pd.DataFrame]:
    """Roofline plot, one panel for each facet."""
    table = tidy(shape)
    sheet, parts = panel_sheet(table, shape.facets, width, look)
    for ax, (name, part) in zip(sheet.axes, parts, strict=False):
        roofline_plot(part, ax, shape.cells, look)
        label_panel(ax, name)
        ax.set_xlabel("Operational intensity (FLOP/B)", labelpad=1)
    return sheet.finish("Throughput (FLOP/s)", [_machines(table, look), _workloads(table, look)]), table


def _machines(table: pd.DataFrame, look: Look) -> list[Artist]:
    names = dict.fromkeys(table["machine"])
    return [entry(look.label(name), color=look.machines[name].colour, linewidth=2.5) for name in names]


def _workloads(table: pd.DataFrame, look: Look) -> list[Artist]:
    names = dict.fromkeys(table["workload"])
    shape = {"linestyle": "", "markerfacecolor": "white", "markeredgecolor": EDGE}
    marks = [entry(look.label(name), marker=look.workloads[name], **shape) for name in names]
    return marks if len(names) > 1 and len(table) <= _MOST_JOINED else []
