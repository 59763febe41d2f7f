"""Claims of a study: ``expected.csv``, one published number in each row.

Columns: ``figure`` (where it is printed), ``case`` (sweep and ``key=value`` words selecting design points and, for
metrics of the ledger, its rows), ``metric``, ``claimed``, ``unit``, ``tolerance`` (largest relative error; empty where
the number cannot be reproduced, and ``note`` says why), ``evidence``, ``source``, ``note``.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse import units
from dse.errors import ConfigError, Place, Problem, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from dse.studies.study_file import StudyFile

HEADER = ("figure", "case", "metric", "claimed", "unit", "tolerance", "evidence", "source", "note")
REQUIRED = HEADER[:5] + HEADER[6:8]
PLAIN_UNITS = ("x", "fraction", "cycles", "count")


@dataclass(frozen=True, slots=True)
class Claim:
    """One published number: the points of a sweep and the metric it is about, and how near a result must come."""

    figure: str
    case: str
    metric: str
    claimed: float
    unit: str
    tolerance: float | None
    evidence: str
    source: str
    note: str
    place: Place

    @property
    def sweep(self) -> str:
        """Sweep whose points the case selects."""
        return self.case.split()[0]

    @property
    def words(self) -> dict[str, str]:
        """Values the case selects by axis or ledger key."""
        return dict(word.split("=", 1) for word in self.case.split()[1:])

    def problem(self, message: str, column: str) -> Problem:
        """Something wrong with one column of the claim."""
        return Problem(message, self.place, column)


def load_claims(path: Path, file: StudyFile) -> list[Claim]:
    """All claims of a study, checked against its sweeps and metrics.

    Raises
    ------
    ConfigError
        Every problem of the table, with its line.
    """
    shown = f"{path.parent.name}/{path.name}"
    try:
        with path.open(encoding="utf-8", newline="") as text:
            reader = csv.reader(text)
            header = tuple(next(reader, ()))
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    if header != HEADER:
        raise ConfigError(Problem(f"needs the columns {', '.join(HEADER)}", Place(shown, 1)))
    problems: list[Problem] = []
    claims: dict[tuple[str, str, str], Claim] = {}
    for line, row in rows:
        try:
            claim = _claim(row, Place(shown, line), file)
        except ConfigError as error:
            problems += error.problems
            continue
        key = (claim.figure, claim.case, claim.metric)
        if key in claims:
            problems.append(claim.problem(f"repeats line {claims[key].place.line}", "case"))
        claims[key] = claim
    if problems:
        raise ConfigError(*problems)
    return list(claims.values())


def unit_factor(unit: str, si: str) -> float | None:
    """Size of ``unit`` in the SI unit ``si`` (empty for plain numbers); None where the dimension is another."""
    if unit == si:
        return 1.0
    if not si:
        return 1.0 if unit in PLAIN_UNITS else 0.01 if unit == "%" else None
    try:
        return units.parse_quantity(f"1 {unit}", si).value
    except (ConfigError, KeyError):  # the latter for units that no file has, such as FLOP/B
        return None


def _claim(row: list[str], place: Place, file: StudyFile) -> Claim:
    """The claim of one row."""
    if len(row) != len(HEADER):
        raise ConfigError(Problem(f"has {len(row)} fields, not {len(HEADER)}", place))
    given = dict(zip(HEADER, (field.strip() for field in row), strict=True))
    problems = [Problem("is empty", place, name) for name in REQUIRED if not given[name]]
    problems += [*_numbers(given, place), *_references(given, place, file)]
    if not given["tolerance"] and not given["note"]:
        problems.append(
            Problem("a claim without tolerance says here why it is not reproduced", place, "note")
        )
    if problems:
        raise ConfigError(*problems)
    tolerance = float(given["tolerance"]) if given["tolerance"] else None
    texts = {name: given[name] for name in HEADER if name not in {"claimed", "tolerance"}}
    return Claim(**texts, claimed=float(given["claimed"]), tolerance=tolerance, place=place)


def _numbers(given: Mapping[str, str], place: Place) -> Iterator[Problem]:
    for name in ("claimed", "tolerance"):
        if not given[name]:
            continue
        try:
            value = float(given[name])
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or (name == "tolerance" and value < 0.0):
            yield Problem(f"'{given[name]}' is not a number this column can hold", place, name)


def _references(given: Mapping[str, str], place: Place, file: StudyFile) -> Iterator[Problem]:
    """Sweeps and metrics the study does not have, and words that are not ``key=value``."""
    if given["metric"] and given["metric"] not in file.metrics:
        hint = nearest(given["metric"], file.metrics)
        yield Problem(f"there is no metric '{given['metric']}'{hint}", place, "metric")
    words = given["case"].split()
    if words and words[0] not in file.sweeps:
        yield Problem(f"there is no sweep '{words[0]}'{nearest(words[0], file.sweeps)}", place, "case")
    keys = [word.partition("=")[0] for word in words[1:]]
    for word, key in zip(words[1:], keys, strict=True):
        if not key or word == key or word.endswith("="):
            yield Problem(f"'{word}' is not key=value", place, "case")
    if len(set(keys)) < len(keys):
        yield Problem("a key stands twice", place, "case")
