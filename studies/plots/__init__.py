"""Figures of a sweep in the style of a paper, drawn from its result table alone.

Speedup, utilization, energy breakdown and bandwidth over groups of points; roofline; area against latency.
Every figure comes as PDF and PNG with the plotted numbers as CSV. Importing this package loads neither pandas
nor matplotlib.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dse.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.figure import Figure

KINDS = {
    "speedup": "speedup over the baseline, grouped bars",
    "utilization": "busy fraction of every unit, grouped bars",
    "energy": "energy by component, stacked bars",
    "roofline": "operational intensity against throughput",
    "pareto": "area against latency, with the Pareto front",
    "bandwidth": "average bandwidth of every memory",
}


def draw(
    kind: str,
    results: pd.DataFrame,
    components: pd.DataFrame | None,
    folder: str | Path,
    width: float = 7.0,
    labels: Mapping[str, str] | None = None,
) -> list[Path]:
    """Draw one kind of figure into ``folder``: ``kind.pdf``, ``kind.png``, ``kind.csv``.

    ``width`` is 3.5 (a column) or 7 (a page) inches; ``labels`` gives texts for names in the results.

    Raises
    ------
    ConfigError
        There is no such kind, or the results do not have what it shows; nothing is written then.
    """
    from dse.studies.frames import write_atomic
    from dse.studies.plots.sheet import files_of, styled

    with styled():
        figure, data = build(kind, results, components, width, labels)
        files = files_of(figure)
    files[".csv"] = data.to_csv(index=False, lineterminator="\n").encode()
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{place}: cannot be created ({error.strerror})") from error
    for suffix, content in files.items():
        write_atomic(place / f"{kind}{suffix}", content)
    return [place / f"{kind}{suffix}" for suffix in files]


def draw_all(
    results: pd.DataFrame,
    components: pd.DataFrame | None,
    folder: str | Path,
    width: float = 7.0,
    labels: Mapping[str, str] | None = None,
) -> tuple[list[Path], dict[str, str]]:
    """Draw every kind the results have the numbers for; also returns why the others were left out."""
    paths: list[Path] = []
    omitted: dict[str, str] = {}
    for kind in KINDS:
        try:
            paths += draw(kind, results, components, folder, width, labels)
        except ConfigError as error:
            omitted[kind] = str(error)
    return paths, omitted


def build(
    kind: str,
    results: pd.DataFrame,
    components: pd.DataFrame | None,
    width: float = 7.0,
    labels: Mapping[str, str] | None = None,
) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it; use inside ``sheet.styled``.

    Raises
    ------
    ConfigError
        There is no such kind, or the results do not have what it shows.
    """
    from dse.studies.plots import grouped
    from dse.studies.plots.look import Look
    from dse.studies.plots.pareto import pareto
    from dse.studies.plots.roofline import roofline
    from dse.studies.plots.shape import Shape

    if kind not in KINDS:
        raise ConfigError(f"no plot '{kind}'; there are {', '.join(KINDS)}{nearest(kind, KINDS)}")
    shape = Shape.of(results)
    look = Look.of(shape, labels)
    if kind == "energy":
        return grouped.energy(shape, components, look, width)
    makers = {
        "speedup": grouped.speedup,
        "utilization": grouped.utilization,
        "bandwidth": grouped.bandwidth,
        "roofline": roofline,
        "pareto": pareto,
    }
    return makers[kind](shape, look, width)
