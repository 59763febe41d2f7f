"""Studies: published numbers reproduced from one folder each, without code of their own.

`run_study` evaluates a study's sweeps into result folders, computes every claim's metric, and writes the scorecard
and the figures. Results of unchanged inputs are kept; the study's own results of other inputs are replaced.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.errors import ConfigError
from dse.studies import store, study_file
from dse.studies.fingerprint import fingerprint
from dse.studies.frames import write_atomic
from dse.studies.study_claims import load_claims
from dse.studies.study_score import markdown, score
from dse.studies.study_values import PART, Measured
from dse.studies.sweep import COMPONENT_POINTS, Plan, asked, points_of
from dse.studies.tables import to_csv
from dse.studies.workers import run_points

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from dse.studies.batch import Request
    from dse.studies.study_claims import Claim
    from dse.studies.study_file import StudyFile
    from dse.studies.study_score import Score
    from dse.studies.sweep import Batch
    from dse.studies.sweep_file import Part

SCORECARD, SUMMARY, FIGURES = "scorecard.csv", "scorecard.md", "figures"
_OWNER = "study"


@dataclass(frozen=True)
class Study:
    """A study as read: its folder, its file and its claims."""

    name: str
    folder: Path
    file: StudyFile
    parts: Mapping[str, Sequence[Part]]
    claims: Sequence[Claim]


@dataclass(frozen=True)
class Outcome:
    """A study that was run: results by sweep, the score of every claim, and the figures drawn."""

    study: Study
    measured: Mapping[str, Measured]
    scores: Sequence[Score]
    figures: Sequence[Path] = ()

    @property
    def ok(self) -> bool:
        """Whether every claim that is judged holds."""
        return all(one.ok is not False for one in self.scores)


def load(name: str) -> Study:
    """A study by path or shipped name.

    Raises
    ------
    ConfigError
        No such study, or its files are wrong.
    """
    folder = study_file.folder_of(name)
    file = study_file.load_study(folder)
    claims = load_claims(folder / study_file.CLAIMS, file)
    return Study(folder.resolve().name, folder, file, study_file.parts_of(file), claims)


def run_study(study: Study, folder: Path, done: Callable[[int], object] = lambda points: None) -> Outcome:
    """Run a study and write ``folder``: a result folder for each sweep, the scorecard, the figures.

    ``done`` is told how many more design points are there.

    Raises
    ------
    DseError
        A sweep cannot be evaluated, or a claim asks for what the results do not have.
    """
    files = fingerprint(_all_requests(study)) | {_OWNER: study.name}
    measured = {name: run_sweep(study, name, folder / name, files, done) for name in study.file.sweeps}
    scores = score(study.file, study.claims, measured)
    write_atomic(folder / SCORECARD, to_csv([one.row() for one in scores]).encode())
    write_atomic(folder / SUMMARY, markdown(study.file.title, scores).encode())
    return Outcome(study, measured, scores, _figures(study, measured, folder / FIGURES))


def run_sweep(
    study: Study, name: str, folder: Path, files: Mapping[str, str], done: Callable[[int], object]
) -> Measured:
    """Results of one of a study's sweeps, kept in ``folder``; ``files`` names all they depend on, with hashes."""
    parts = study.parts[name]
    axes = {part.name: {"axes": part.axes.model_dump(), "names": part.names} for part in parts}
    content = {**files, "sweep": store.point_hash(axes)}
    points = points_of(parts, content)

    def add(batch: Batch) -> None:
        results.add(*batch)
        done(len(batch.rows))

    with _store(folder, content) as results:
        left = points.left(results.finished)
        done(len(points) - len(left))
        if len(left):
            run_points(Plan.of(points), left, len(points) <= COMPONENT_POINTS, add)
        if len(left) or not (folder / store.META).exists():
            names = tuple(dict.fromkeys(name for part in parts for name in part.names))
            meta = {"command": f"dse study {study.name}", "seed": 0, "axes": names}
            results.finish(points.keys, meta, names)
    found = store.read(folder)
    fixed = {part.name: part.axes.set for part in parts}
    values = [fixed[part.name] | values | {PART: part.name} for part, values in points.listed()]
    return Measured(name, values, found.rows, found.components)


def size(study: Study) -> int:
    """Design points of a study."""
    return sum(len(points_of(parts, {})) for parts in study.parts.values())


def _all_requests(study: Study) -> list[Request]:
    """What all sweeps and what they are compared with ask for, but for the values on axes."""
    return [request for parts in study.parts.values() for request in asked(parts)]


def _store(folder: Path, content: Mapping[str, str]) -> store.Store:
    """The folder's store, started over if it holds this study's results of other inputs.

    Raises
    ------
    ConfigError
        The folder is in use, or holds anything else.
    """
    owners = [
        json.loads(path.read_text(encoding="utf-8")).get("content", {}).get(_OWNER)
        for path in (folder / store.META, folder / store.JOURNAL / store.META)
        if path.is_file()
    ]
    if owners and owners[0] != content[_OWNER]:
        raise ConfigError(f"{folder}: holds results of something else; choose another --out folder")
    try:
        return store.Store.open(folder, content)
    except ConfigError:
        return store.Store.open(folder, content, fresh=bool(owners))


def _figures(study: Study, measured: Mapping[str, Measured], folder: Path) -> list[Path]:
    """Figures the study file describes, then those of the study's own ``figures.py``, if it has one."""
    from dse.studies.study_figures import draw_figures

    paths = draw_figures(study.file, study.claims, measured, folder)
    own = study.folder / "figures.py"
    if own.is_file():
        spec = importlib.util.spec_from_file_location(f"dse_study_{study.name}_figures", own)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        paths += module.draw(study.file, study.claims, measured, folder)
    return paths
