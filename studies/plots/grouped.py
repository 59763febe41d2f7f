"""Figures over groups of design points: speedup, utilization, energy breakdown, bandwidth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dse.studies.plots.tidy as tables
from dse.errors import ConfigError
from dse.studies.plots import bars
from dse.studies.plots.look import EDGE
from dse.studies.plots.marks import note
from dse.studies.plots.sheet import Sheet
from dse.studies.plots.slots import Slots, keys_of, label_groups
from dse.studies.quantities import quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dse.studies.plots.look import Look
    from dse.studies.plots.shape import Shape

_SMALLEST_BAR_PT = 2.6
_MARGINS_IN = 0.75
_MOST_PANELS = 9
_MOST_SERIES = 12
_MOST_GROUPS = 250


class Panels:
    """A tidy table in panels for a page: one for each facet, and for each block where bars get too thin.

    Raises
    ------
    ConfigError
        The page would be too full to read; says how to reduce it.
    """

    def __init__(
        self, table: pd.DataFrame, facets: Sequence[str], groups: Sequence[str], bars_each: int, width: float
    ) -> None:
        slots = Slots.of([*keys_of(table, groups), ("mean",) * len(groups)], bars_each)
        thin = (width - _MARGINS_IN) * 72.0 / slots.end < _SMALLEST_BAR_PT
        split = thin and len(groups) > 1
        self.apart = [*facets, *groups[:1]] if split else list(facets)
        self.groups = list(groups[1:] if split else groups)
        self.parts = _apart(table, self.apart)
        most = max(len(keys_of(part, self.groups)) for part in self.parts)
        if len(self.parts) > _MOST_PANELS or most * bars_each * 2.0 > width * 72.0:
            raise ConfigError(
                f"{bars_each} bars over {most} groups in {len(self.parts)} panels do not fit {width:g} "
                "inches; select fewer points or a wider figure"
            )

    def name(self, part: pd.DataFrame, look: Look) -> str:
        """Text for the strip beside a panel."""
        return look.facet(self.apart, [part[name].iloc[0] for name in self.apart])

    def add_means(self, value: str, kind: str) -> pd.DataFrame:
        """Give every panel its mean; returns all rows."""
        import pandas as pd

        _feasible(pd.concat(self.parts), value)
        self.parts = [tables.with_mean(part, value, self.groups, kind) for part in self.parts]
        return pd.concat(self.parts, ignore_index=True)

    def draw(
        self,
        sheet: Sheet,
        fill: Callable[[pd.DataFrame, Axes], Axes],
        look: Look,
        bars_each: int,
        drop: float = 0.0,
        apart: str = "",
    ) -> None:
        """Fill every panel and label its strip and groups; equal groups are named once, at the bottom.

        All panels have the same limits, or with ``apart`` those with the same value in that column.
        """
        keys = [keys_of(part, self.groups) for part in self.parts]
        for ax, part in zip(sheet.axes, self.parts, strict=True):
            fill(part, ax)
        alike = [part[apart].iloc[0] if apart in self.apart else "" for part in self.parts]
        found = [ax.get_ylim() for ax in sheet.axes]
        for i, (ax, part) in enumerate(zip(sheet.axes, self.parts, strict=True)):
            here = [limits for limits, kind in zip(found, alike, strict=True) if kind == alike[i]]
            ax.set_ylim(min(low for low, _ in here), max(high for _, high in here))
            slots = Slots.of(keys[i], bars_each)
            again = i + 1 < len(keys) and keys[i + 1] == keys[i]
            label_groups(ax, slots, look, drop, bare=again)
            ax.text(
                1.008,
                0.5,
                self.name(part, look),
                transform=ax.transAxes,
                rotation=270,
                va="center",
                fontsize=7,
            )


def _apart(table: pd.DataFrame, names: Sequence[str]) -> list[pd.DataFrame]:
    """The rows by the values of the columns, the first column varying slowest, in order of appearance."""
    if not names:
        return [table]
    return [inner for _, part in table.groupby(names[0], sort=False) for inner in _apart(part, names[1:])]


def _feasible(table: pd.DataFrame, value: str) -> None:
    if not table[value].notna().any():
        raise ConfigError("no feasible design point to plot")


def _readable(shape: Shape) -> None:
    """Refuse sweeps far too large for bars before any work is done on them."""
    if len(shape.names) > _MOST_SERIES or shape.groups > _MOST_GROUPS:
        raise ConfigError(
            f"{len(shape.names)} designs over {shape.groups} workloads are too many for one figure "
            f"(at most {_MOST_SERIES} and {_MOST_GROUPS}); select fewer points"
        )


def speedup(
    shape: Shape, look: Look, width: float, mean: str = tables.GEOMEAN
) -> tuple[Figure, pd.DataFrame]:
    """Speedup over the baseline as grouped bars with their mean."""
    _readable(shape)
    table, names = tables.speedup(shape)
    panels = Panels(table, shape.facets, shape.cells, len(names), width)
    table = panels.add_means("speedup", mean)
    limits = (float(table["speedup"].min()), float(table["speedup"].max()))

    def fill(part: pd.DataFrame, ax: Axes) -> Axes:
        bars.grouped_bars(part, ax, "speedup", panels.groups, names, look, limits, origin=1.0)
        ax.axhline(1.0, color=EDGE, linewidth=0.6, zorder=2.5)
        return ax

    sheet = Sheet(width, len(panels.parts), 0.95)
    panels.draw(sheet, fill, look, len(names))
    return sheet.finish(f"Speedup{_over(shape, look)}", [bars.bar_handles(names, look)]), table


def utilization(shape: Shape, look: Look, width: float) -> tuple[Figure, pd.DataFrame]:
    """Utilization of every unit as grouped bars, one panel for each unit."""
    _readable(shape)
    table = tables.utilization(shape)
    names = shape.names
    panels = Panels(table, ["unit", *shape.facets], shape.cells, len(names), width)
    table = panels.add_means("utilization", tables.MEAN)

    def fill(part: pd.DataFrame, ax: Axes) -> Axes:
        bars.grouped_bars(part, ax, "utilization", panels.groups, names, look, (0.0, 1.0))
        ax.set_yticks([0.0, 0.5, 1.0])
        return ax

    sheet = Sheet(width, len(panels.parts), 0.62)
    panels.draw(sheet, fill, look, len(names))
    return sheet.finish("Utilization (busy fraction)", [bars.bar_handles(names, look)]), table


def energy(
    shape: Shape, components: pd.DataFrame | None, look: Look, width: float
) -> tuple[Figure, pd.DataFrame]:
    """Energy by component as stacked bars, with the arithmetic mean of the stacks."""
    _readable(shape)
    table, value = tables.energy(shape, components)
    parts = list(dict.fromkeys(table["component"]))
    names = shape.names
    panels = Panels(table, shape.facets, shape.cells, len(names), width)
    table = panels.add_means(value, tables.MEAN)

    def fill(part: pd.DataFrame, ax: Axes) -> Axes:
        bars.stacked_bars(part, ax, value, panels.groups, names, parts, look)
        if value == "energy_ratio":
            ax.axhline(1.0, color=EDGE, linewidth=0.6, zorder=2.5)
        return ax

    sheet = Sheet(width, len(panels.parts), 1.0)
    panels.draw(sheet, fill, look, len(names), drop=3.0)
    legends = [bars.part_handles(parts, look), bars.bar_handles(names, look, hatched=False)]
    text = f"Energy relative{_over(shape, look, 'to')}" if value == "energy_ratio" else "Energy (pJ/FLOP)"
    return sheet.finish(text, legends), table


def bandwidth(shape: Shape, look: Look, width: float) -> tuple[Figure, pd.DataFrame]:
    """Average bandwidth drawn from each memory, with the memory's peak where the results have it."""
    import pandas as pd

    _readable(shape)
    memories = [
        str(n).split(".")[1]
        for n in shape.table
        if str(n).startswith("bandwidth.") and str(n).endswith(".average")
    ]
    if not memories:
        raise ConfigError("results have no column bandwidth.<memory>.average, which this plot shows")
    found = []
    for memory in memories:
        columns = {f"bandwidth.{memory}.{kind}": f"{kind}_byte_per_s" for kind in ("average", "peak")}
        part = tables.by_group(shape, [name for name in columns if name in shape.table])
        part = part.rename(columns=columns)
        part.insert(0, "memory", memory)
        found.append(part)
    table = pd.concat(found, ignore_index=True)
    _feasible(table, "average_byte_per_s")
    names = shape.names
    several = len(memories) > 1
    panels = Panels(table, [*(["memory"] if several else []), *shape.facets], shape.cells, 1, width)
    sheet = Sheet(width, len(panels.parts), 0.95)

    def fill(part: pd.DataFrame, ax: Axes) -> Axes:
        bars.dots(part, ax, "average_byte_per_s", panels.groups, names, look)
        _peaks(part, ax, look)
        return ax

    panels.draw(sheet, fill, look, 1)
    legend: list[Artist] = bars.line_handles(names, look)
    text = "Average bandwidth (B/s)" if several else f"Avg. {look.label(memories[0])} bandwidth (B/s)"
    return sheet.finish(text, [legend]), table


