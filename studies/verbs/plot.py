"""``dse plot``: figures of a finished sweep."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dse import spec
from dse.arch.machine import ROOM as MACHINES
from dse.errors import ConfigError, DseError, Problem
from dse.studies.plots import KINDS, draw
from dse.studies.plots import draw_all as draw_every
from dse.studies.store import read
from dse.workloads.model import ROOM as MODELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

WIDTHS = {"column": 3.5, "page": 7.0}


def plot(results: Path, kinds: list[str], out: Path | None, width: str) -> None:
    """Draw the kinds of figures asked for, or all that the results allow.

    Raises
    ------
    ConfigError
        No results there, or a kind or width that does not exist.
    """
    if width not in WIDTHS:
        raise ConfigError(Problem(f"'{width}' is not one of {', '.join(WIDTHS)}", path="--width"))
    folder = out or results / "figures"
    found = read(results)
    if not kinds:
        paths, omitted = draw_every(found.rows, found.components, folder, WIDTHS[width], titles(found.rows))
        sys.stderr.writelines(f"no {kind} figure: {why}\n" for kind, why in omitted.items())
    else:
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise ConfigError(
                *(Problem(f"no plot '{kind}'; there are {', '.join(KINDS)}") for kind in unknown)
            )
        made = [
            draw(k, found.rows, found.components, folder, WIDTHS[width], titles(found.rows)) for k in kinds
        ]
        paths = [path for group in made for path in group]
    sys.stdout.writelines(f"{path}\n" for path in paths)


def draw_parts(results: Path, folder: Path, kinds: Mapping[str, Sequence[str]]) -> list[Path]:
    """Figures of every part of a sweep: the kinds named for it, else all its results allow.

    Those of a named part go into a folder of its name.
    """
    rows, details, _ = read(results)
    found: list[Path] = []
    for part in rows["part"].unique():
        mine = rows[rows["part"] == part]
        ledger = None if details is None else details[details["point"].isin(mine["point"])]
        place, labels = folder / str(part), titles(mine)
        for kind in kinds.get(str(part), ()):
            found += draw(kind, mine, ledger, place, WIDTHS["page"], labels)
        if not kinds.get(str(part)):
            found += draw_every(mine, ledger, place, WIDTHS["page"], labels)[0]
    return found


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
