"""The studies of processing in memory: every claim, and maxima that are shown and not judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dse.studies import study
from dse.studies.study_score import score

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("name", "judged"), [("duplex", 187), ("attacc", 174)])
def test_every_claim_holds(name: str, judged: int, tmp_path: Path) -> None:
    found = study.load(name)
    files = {"study": found.name}
    measured = {
        sweep: study.run_sweep(found, sweep, tmp_path / sweep, files, lambda _: None)
        for sweep in found.file.sweeps
    }
    scores = score(found.file, found.claims, measured)
    assert [each for each in scores if each.ok is False] == []
    assert sum(each.ok is True for each in scores) == judged
    assert all(each.claim.note for each in scores if each.ok is None)