def _peaks(part: pd.DataFrame, ax: Axes, look: Look) -> None:
    """The memory's peak as a dashed line, or one for each series whose memory differs."""
    if "peak_byte_per_s" not in part:
        return
    peaks = part.dropna(subset="peak_byte_per_s").drop_duplicates("peak_byte_per_s")
    for name, peak in zip(peaks["series"], peaks["peak_byte_per_s"], strict=True):
        colour = EDGE if len(peaks) == 1 else look.series[name].colour
        ax.axhline(peak, color=colour, linewidth=0.7, linestyle=(0, (4, 2)), zorder=2)
    if len(peaks):
        ax.set_ylim(top=float(peaks["peak_byte_per_s"].max()) * 6.0)
        text = ", ".join(quantity(peak, "B/s", 3) for peak in peaks["peak_byte_per_s"])
        note(ax, f"peak {text}", (0.008, 0.95), xycoords="axes fraction", va="top")


def _over(shape: Shape, look: Look, word: str = "over") -> str:
    """``over FLAT`` where all points have the same baseline, else nothing is claimed."""
    if "baseline" not in shape.table:
        return ""
    names = shape.table["baseline"].dropna().unique()
    return f" {word} {look.label(str(names[0]))}" if len(names) == 1 else f" {word} the baseline"
