"""The scorecard of a study: every claim beside what the simulation gives, and a summary of it.

A claim holds if |simulated / claimed - 1| is within its tolerance; one without tolerance is shown and not judged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.errors import ConfigError
from dse.studies.study_claims import unit_factor
from dse.studies.study_file import resolved
from dse.studies.study_values import si_unit, value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dse.errors import Problem
    from dse.studies.study_claims import Claim
    from dse.studies.study_file import StudyFile
    from dse.studies.study_values import Measured


ROUNDING = 1e-12
NO_RESULT = "no result"


@dataclass(frozen=True, slots=True)
class Score:
    """A claim and the simulated value in the claim's unit; NaN where a design point is infeasible."""

    claim: Claim
    simulated: float

    @property
    def relative_error(self) -> float:
        """Simulated / claimed - 1; NaN where it is not defined."""
        claimed = self.claim.claimed
        if claimed == 0.0:
            return 0.0 if self.simulated == 0.0 else math.nan
        return self.simulated / claimed - 1.0

    @property
    def ok(self) -> bool | None:
        """Whether the claim holds; None if it has no tolerance."""
        tolerance = self.claim.tolerance
        return None if tolerance is None else abs(self.relative_error) <= tolerance

    def row(self) -> dict[str, object]:
        """The score as one row of a scorecard; null for a number that is not there."""
        claim, error = self.claim, self.relative_error
        return {
            "figure": claim.figure,
            "case": claim.case,
            "metric": claim.metric,
            "claimed": claim.claimed,
            "simulated": _finite(self.simulated),
            "unit": claim.unit,
            "relative_error": _finite(error),
            "tolerance": claim.tolerance,
            "ok": self.ok,
            "note": claim.note,
        }


def score(file: StudyFile, claims: Iterable[Claim], measured: Mapping[str, Measured]) -> list[Score]:
    """Every claim with its simulated value.

    Raises
    ------
    ConfigError
        Every claim that selects nothing, or asks for what the results do not have, in another unit.
    """
    problems: list[Problem] = []
    found = []
    for claim in claims:
        metric = resolved(file, claim.metric)
        factor = unit_factor(claim.unit, si_unit(metric))
        if factor is None:
            wanted = si_unit(metric) or "a plain number"
            problems.append(
                claim.problem(f"'{claim.unit}' does not fit {claim.metric}, which is {wanted}", "unit")
            )
            continue
        try:
            found.append(Score(claim, value(metric, measured[claim.sweep], claim.words) / factor))
        except ConfigError as error:
            problems += [claim.problem(problem.message, "case") for problem in error.problems]
    if problems:
        raise ConfigError(*problems)
    return found


def summary(scores: Sequence[Score]) -> list[dict[str, object]]:
    """One row for each figure, metric and tolerance, in the order of the claims: how many hold, the largest error."""
    groups: dict[str, dict[str, dict[float | None, list[Score]]]] = {}
    for one in scores:
        metrics = groups.setdefault(one.claim.figure, {})
        metrics.setdefault(one.claim.metric, {}).setdefault(one.claim.tolerance, []).append(one)
    return [
        {"figure": figure, "metric": metric, **_summed(tolerance, some)}
        for figure, metrics in groups.items()
        for metric, tolerances in metrics.items()
        for tolerance, some in tolerances.items()
    ]


def brief(score: Score) -> dict[str, object]:
    """One claim in a line for people: values with units, error against tolerance."""
    claim = score.claim
    return {
        "figure": claim.figure,
        "case": claim.case,
        "metric": claim.metric,
        "claimed": f"{claim.claimed:.6g} {claim.unit}",
        "simulated": f"{score.simulated:.4g} {claim.unit}" if math.isfinite(score.simulated) else NO_RESULT,
        "error": shown_error(score.relative_error),
        "tolerance": _shown_tolerance(claim.tolerance),
    }


def markdown(title: str, scores: Sequence[Score]) -> str:
    """The summary, what does not hold and what is not judged, as Markdown."""
    parts = [f"# {title}\n", _table(summary(scores))]
    for heading, state in (("Outside tolerance", False), ("Not judged", None)):
        some = [brief(one) for one in scores if one.ok is state]
        if some:
            parts += [f"\n## {heading}\n", _table(some)]
    return "\n".join(parts)


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _summed(tolerance: float | None, some: Sequence[Score]) -> dict[str, object]:
    errors = [abs(one.relative_error) for one in some]
    held = sum(one.ok is True for one in some)
    return {
        "claims": str(len(some)),
        "largest error": shown_error(max(errors) if all(map(math.isfinite, errors)) else math.nan),
        "tolerance": _shown_tolerance(tolerance),
        "ok": "not judged" if tolerance is None else "all" if held == len(some) else f"{held} of {len(some)}",
    }


def _shown_tolerance(tolerance: float | None) -> str:
    return "none" if tolerance is None else f"{tolerance:g}"


def shown_error(error: float) -> str:
    """A relative error as text; below 1e-12 it is rounding, which differs between computers."""
    if not math.isfinite(error):
        return NO_RESULT
    return f"<{ROUNDING:.0e}" if abs(error) < ROUNDING else f"{error:.1e}"


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
