"""``dse plot``: figures of a finished sweep."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, TypeAlias

from dse import spec
from dse.arch.machine import ROOM as MACHINES
from dse.errors import ConfigError, DseError, Problem, nearest
from dse.studies.plots import KINDS, draw
from dse.studies.store import read
from dse.workloads.model import ROOM as MODELS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

WIDTHS = {"column": 3.5, "page": 7.0}
Task: TypeAlias = "tuple[str, str, pd.DataFrame, pd.DataFrame | None, Path, float, dict[str, str]]"


def plot(results: Path, kinds: list[str], out: Path | None, width: str) -> None:
    """Draw the kinds of figures asked for, or all that the results allow.

    Raises
    ------
    ConfigError
        No results there, or a kind or width that does not exist.
    """
    if width not in WIDTHS:
        raise ConfigError(Problem(f"'{width}' is not one of {', '.join(WIDTHS)}", path="--width"))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ConfigError(
            *(
                Problem(f"no plot '{kind}'; there are {', '.join(KINDS)}{nearest(kind, KINDS)}")
                for kind in unknown
            )
        )
    paths, omitted = draw_parts(results, out or results / "figures", kinds, WIDTHS[width])
    if not paths:
        raise ConfigError(*(Problem(why, path=kind) for kind, why in omitted.items()))
    sys.stderr.writelines(f"no {kind} figure: {why}\n" for kind, why in omitted.items())
    sys.stdout.writelines(f"{path}\n" for path in paths)


def draw_parts(
    results: Path, folder: Path, kinds: Sequence[str] = (), width: float = WIDTHS["page"]
) -> tuple[list[Path], dict[str, str]]:
    """Figures of every part of a sweep, and why others were left out.

    Those of a named part go into a folder of its name. Without ``kinds``, a part gets those its file names, else all.
    """
    rows, details, meta = read(results)
    given = meta.get("figures")
    wanted: dict[str, list[str]] = given if isinstance(given, dict) else {}
    tasks: list[Task] = []
    for part in rows["part"].unique():
        mine = rows[rows["part"] == part]
        ledger = None if details is None else details[details["point"].isin(mine["point"])]
        labels = titles(mine)
        chosen = kinds or wanted.get(part) or KINDS
        tasks += [(part, kind, mine, ledger, folder / part, width, labels) for kind in chosen]
    found: list[Path] = []
    omitted: dict[str, str] = {}
    for (part, kind, *_), (paths, why) in zip(tasks, _all_drawn(tasks), strict=True):
        found += paths
        if why:
            omitted[f"{part} {kind}".strip()] = why
    return found, omitted


def _all_drawn(tasks: Sequence[Task]) -> list[tuple[list[Path], str]]:
    """Figures of all tasks, on two processes where there is more than one of each."""
    if len(tasks) < 2 or (os.cpu_count() or 1) < 2:
        return [_drawn(task) for task in tasks]
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(_drawn, tasks))


def _drawn(task: Task) -> tuple[list[Path], str]:
    """Files of one figure, or why it cannot be drawn."""
    _, kind, rows, details, folder, width, labels = task
    try:
        return draw(kind, rows, details, folder, width, labels), ""
    except ConfigError as error:
        return [], str(error)


def titles(rows: object) -> dict[str, str]:
    """Titles of the machines and models named in result rows; a name without a file keeps its name."""
    import pandas as pd

    assert isinstance(rows, pd.DataFrame)
    found: dict[str, str] = {}
    for column, room in (("machine", MACHINES), ("workload", MODELS)):
        for name in rows[column].unique():
            try:
                tree = spec.resolve(str(name), room).value
            except DseError:
                continue
            if isinstance(tree, dict) and "title" in tree:
                found[str(name)] = str(tree["title"].value)
    return found
