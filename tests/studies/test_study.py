"""Studies as a whole: a small one run into a folder, its scorecard, its figures, and the exit code of the verb."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest

from dse.errors import ConfigError, Place
from dse.studies import study
from dse.studies.study_claims import Claim
from dse.studies.study_score import Score, shown_error, summary
from dse.studies.verbs import study as verb
from tests.studies.study_samples import CLAIMS, PLAIN, STUDY, write

if TYPE_CHECKING:
    from pathlib import Path


def claim(claimed: float, tolerance: float | None) -> Claim:
    return Claim("1", "a machine=b", "m", claimed, "x", tolerance, "made up", "nobody", "", Place("t.csv", 2))


@pytest.mark.parametrize(
    ("claimed", "tolerance", "simulated", "ok"),
    [
        (2.0, 0.5, 3.0, True),
        (2.0, 0.5, 3.0001, False),
        (2.0, 0.5, 1.0, True),
        (2.0, None, 9.0, None),
        (2.0, 0.5, math.nan, False),
        (0.0, 0.5, 0.0, True),
        (0.0, 0.5, 1e-9, False),
    ],
)
def test_a_claim_holds_within_its_tolerance(
    claimed: float, tolerance: float | None, simulated: float, ok: bool | None
) -> None:
    assert Score(claim(claimed, tolerance), simulated).ok is ok


def test_what_is_not_there_is_null_in_a_row() -> None:
    row = Score(claim(2.0, None), math.nan).row()
    assert row["simulated"] is None
    assert row["relative_error"] is None
    assert row["ok"] is None


def test_the_summary_has_a_line_for_each_figure_metric_and_tolerance() -> None:
    scores = [Score(claim(2.0, t), s) for t, s in ((0.5, 3.0), (0.5, 4.0), (None, 2.0), (0.5, 2.0))]
    assert [(row["claims"], row["largest error"], row["ok"]) for row in summary(scores)] == [
        ("3", "1.0e+00", "2 of 3"),
        ("1", "<1e-12", "not judged"),
    ]
    assert shown_error(math.nan) == "no result"


def test_a_study_runs_into_a_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = study.run_study(study.load(str(write(tmp_path / "small"))), out)
    assert found.ok
    assert [score.ok for score in found.scores] == [True] * 6 + [None]
    assert found.scores[-1].relative_error > 1.0
    lines = (out / study.SCORECARD).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "figure,case,metric,claimed,simulated,unit,relative_error,tolerance,ok,note"
    assert len(lines) == 8
    assert (out / "attention" / "results.csv").is_file()
    names = {path.name for path in (out / study.FIGURES).iterdir()}
    assert names == {
        f"{n}.{s}" for n in ("speedups", "shares", "line", "roof") for s in ("pdf", "png", "csv")
    }
    assert names == {path.name for path in found.figures}
    data = (out / study.FIGURES / "speedups.csv").read_text(encoding="utf-8").splitlines()
    assert data[0] == "metric,batch,accounting,machine,workload,sequence,value,claimed"
    head, _, claimed = data[1].rpartition(",")
    assert head.startswith("speedup,64,paper,fusemax,bert,1K,6.64935064935")
    assert float(claimed) == 6.649350649350649


def test_results_are_kept_while_inputs_stay_and_replaced_when_they_change(tmp_path: Path) -> None:
    out, steps = tmp_path / "out", list[int]()
    mine = write(tmp_path / "small", PLAIN)
    study.run_study(study.load(str(mine)), out, steps.append)
    assert steps == [0, 4]
    study.run_study(study.load(str(mine)), out, steps.append)
    assert steps == [0, 4, 4]
    write(mine, PLAIN.replace("[1K, 4K]", "[1K, 4K, 16K]"))
    study.run_study(study.load(str(mine)), out, steps.append)
    assert steps == [0, 4, 4, 0, 6]


def test_results_of_something_else_stay_untouched(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", PLAIN), write(tmp_path / "two", PLAIN)
    out = tmp_path / "out"
    study.run_study(study.load(str(one)), out)
    with pytest.raises(ConfigError, match="holds results of something else"):
        study.run_study(study.load(str(two)), out)


def test_a_wrong_claim_fails_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twice the published speedup: not ok, and exit code 1."""
    wrong = CLAIMS.replace("speedup,6.649350649350649", "speedup,13.298701298701298")
    mine = write(tmp_path / "small", PLAIN, wrong)
    assert verb.study([str(mine)], False, tmp_path / "out", "json") == 1
    rows = json.loads(capsys.readouterr().out)
    assert [row["ok"] for row in rows] == [True, True, False, True, True, True, None]
    assert rows[2]["relative_error"] == pytest.approx(-0.5)
    assert verb.study([str(mine)], False, tmp_path / "out", "table") == 1
    out, err = capsys.readouterr()
    assert "Outside tolerance" in out
    assert "never measured" in out
    assert err.startswith("5 claims hold, 1 do not, 1 are not judged")


def test_right_claims_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = write(tmp_path / "small", PLAIN)
    assert verb.study([str(mine)], False, tmp_path / "out", "csv") == 0
    head, first = capsys.readouterr().out.splitlines()[:2]
    assert head.startswith("study,figure,case,metric,claimed,simulated,unit,relative_error,tolerance,ok")
    assert first.startswith("small,1,attention machine=fusemax workload=bert sequence=1K,latency,")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1K,latency", "2K,latency", "expected.csv:2: case: sweep attention has no sequence '2K'"),
        ("fusemax,mean_speedup", "fusemax,speedup", "expected.csv:5: case: selects 2 points"),
        (
            "0.002013140425531915,s",
            "0.002013140425531915,J",
            "expected.csv:2: unit: 'J' does not fit latency",
        ),
    ],
)
def test_claims_that_select_nothing_name_their_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    mine = write(tmp_path / "small", PLAIN, CLAIMS.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        study.run_study(study.load(str(mine)), tmp_path / "out")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("show: {machine: [fusemax]}", "show: {machin: [fusemax]}", "figure speedups: .*no axis 'machin'"),
        (
            "show: {machine: [fusemax]}",
            "show: {machine: [none]}",
            "figure speedups: no point has machine none",
        ),
        ("units: {energy: mJ}", "units: {energy: s}", "figure line: 's' is no unit of energy"),
    ],
)
def test_figures_that_cannot_be_drawn_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    mine = write(tmp_path / "small", STUDY.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        study.run_study(study.load(str(mine)), tmp_path / "out")


def test_a_study_may_draw_figures_of_its_own(tmp_path: Path) -> None:
    mine = write(tmp_path / "small", PLAIN)
    code = "def draw(file, claims, measured, folder):\n    path = folder / 'own.txt'\n    path.write_text(file.title)\n"
    (mine / "figures.py").write_text(f"{code}    return [path]\n", encoding="utf-8")
    found = study.run_study(study.load(str(mine)), tmp_path / "out")
    assert [path.read_text(encoding="utf-8") for path in found.figures] == ["A small study"]
