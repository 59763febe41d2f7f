"""Figures of a study: its metrics with the claimed values marked on them, or a generic plot of a sweep."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import ConfigError
from dse.studies.frames import write_atomic
from dse.studies.plots import draw
from dse.studies.plots.sheet import files_of, styled
from dse.studies.study_bars import CLAIMED, METRIC, PART, VALUE, X, draw_bars
from dse.studies.study_claims import unit_factor
from dse.studies.study_curve import draw_curve
from dse.studies.study_file import CURVE, OWN_KINDS, resolved
from dse.studies.study_values import PART as SWEEP_PART
from dse.studies.study_values import plain, si_unit, values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from dse.simulator.arrays import Array
    from dse.studies.study_claims import Claim
    from dse.studies.study_file import Drawing, StudyFile
    from dse.studies.study_values import Measured


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
        some = [measured[sweep] for sweep in drawing.sweeps]
        try:
            if drawing.kind in OWN_KINDS:
                paths += _own(name, drawing, file, _table(drawing, file, claims, some), folder)
            else:
                paths += _generic(name, drawing, file, some, folder)
        except ConfigError as error:
            raise ConfigError(*(f"figure {name}: {problem}" for problem in error.problems)) from error
    return paths


def _own(name: str, drawing: Drawing, file: StudyFile, table: pd.DataFrame, folder: Path) -> list[Path]:
    """Metrics, with the claims about them."""
    shown = _shown(table, drawing)
    with styled():
        if drawing.kind == CURVE:
            figure = draw_curve(shown, drawing, file.labels)
        else:
            figure = draw_bars(table, shown, drawing, file)
        files = files_of(figure)
    data = shown.dropna(axis="columns", how="all").to_csv(index=False, lineterminator="\n")
    files[".csv"] = data.encode()
    for suffix, content in files.items():
        write_atomic(folder / f"{name}{suffix}", content)
    return [folder / f"{name}{suffix}" for suffix in files]


def _generic(
    name: str, drawing: Drawing, file: StudyFile, some: Sequence[Measured], folder: Path
) -> list[Path]:
    """A plot any sweep can have, under the figure's own name."""
    import pandas as pd

    ledgers = [one.components for one in some if one.components is not None]
    rows = _shown(pd.concat([one.rows for one in some], ignore_index=True), drawing)
    ledger = pd.concat(ledgers, ignore_index=True) if len(ledgers) == len(some) else None
    place = folder / f".{name}"
    made = draw(drawing.kind, rows, ledger, place, drawing.inches, file.labels)
    paths = [path.replace(folder / f"{name}{path.suffix}") for path in made]
    shutil.rmtree(place)
    return paths


def _table(
    drawing: Drawing, file: StudyFile, claims: Sequence[Claim], some: Sequence[Measured]
) -> pd.DataFrame:
    """One row for each bar, part of a bar or mark: the point's values, metric, value, and what is claimed, if it is."""
    import pandas as pd

    rows = (
        row
        for metric in drawing.metrics
        for measured in some
        for part in ([""] if drawing.parts is None else _parts(metric, drawing.parts, file, measured))
        for row in _rows(metric, part, drawing, file, claims, measured)
    )
    return pd.DataFrame(rows)


def _parts(metric: str, key: str, file: StudyFile, measured: Measured) -> list[str]:
    return measured.parts(key, resolved(file, metric).where)


def _rows(
    name: str, part: str, drawing: Drawing, file: StudyFile, claims: Sequence[Claim], measured: Measured
) -> Iterator[dict[str, object]]:
    """Rows of one metric, or of one part of it, at all points of a sweep."""
    own = {drawing.parts: part} if drawing.parts else {}
    found = _every(name, drawing, file, measured, own)
    across = _every(drawing.x, drawing, file, measured, {}) if drawing.x else np.full(len(found), np.nan)
    known = _claimed(name, drawing, file, claims, measured, own)
    for position, point in enumerate(measured.points):
        numbers = {VALUE: found[position], CLAIMED: known[position], X: across[position]}
        values_of = {key: value for key, value in point.items() if key != SWEEP_PART}
        yield {METRIC: name, **values_of, **({PART: part} if part else {}), **numbers}


def _every(name: str, drawing: Drawing, file: StudyFile, measured: Measured, own: Mapping[str, str]) -> Array:
    """A metric at every point of a sweep, in the unit to show."""
    metric = resolved(file, name)
    return values(metric, measured, own)[1] / _shown_unit(name, drawing, file)


def _claimed(
    name: str,
    drawing: Drawing,
    file: StudyFile,
    claims: Sequence[Claim],
    measured: Measured,
    own: Mapping[str, str],
) -> Array:
    """What is claimed of a metric at every point of a sweep, in the unit to show; NaN where nothing is."""
    metric = resolved(file, name)
    found = np.full(len(measured.points), np.nan)
    for claim in claims:
        if claim.metric == name and claim.sweep == measured.name and own.items() <= claim.words.items():
            positions, _ = values(metric, measured, claim.words)
            factor = unit_factor(claim.unit, si_unit(metric))
            if len(positions) == 1 and factor is not None:
                found[positions[0]] = claim.claimed * factor / _shown_unit(name, drawing, file)
    return found


def _shown_unit(name: str, drawing: Drawing, file: StudyFile) -> float:
    """Size of the unit a figure shows a metric in."""
    if name not in drawing.units:
        return 1.0
    factor = unit_factor(drawing.units[name], si_unit(resolved(file, name)))
    if factor is None:
        raise ConfigError(f"'{drawing.units[name]}' is no unit of {name}")
    return factor


def _shown(table: pd.DataFrame, drawing: Drawing) -> pd.DataFrame:
    """The rows to show, in the order the drawing lists values of an axis in."""
    for axis, listed in reversed(drawing.show.items()):
        column = PART if axis == drawing.parts else axis
        if column not in table:
            raise ConfigError(f"there is no axis '{axis}' to show values of")
        order = {plain(value): k for k, value in enumerate(listed)}
        texts = table[column].astype(str).map(plain)
        unknown = set(order) - set(texts)
        if unknown:
            raise ConfigError(f"no point has {axis} {', '.join(sorted(unknown))}")
        places = texts.map(order)
        table = table[places.notna()].iloc[np.argsort(places.dropna().to_numpy(), kind="stable")]
    return table.reset_index(drop=True)
