"""``dse codesign``: designs of a sweep file searched for several objectives under limits; front and all trials."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from dse.errors import ConfigError, Problem, nearest
from dse.studies.codesign import ISO, Designs, Limit, check_metrics, search
from dse.studies.codesign_study import open_study
from dse.studies.frames import write_atomic
from dse.studies.store import point_hash
from dse.studies.sweep import Plan, content_of, points_of
from dse.studies.sweep_file import load_sweep
from dse.studies.tables import emit, to_csv
from dse.studies.verbs.sweep import with_values

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dse.studies.codesign import Tried
    from dse.studies.codesign_study import Trials
    from dse.studies.sweep_file import Part

TRIALS, FRONT, STORAGE = "trials.csv", "front.csv", "study.db"


def codesign(
    file: str,
    objective: str,
    limits: list[str],
    iso: list[str],
    sampler: str,
    budget: int,
    population: int,
    seed: int,
    storage: str | None,
    out: Path | None,
    format: str,  # noqa: A002
    parameters: list[str],
    changes: list[str],
) -> None:
    """Search the designs of a sweep file and print the front.

    Raises
    ------
    ConfigError
        The file, an objective or a limit is wrong.
    InfeasibleError
        No design tried can do the work within the limits.
    """
    objectives = [name.strip() for name in objective.split(",")]
    check_metrics(objectives, "--objective")
    parts, stem = load_sweep(file)
    parts = [with_values(part, parameters, changes) for part in parts]
    content = content_of(parts)
    designs = Designs(Plan.of(points_of(parts, content)))
    bounds = [_limit(text) for text in limits] + _iso(iso, parts[0], seed)
    folder = _folder(out, stem)
    identity = {"content": content, "objectives": objectives, "limits": [vars(one) for one in bounds]}
    name = f"{stem} {point_hash(identity)}"
    if storage is None:
        folder.mkdir(parents=True, exist_ok=True)
        storage = f"sqlite:///{folder / STORAGE}"
    trials = open_study(storage, name, sampler, seed, population, len(objectives))
    tried = _searched(designs, trials, objectives, bounds, budget, population)
    _write(folder, designs, tried, objectives, bounds)
    chosen = tried.front(len(objectives), bounds)
    emit([_row(designs, tried, number, objectives, bounds) for number in chosen], format)
    sys.stderr.write(
        f"{len(tried.designs)} of {designs.size} designs tried, {len(chosen)} on the front; trials in {folder}\n"
    )


def _folder(out: Path | None, stem: str) -> Path:
    from pathlib import Path

    return Path("results") / f"{stem}_codesign" if out is None else out


def _limit(text: str) -> Limit:
    """A limit such as ``area_m2<=1.2e-4``.

    Raises
    ------
    ConfigError
        It is none, or of a metric that does not exist.
    """
    metric, sign, number = text.partition("<=")
    check_metrics([metric.strip()], "--limit")
    try:
        most = float(number)
    except ValueError:
        most = float("nan")
    if not sign or not 0 < most < float("inf"):
        raise ConfigError(Problem(f"'{text}' is not metric<=number", path="--limit"))
    return Limit(metric.strip(), most)


def _iso(names: Sequence[str], part: Part, seed: int) -> list[Limit]:
    """Limits at what the baseline of the file has: as much area or bandwidth as it, and no more.

    Raises
    ------
    ConfigError
        The file has no baseline machine, or no source gives the baseline's area.
    """
    wrong = [name for name in names if name not in ISO]
    if wrong:
        known = ", ".join(ISO)
        raise ConfigError(
            *(Problem(f"'{n}' is not one of {known}{nearest(n, ISO)}", path="--iso") for n in wrong)
        )
    if not names:
        return []
    base = part.axes.baseline.get("machine")
    if base is None:
        raise ConfigError(Problem("--iso needs a machine to be equal to", path="sweep.baseline.machine"))
    fixed = {key: value for key, value in part.axes.baseline.items() if "." in key}
    alone = {
        name: [base] if name == "machine" else getattr(part.axes, name) for name in ("machine", "workload")
    }
    kept = tuple(name for name in part.names if "." not in name)
    extra = {k: v for k, v in (part.axes.model_extra or {}).items() if k in kept}
    set_ = {key: value for key, value in part.axes.set.items() if "." not in key} | fixed
    axes = type(part.axes).model_validate({**extra, **alone, "accounting": part.axes.accounting, "set": set_})
    only = type(part)("", axes, tuple(name for name in kept if name != "mapper"))
    base_designs = Designs(Plan.of(points_of([only], {"seed": str(seed)})))
    values = base_designs.measure([(0,) * len(base_designs.axes)], [ISO[name] for name in names])[0]
    unknown = [name for name, value in zip(names, values, strict=True) if not value > 0]
    if unknown:
        raise ConfigError(Problem(f"no source gives the {' and '.join(unknown)} of {base}", path="--iso"))
    return [Limit(ISO[name], float(value)) for name, value in zip(names, values, strict=True)]


def _searched(
    designs: Designs,
    trials: Trials,
    objectives: Sequence[str],
    limits: Sequence[Limit],
    budget: int,
    batch: int,
) -> Tried:
    """The search, on a terminal with a progress bar."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("designs", total=min(budget, designs.size))
        return search(
            designs, trials, objectives, limits, budget, batch, lambda count: progress.advance(task, count)
        )


def _row(
    designs: Designs, tried: Tried, number: int, objectives: Sequence[str], limits: Sequence[Limit]
) -> dict[str, Any]:
    names = [*objectives, *(limit.metric for limit in limits)]
    return {
        **designs.texts(tried.designs[number]),
        **dict(zip(names, map(float, tried.metrics[number]), strict=True)),
    }


def _write(
    folder: Path, designs: Designs, tried: Tried, objectives: Sequence[str], limits: Sequence[Limit]
) -> None:
    """All trials in the order they were tried, and the front."""
    folder.mkdir(parents=True, exist_ok=True)
    fine = set(tried.allowed(len(objectives), limits).tolist())
    every = [
        {**_row(designs, tried, number, objectives, limits), "allowed": number in fine}
        for number in range(len(tried.designs))
    ]
    best = [
        _row(designs, tried, number, objectives, limits) for number in tried.front(len(objectives), limits)
    ]
    for name, rows in ((TRIALS, every), (FRONT, best)):
        write_atomic(folder / name, to_csv(rows).encode())
