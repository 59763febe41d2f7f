"""The studies of processing in memory: every claim, and maxima that are shown and not judged."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest

from dse.studies import study
from dse.studies.study_score import score
from tests.studies.cli_runner import dse

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("name", "judged"), [("duplex", 187), ("attacc", 254)])
def test_every_claim_holds(name: str, judged: int, tmp_path: Path) -> None:
    found = study.load(name)
    files = {"study": found.name}
    measured = {
        sweep: study.run_sweep(found, sweep, tmp_path / sweep, files, lambda _: None)
        for sweep in found.file.sweeps
    }
    scores = score(found.file, found.claims, measured)
    assert [each for each in scores if each.ok is False] == []
    assert sum(each.ok is True for each in scores) >= judged
    assert all(each.claim.note for each in scores if each.ok is None)


def test_one_traced_decode_kernel_on_five_kinds_of_machine(tmp_path: Path) -> None:
    ran = dse("sweep", "decode_machines", "--out", tmp_path / "out")
    assert ran.code == 0, ran.err
    with (tmp_path / "out/results.csv").open(newline="") as file:
        rows = {row["machine"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"h200", "fusemax", "spatten", "attacc_bank", "duplex"}
    for machine, row in rows.items():
        assert row["status"] == "ok"
        for name in ("latency_s", "energy_j", "speedup", "energy_ratio"):
            assert float(row[name]) > 0, (machine, name)
        assert row["bound_by"]
        assert f"{machine}" in ran.out
        assert row["error_bar"] in ran.out
    assert float(rows["h200"]["speedup"]) == 1.0
    assert (tmp_path / "out/figures/roofline.pdf").is_file()
