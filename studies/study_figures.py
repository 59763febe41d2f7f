"""Figures of a study: its metrics as grouped or stacked bars with the claimed values marked, or a generic plot of a sweep."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import ConfigError
from dse.studies.frames import write_atomic
from dse.studies.plots import bars, draw, grouped
from dse.studies.plots.look import EDGE, Look
from dse.studies.plots.shape import Shape
from dse.studies.plots.sheet import Sheet, save, styled
from dse.studies.plots.slots import Slots, keys_of
from dse.studies.study_claims import unit_factor
from dse.studies.study_file import BARS, STACK, resolved
from dse.studies.study_values import plain, si_unit, values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dse.studies.study_claims import Claim
    from dse.studies.study_file import Drawing, StudyFile
    from dse.studies.study_values import Measured

_HEIGHT_IN = 0.95
_METRIC, _PART, _VALUE, _CLAIMED = _OWN = ("metric", "component", "value", "claimed")


def draw_figures(
    file: StudyFile, claims: Sequence[Claim], measured: Mapping[str, Measured], folder: Path
) -> list[Path]:
    """Every figure of a study as PDF and PNG with its data as CSV.

    Raises
    ------
    ConfigError
        The results do not have what a figure shows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for name, drawing in file.figures.items():
        try:
            paths += _drawn(name, drawing, file, claims, measured, folder)
        except ConfigError as error:
            raise ConfigError(*(f"figure {name}: {problem}" for problem in error.problems)) from error
    return paths


def _drawn(
    name: str,
    drawing: Drawing,
    file: StudyFile,
    claims: Sequence[Claim],
    measured: Mapping[str, Measured],
    folder: Path,
) -> list[Path]:
    if drawing.kind not in (BARS, STACK):
        return _generic(name, drawing, file, measured, folder)
    table = _shown(_table(drawing, file, claims, measured), drawing)
    with styled():
        figure, table = _bars(table, drawing, file)
        paths = save(figure, folder, name)
    paths.append(folder / f"{name}.csv")
    write_atomic(paths[-1], table.to_csv(index=False, lineterminator="\n").encode())
    return paths


def _generic(
    name: str, drawing: Drawing, file: StudyFile, measured: Mapping[str, Measured], folder: Path
) -> list[Path]:
    """A plot any sweep can have, under the figure's own name."""
    import pandas as pd

    some = [measured[sweep] for sweep in drawing.sweeps]
    ledgers = [one.components for one in some if one.components is not None]
    rows = _shown(pd.concat([one.rows for one in some], ignore_index=True), drawing)
    ledger = pd.concat(ledgers, ignore_index=True) if len(ledgers) == len(some) else None
    place = folder / f".{name}"
    made = draw(drawing.kind, rows, ledger, place, float(drawing.width), file.labels)
    paths = [path.replace(folder / f"{name}{path.suffix}") for path in made]
    shutil.rmtree(place)
    return paths


def _table(
    drawing: Drawing, file: StudyFile, claims: Sequence[Claim], measured: Mapping[str, Measured]
) -> pd.DataFrame:
    """One row for each bar or part of one: the point's values, metric, value, and the claimed one if there is any."""
    import pandas as pd

    return pd.DataFrame(
        [
            row
            for metric in drawing.metrics
            for sweep in drawing.sweeps
            for row in _rows(metric, drawing, file, claims, measured[sweep])
        ]
    )


def _rows(
    name: str, drawing: Drawing, file: StudyFile, claims: Sequence[Claim], measured: Measured
) -> Iterator[dict[str, object]]:
    metric = resolved(file, name)
    unit = si_unit(metric)
    parts = measured.parts(drawing.parts, metric.where) if drawing.parts else [""]
    about = [claim for claim in claims if claim.metric == name and claim.sweep == measured.name]
    for part in parts:
        own = {drawing.parts: part} if drawing.parts else {}
        known = {}
        for claim in about:
            positions, _ = values(metric, measured, claim.words)
            if len(positions) == 1 and own.items() <= claim.words.items():
                known[positions[0]] = claim.claimed * (unit_factor(claim.unit, unit) or np.nan)
        positions, found = values(metric, measured, own)
        for position, value in zip(positions, found, strict=True):
            head = {_METRIC: name, **measured.points[position]}
            inner = {_PART: part} if drawing.parts else {}
            yield {**head, **inner, _VALUE: value, _CLAIMED: known.get(position, np.nan)}


