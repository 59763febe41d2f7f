"""Area against latency of all designs, and which of them no other design beats in both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.errors import ConfigError
from dse.studies.plots.look import EDGE, FAINT
from dse.studies.plots.marks import note
from dse.studies.plots.scatter import label_panel, log_axis, panel_sheet, series_handles, thinned
from dse.studies.plots.shape import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dse.studies.plots.look import Look, Style
    from dse.studies.plots.shape import Shape

    Array = npt.NDArray[np.float64]

_MOST_CELLS = 4  # up to here every workload gets a front of its own
_MOST_NAMES = 8
_MOST_HOLLOW = 1000


def pareto_front(x: npt.ArrayLike, y: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which points no other point beats: none is as small in both coordinates and smaller in one.

    Shape (n,) like ``x`` and ``y``; equal points are on the front together; NaN is never on it.
    """
    import numpy as np

    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    front = np.zeros(xs.shape, dtype=np.bool_)
    there = np.flatnonzero(~(np.isnan(xs) | np.isnan(ys)))
    if there.size == 0:
        return front
    values, place = np.unique(xs[there], return_inverse=True)
    lowest = np.full(values.shape, np.inf)
    np.minimum.at(lowest, place, ys[there])
    before = np.concatenate([[np.inf], np.minimum.accumulate(lowest)[:-1]])
    best = (ys[there] == lowest[place]) & ((ys[there] < before[place]) | (place == 0))
    front[there[best]] = True
    return front


def tidy(shape: Shape) -> pd.DataFrame:
    """Area and latency of every design with whether it is on the front, a front for each facet.

    With more than four workloads the latency is the geometric mean over those that every design can run.
    """
    import pandas as pd

    require(shape.table, ["area_m2", "latency_s"])
    table = shape.table[shape.table["latency_s"].notna() & shape.table["area_m2"].notna()]
    if len(table.drop_duplicates([*shape.designs, "area_m2"])) < 2:
        raise ConfigError("fewer than two designs with area and latency: there is nothing to trade off")
    apart = shape.groups <= _MOST_CELLS
    own = list(dict.fromkeys([*shape.designs, "series", "area_m2"]))
    found = []
    for _, part in table.groupby(list(shape.facets), sort=False) if shape.facets else [((), table)]:
        if apart:
            cells = part.groupby(list(shape.cells), sort=False)
            found += [_marked(cell[[*shape.facets, *shape.cells, *own, "latency_s"]]) for _, cell in cells]
        else:
            found.append(_marked(_averaged(part, shape, own)))
    return thinned(pd.concat(found, ignore_index=True), ["area_m2", "latency_s"], ["machine", "front"])


def _averaged(part: pd.DataFrame, shape: Shape, own: Sequence[str]) -> pd.DataFrame:
    """Geometric mean of the latency over the groups that all designs of one facet can run."""
    import numpy as np

    wide = part.pivot_table(index=list(own), columns=list(shape.cells), values="latency_s", sort=False)
    common = wide.loc[:, wide.notna().all()]
    if common.empty:
        raise ConfigError("no workload runs on every design: there is no common latency to compare")
    logs = np.log(common.to_numpy()).mean(axis=1)
    frame = common.index.to_frame(index=False).assign(latency_s=np.exp(logs))
    for name in shape.facets:
        frame.insert(0, name, part[name].iloc[0])
    return frame.assign(workloads=common.shape[1])


def _marked(part: pd.DataFrame) -> pd.DataFrame:
    return part.assign(front=pareto_front(part["area_m2"], part["latency_s"]))


def front_plot(
    table: pd.DataFrame, ax: Axes, cells: Sequence[str], designs: Sequence[str], look: Look
) -> Axes:
    """Designs over area and latency on log axes, fronts as steps, dominated designs hollow."""
    groups = [name for name in cells if name in table]
    fronts = [part[part["front"]] for _, part in table.groupby(groups, sort=False)] if groups else [table]
    fronts = [part[part["front"]].sort_values("area_m2") for part in fronts]
    for front in fronts:
        x, y = front["area_m2"].to_numpy() * 1e6, front["latency_s"].to_numpy()
        ax.plot(x, y, color=FAINT, linewidth=0.8, drawstyle="steps-post", zorder=1)
        if len(fronts) > 1:
            name = look.joined(front[groups].iloc[0])
            note(ax, name, (float(x[0]), float(y[0])), (-4.0, -2.0), ha="right", va="top")
    highest = max(fronts, key=lambda front: float(front["latency_s"].max()))
    _name_points(ax, highest, [name for name in designs if name != "machine"], look)
    for machine, part in table.groupby("machine", sort=False):
        style = look.machines[str(machine)]
        beaten, front = part[~part["front"]], part[part["front"]]
        crowd = len(table) > _MOST_HOLLOW
        _marks(ax, beaten, style, "." if crowd else style.marker, 1.5 if crowd else 4.0, hollow=not crowd)
        _marks(ax, front, style, style.marker, 3.0 if crowd else 4.0, hollow=False)
    log_axis(ax, "x", table["area_m2"].to_numpy() * 1e6, 0.18)
    log_axis(ax, "y", table["latency_s"].to_numpy())
    return ax


def _marks(ax: Axes, part: pd.DataFrame, style: Style, marker: str, size: float, *, hollow: bool) -> None:
    """Marks of one kind; tiny ones have no edge and are stored as pixels."""
    tiny = size < 2.0
    edge = style.colour if hollow or tiny else EDGE
    ax.plot(
        part["area_m2"] * 1e6, part["latency_s"], linestyle="", marker=marker, markersize=size,
        color="white" if hollow else style.colour, markeredgecolor=edge, zorder=2 if hollow or tiny else 3,
        markeredgewidth=0.8 if hollow else 0.4, rasterized=tiny,
    )  # fmt: skip


def _name_points(ax: Axes, front: pd.DataFrame, designs: Sequence[str], look: Look) -> None:
    """Write what sets the designs of a short front apart beside their marks."""
    if not designs or len(front) > _MOST_NAMES:
        return
    for row in front[["area_m2", "latency_s", *designs]].itertuples(index=False):
        x, y, *values = row
        note(ax, look.joined(values), (x * 1e6, y), (3.0, 3.0), fontsize=6, va="bottom")


def pareto(shape: Shape, look: Look, width: float) -> tuple[Figure, pd.DataFrame]:
    """Area against latency, one panel for each facet."""
    table = tidy(shape)
    sheet, parts = panel_sheet(table, shape.facets, width, look)
    for ax, (name, part) in zip(sheet.axes, parts, strict=False):
        front_plot(part, ax, shape.cells, shape.designs, look)
        label_panel(ax, name)
        ax.set_xlabel("Area (mm²)", labelpad=1)
    mean = (
        "Latency (s)"
        if "workloads" not in table
        else f"Geomean latency of {table['workloads'].iloc[0]} workloads (s)"
    )
    machines = list(dict.fromkeys(table["machine"]))
    return sheet.finish(mean, [series_handles(machines, look.machines, look)]), table
