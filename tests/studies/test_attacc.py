"""AttAcc's attention layers: every claim of the study that is judged holds, and how closely."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.studies import study
from dse.studies.study_score import score

if TYPE_CHECKING:
    from pathlib import Path

STUDY = study.load("attacc")


def test_every_run_point_holds(tmp_path: Path) -> None:
    names = {claim.sweep for claim in STUDY.claims if claim.figure == "run"}
    claims = [claim for claim in STUDY.claims if claim.figure == "run"]
    files = {"study": STUDY.name}
    measured = {
        name: study.run_sweep(STUDY, name, tmp_path / name, files, lambda _: None) for name in sorted(names)
    }
    scores = score(STUDY.file, claims, measured)
    assert len(scores) == 16
    assert all(one.ok for one in scores)
