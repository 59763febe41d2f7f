"""``dse study``: published results beside simulated ones."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dse.studies import study as engine
from dse.studies.study_file import names as shipped
from dse.studies.study_score import brief, summary
from dse.studies.tables import emit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.studies.study_score import Score

OUTSIDE_TOLERANCE = 1
SHOWN = 40


def study(names: list[str], all_: bool, out: Path | None, format: str) -> int:  # noqa: A002
    """Run studies and print claimed against simulated; the exit code is 1 if a claim does not hold.

    Raises
    ------
    ConfigError
        A study is wrong, or there is none of a name.
    """
    started = time.perf_counter()
    studies = [engine.load(name) for name in (shipped() if all_ else names)]
    folders = [_folder(out, one.name, alone=len(studies) == 1) for one in studies]
    outcomes = _run(studies, folders)
    scores = [score for outcome in outcomes for score in outcome.scores]
    if format == "table":
        for outcome in outcomes:
            _print(outcome)
    else:
        rows = [{"study": o.study.name, **score.row()} for o in outcomes for score in o.scores]
        emit(rows, format)
    places = ", ".join(map(str, folders))
    sys.stderr.write(
        f"{_counts(scores)} in {time.perf_counter() - started:.1f} s; tables and figures in {places}\n"
    )
    return 0 if all(outcome.ok for outcome in outcomes) else OUTSIDE_TOLERANCE


def _folder(out: Path | None, name: str, *, alone: bool) -> Path:
    if out is not None and alone:
        return out
    return (Path("results") if out is None else out) / f"study_{name}"


def _run(studies: Sequence[engine.Study], folders: Sequence[Path]) -> list[engine.Outcome]:
    """Run all studies, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        tasks = [progress.add_task(one.name, total=engine.size(one)) for one in studies]
        return [
            engine.run_study(one, folder, partial(progress.advance, task))
            for one, folder, task in zip(studies, folders, tasks, strict=True)
        ]


def _print(outcome: engine.Outcome) -> None:
    """A line for each figure, metric and tolerance, then the claims that do not hold and those not judged."""
    sys.stdout.write(f"{outcome.study.file.title}: claimed against simulated\n")
    emit(summary(outcome.scores), "table")
    for heading, state in (("Outside tolerance", False), ("Not judged", None)):
        some = [score for score in outcome.scores if score.ok is state]
        if some:
            sys.stdout.write(f"{heading}\n")
            emit([brief(score) for score in some[:SHOWN]], "table")
            sys.stdout.write(
                "".join(f"- {note}\n" for note in dict.fromkeys(s.claim.note for s in some) if note)
            )
        if len(some) > SHOWN:
            sys.stdout.write(f"{len(some) - SHOWN} more in {engine.SCORECARD}\n")


def _counts(scores: Sequence[Score]) -> str:
    held, failed = (sum(score.ok is state for score in scores) for state in (True, False))
    open_ = len(scores) - held - failed
    parts = [f"{held} claims hold", f"{failed} do not"]
    return ", ".join(parts + ([f"{open_} are not judged"] if open_ else []))
