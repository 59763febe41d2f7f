"""The scorecard of a study: every claim beside what the simulation gives, and a summary of it.

A claim holds if |simulated / claimed - 1| is within its tolerance; one without tolerance is shown and judged neither way.
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
            problems.append(claim.problem(f"'{claim.unit}' does not fit {claim.metric}, which is {wanted}", "unit"))
            continue
        try:
            found.append(Score(claim, value(metric, measured[claim.sweep], claim.words) / factor))
        except ConfigError as error:
            problems += [claim.problem(problem.message, "case") for problem in error.problems]
    if problems:
        raise ConfigError(*problems)
    return found


def summary(scores: Sequence[Score]) -> list[dict[str, object]]:
    """One row for each figure, metric and tolerance: how many claims, the largest error, how many hold."""
    groups: dict[tuple[str, str, float | None], list[Score]] = {}
    for one in scores:
        groups.setdefault((one.claim.figure, one.claim.metric, one.claim.tolerance), []).append(one)
    return [_summed(key, some) for key, some in groups.items()]


def _summed(key: tuple[str, str, float | None], some: Sequence[Score]) -> dict[str, object]:
    figure, metric, tolerance = key
    errors = [abs(one.relative_error) for one in some]
    held = sum(one.ok is True for one in some)
    return {
        "figure": figure,
        "metric": metric,
        "claims": len(some),
        "largest error": shown_error(max(errors) if all(map(math.isfinite, errors)) else math.nan),
        "tolerance": "none" if tolerance is None else f"{tolerance:.2g}",
        "ok": "not judged" if tolerance is None else "all" if held == len(some) else f"{held} of {len(some)}",
    }


def shown_error(error: float) -> str:
    """A relative error as text; below 1e-12 it is rounding, which differs between machines."""
    if not math.isfinite(error):
        return "no result"
    return "<1e-12" if abs(error) < 1e-12 else f"{error:.1e}"


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