def _shown(table: pd.DataFrame, drawing: Drawing) -> pd.DataFrame:
    """The rows to show, in the order the drawing lists values of an axis in."""
    for axis, listed in reversed(drawing.show.items()):
        if axis not in table:
            raise ConfigError(f"there is no axis '{axis}' to show values of")
        order = {plain(value): k for k, value in enumerate(listed)}
        texts = table[axis].astype(str).map(plain)
        unknown = set(order) - set(texts)
        if unknown:
            raise ConfigError(f"no point has {axis} {', '.join(sorted(unknown))}")
        places = texts.map(order)
        table = table[places.notna()].iloc[np.argsort(places.dropna().to_numpy(), kind="stable")]
    return table.reset_index(drop=True)


def _bars(table: pd.DataFrame, drawing: Drawing, file: StudyFile) -> tuple[Figure, pd.DataFrame]:
    """Bars of every metric, a panel for each."""
    own = [name for name in _OWN if name in table]
    shape = Shape.of(table.drop(columns=own))
    look, machines = Look.of(shape, file.labels), shape.names
    full = shape.table.join(table[own])
    width = float(drawing.width)
    facets = [_METRIC, *shape.facets] if len(drawing.metrics) > 1 else list(shape.facets)
    panels = grouped.Panels(full, facets, shape.cells, len(machines), width)
    marks = panels.parts
    if drawing.mean is not None:
        panels.add_means(_VALUE, drawing.mean)
    parts = list(dict.fromkeys(table[_PART])) if drawing.kind == STACK else []
    claimed = {id(part): mark for part, mark in zip(panels.parts, marks, strict=True)}
    relative = any(file.metrics[name].against for name in drawing.metrics)

    def fill(part: pd.DataFrame, ax: Axes) -> Axes:
        if parts:
            bars.stacked_bars(part, ax, _VALUE, panels.groups, machines, parts, look)
        else:
            bars.grouped_bars(part, ax, _VALUE, panels.groups, machines, look)
        if relative:
            ax.axhline(1.0, color=EDGE, linewidth=0.6, zorder=2.5)
        _mark(part, claimed[id(part)], ax, panels.groups, machines)
        return ax

    sheet = Sheet(width, len(panels.parts), _HEIGHT_IN)
    panels.draw(sheet, fill, look, len(machines), drop=3.0 if parts else 0.0)
    legends = [bars.bar_handles(machines, look, hatched=not parts)]
    if parts:
        legends.insert(0, bars.part_handles(parts, look))
    if table[_CLAIMED].notna().any():
        legends[0] = [*legends[0], _mark_handle()]
    ylabel = drawing.ylabel or look.joined(drawing.metrics)
    return sheet.finish(ylabel, legends), table.dropna(axis="columns", how="all")


def _mark(part: pd.DataFrame, claimed: pd.DataFrame, ax: Axes, groups: Sequence[str], names: Sequence[str]) -> None:
    """Mark the claimed height of every bar that has one; that of a stack only where all parts have one."""
    slots = Slots.of(keys_of(part, groups), len(names))
    where = {key: i for i, key in enumerate(slots.keys)}
    totals: dict[tuple[int, int], float] = {}
    keys = zip(*(claimed[name].tolist() for name in groups), strict=True)
    for key, name, value, number in zip(keys, claimed["series"], claimed[_VALUE], claimed[_CLAIMED], strict=True):
        if value:
            place = where[key], names.index(name)
            totals[place] = totals.get(place, 0.0) + number
    x = [slots.lefts[i] + (k + 0.5) * slots.widths[i] for i, k in totals]
    ax.plot(x, list(totals.values()), **_MARK)


_MARK = {"linestyle": "", "marker": "_", "markersize": 4.5, "markeredgewidth": 1.0, "color": "#c00000", "zorder": 5}


def _mark_handle() -> Artist:
    from matplotlib.lines import Line2D

    return Line2D([], [], label="published", **_MARK)


