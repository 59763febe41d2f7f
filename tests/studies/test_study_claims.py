"""Tables of claims: every problem with its line and column, and units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dse.errors import ConfigError
from dse.studies.study_claims import load_claims, unit_factor
from dse.studies.study_file import load_study
from tests.studies.study_samples import CLAIMS, write

if TYPE_CHECKING:
    from pathlib import Path

    from dse.studies.study_claims import Claim

GOOD = "1,attention machine=flat sequence=1K,latency,1,s,1e-9,stored,artifact,"


def load(folder: Path, claims: str) -> list[Claim]:
    write(folder, claims=claims)
    return load_claims(folder / "expected.csv", load_study(folder))


def test_a_claim_selects_by_words(tmp_path: Path) -> None:
    claims = load(tmp_path, CLAIMS)
    assert len(claims) == 7
    assert claims[0].sweep == "attention"
    assert claims[0].words == {"machine": "fusemax", "workload": "bert", "sequence": "1K"}
    assert claims[0].tolerance == 1e-9
    assert claims[-1].tolerance is None
    assert str(claims[-1].place).endswith("expected.csv:8")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("latency,1,", "latency,one,", "2: claimed: 'one' is not a number"),
        ("latency,1,", "latency,nan,", "2: claimed: 'nan' is not a number"),
        ("1e-9", "-1", "2: tolerance: '-1' is not a number"),
        ("1e-9", "", "2: note: a claim without tolerance says here why"),
        ("latency,", "latent,", "2: metric: there is no metric 'latent'; did you mean 'latency'"),
        ("attention ", "attentoin ", "2: case: there is no sweep 'attentoin'; did you mean 'attention'"),
        ("sequence=1K", "sequence", "2: case: 'sequence' is not key=value"),
        ("sequence=1K", "machine=flat", "2: case: a key stands twice"),
        ("stored", "", "2: evidence: is empty"),
        (",artifact,", ",artifact", "2: has 8 fields, not 9"),
        ("artifact,", f"artifact,\n{GOOD}", "3: case: repeats line 2"),
    ],
)
def test_errors_name_line_and_column(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, GOOD.replace(old, new, 1) + "\n")


def test_all_problems_come_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, GOOD.replace("1e-9", "x") + "\n" + GOOD.replace("latency", "y") + "\n")
    assert [problem.path for problem in caught.value.problems] == ["tolerance", "metric"]


def test_columns_and_file_must_be_there(tmp_path: Path) -> None:
    file = load_study(write(tmp_path))
    (tmp_path / "expected.csv").write_text("figure,case\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"expected.csv:1: needs the columns figure, case, metric"):
        load_claims(tmp_path / "expected.csv", file)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_claims(tmp_path / "none.csv", file)


@pytest.mark.parametrize(
    ("unit", "si", "factor"),
    [
        ("s", "s", 1.0),
        ("ms", "s", 1e-3),
        ("pJ", "J", 1e-12),
        ("um2", "m2", 1e-12),
        ("um2", "m²", 1e-12),
        ("MiB", "B", 2.0**20),
        ("x", "", 1.0),
        ("%", "", 0.01),
        ("s", "J", None),
        ("x", "s", None),
        ("s", "", None),
    ],
)
def test_units_of_claims(unit: str, si: str, factor: float | None) -> None:
    assert unit_factor(unit, si) == factor
