"""``dse sweep``: all design points of a file's axes, resumable, with table, files and figures."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from dse.errors import ConfigError, InfeasibleError, Problem
from dse.studies.requests import pairs
from dse.studies.store import CSV, Store
from dse.studies.sweep import COMPONENT_POINTS, Plan, content_of, points_of
from dse.studies.sweep_estimate import estimate
from dse.studies.sweep_file import REQUEST_AXES, Part, load_sweep
from dse.studies.tables import emit
from dse.studies.verbs.plot import draw_parts
from dse.studies.workers import run_points

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from dse.studies.grid import Codes
    from dse.studies.sweep import Batch

SHOWN = 1000  # rows of a table on a terminal


def sweep(
    file: str,
    jobs: int,
    out: Path | None,
    fresh: bool,
    plots: bool,
    ledger: bool | None,
    cluster: str | None,
    dry_run: bool,
    format: str,  # noqa: A002
    parameters: list[str],
    changes: list[str],
) -> None:
    """Evaluate every point of a sweep and write its folder.

    Raises
    ------
    ConfigError
        The file or an axis is wrong, or the folder holds another sweep.
    InfeasibleError
        No point is feasible.
    """
    started = time.perf_counter()
    parts, stem = load_sweep(file)
    parts = [with_values(part, parameters, changes) for part in parts]
    content = content_of(parts)
    points = points_of(parts, content)
    with_ledger = len(points) <= COMPONENT_POINTS if ledger is None else ledger
    if dry_run:
        emit([estimate(Plan.of(points), with_ledger, jobs)], format)
        return
    folder = _folder(out, stem)
    names = tuple(dict.fromkeys(name for part in parts for name in part.names))
    with Store.open(folder, content | {"ledger": str(with_ledger).lower()}, fresh=fresh) as store:
        left = points.left(store.finished)
        if len(left):
            _evaluate(store, Plan.of(points), left, with_ledger, jobs, cluster)
        fixed = {part.name: part.axes.set for part in parts}
        kinds = {part.name: part.axes.figures for part in parts}
        meta = {"command": f"dse sweep {file}", "seed": 0, "axes": names, "set": fixed, "figures": kinds}
        rows = store.finish(points.keys, meta, names)
        figures = draw_parts(folder, folder / "figures")[0] if plots else []
    _show(rows, folder, format)
    _closing(rows, folder, len(points) - len(left), figures, time.perf_counter() - started)
    if (rows["status"] == "infeasible").all():
        raise InfeasibleError(f"no point of this sweep is feasible; see {folder}/results.csv")


def with_values(part: Part, parameters: list[str], changes: list[str]) -> Part:
    """A part with values given on the command line: an axis so given has these values (separated by commas).

    Raises
    ------
    ConfigError
        A text that is not key=value, or a value that belongs to the file.
    """
    given = pairs(parameters, "-p") + pairs(changes, "-m")
    fixed: dict[str, str] = dict(part.axes.set)
    lists: dict[str, list[str]] = {}
    for key, value in given:
        if key in part.names:
            lists[key] = [text.strip() for text in value.split(",")]
        elif key in REQUEST_AXES:
            raise ConfigError(Problem("is set by the sweep file", path=key))
        else:
            fixed[key] = value
    return replace(part, axes=part.axes.model_copy(update={"set": fixed, **lists}))


def _folder(out: Path | None, stem: str) -> Path:
    from pathlib import Path

    return Path("results") / stem if out is None else out


def _evaluate(
    store: Store, plan: Plan, numbers: Codes, with_ledger: bool, jobs: int, cluster: str | None
) -> None:
    """Evaluate what is left; on a terminal with a progress bar, the rate and the time left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    started, finished = time.perf_counter(), 0
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("design points", total=len(numbers), rate="")

        def done(batch: Batch) -> None:
            nonlocal finished
            store.add(*batch)
            finished += len(batch.rows)
            rate = finished / (time.perf_counter() - started)
            progress.update(task, completed=finished, rate=f"{rate:,.0f}/s")

        run_points(plan, numbers, with_ledger, done, jobs, cluster)


def _show(rows: pd.DataFrame, folder: Path, form: str) -> None:
    """The results on standard output; of a large sweep's table the first rows only."""
    if form == "csv":
        sys.stdout.write((folder / CSV).read_text(encoding="utf-8"))
        return
    shown = rows.head(SHOWN) if form == "table" else rows
    emit(shown, form)
    if form != "table":
        return
    if len(shown) < len(rows):
        sys.stdout.write(f"... and {len(rows) - len(shown):,} more rows in {folder / CSV}\n")
    sys.stdout.writelines(f"{line}\n" for line in _error_bars(rows))


def _error_bars(rows: pd.DataFrame) -> list[str]:
    """How far each machine's results are known to be from published or measured ones, a line for each that differ."""
    machines: dict[tuple[str, str], list[str]] = {}
    for machine, accounting, bar in rows[["machine", "accounting", "error_bar"]].drop_duplicates().to_numpy():
        if isinstance(bar, str) and bar:
            machines.setdefault((bar, accounting), []).append(machine)
    return [
        f"error of {', '.join(names)}, {accounting}: {bar}" for (bar, accounting), names in machines.items()
    ]


def _closing(rows: pd.DataFrame, folder: Path, kept: int, figures: Sequence[Path], seconds: float) -> None:
    """One line for people: how many points, how long, where."""
    infeasible = int((rows["status"] == "infeasible").sum())
    parts = [f"{len(rows)} design points in {seconds:.1f} s"]
    parts += [f"{kept} kept from an earlier run"] if kept else []
    parts += [f"{infeasible} infeasible"] if infeasible else []
    pictures = len({path.stem for path in figures})
    sys.stderr.write(f"{', '.join(parts)}; results, and {pictures} figures, in {folder}\n")
