"""FuseMax's published numbers: every claim of the study, and the reads that energies of long sequences hold more."""

from __future__ import annotations

import csv
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from dse.studies import study
from dse.studies.study_claims import HEADER
from dse.studies.study_score import markdown, score
from dse.units import parse_count

if TYPE_CHECKING:
    from pathlib import Path

    from dse.studies.study_score import Score
    from dse.studies.study_values import Measured

MODELS, LENGTHS = ("bert", "trxl", "t5", "xlm"), ("1K", "4K", "16K", "64K", "256K", "1M")
HEADS = {"bert": 12, "trxl": 16, "t5": 8, "xlm": 16}
DEPTHS = {"bert": 64, "trxl": 64, "t5": 64, "xlm": 128}
BATCH, TILE = 64, 256
STUDY = study.load("fusemax")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Measured]:
    folder: Path = tmp_path_factory.mktemp("fusemax")
    files = {"study": STUDY.name}
    return {
        name: study.run_sweep(STUDY, name, folder / name, files, lambda _: None) for name in STUDY.file.sweeps
    }


@pytest.fixture(scope="module")
def scores(measured: dict[str, Measured]) -> list[Score]:
    return score(STUDY.file, STUDY.claims, measured)


def test_every_claim_that_is_judged_holds(scores: list[Score]) -> None:
    assert [one.row() for one in scores if one.ok is False] == []
    assert Counter(one.ok for one in scores) == {True: 2518, None: 22}


def test_all_figures_and_cells_are_claimed() -> None:
    figures = {claim.figure for claim in STUDY.claims}
    wanted = {"fig6a", "fig6b", "fig7", "fig8", "fig9", "fig10", "fig11", "fig12", "headline", "abstract"}
    assert wanted <= figures
    for figure, metric in (("fig6a", "util_1d"), ("fig6b", "util_2d"), ("attention data", "latency")):
        cases = {c.case for c in STUDY.claims if (c.figure, c.metric) == (figure, metric)}
        assert len(cases) == 5 * len(MODELS) * len(LENGTHS)


def test_tolerances_are_those_stated() -> None:
    """Exact where no note says otherwise; energies 1e-4."""
    for claim in STUDY.claims:
        if claim.tolerance is not None and not claim.note and claim.figure not in {"headline", "abstract"}:
            assert claim.tolerance == (1e-4 if "energy" in claim.metric else 1e-9)


def test_the_table_is_well_formed() -> None:
    with (STUDY.folder / "expected.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == HEADER
    assert {row["evidence"] for row in rows} == {"stored output", "derived", "derived, 4 digits", "printed"}
    assert all(row["note"] for row in rows if not row["tolerance"])
    assert "MIT License" in (STUDY.folder / "LICENSE.txt").read_text(encoding="utf-8")


def test_the_readme_shows_the_scorecard(scores: list[Score]) -> None:
    """If this fails, copy results/study_fusemax/scorecard.md, as `dse study fusemax` writes it, into README.md."""
    text = (STUDY.folder / "README.md").read_text(encoding="utf-8")
    shown = text.partition("<!-- scorecard -->\n")[2].partition("<!-- end of scorecard -->")[0]
    judged, heading, physical = shown.partition("### Not judged")
    made, _, physical_now = markdown(STUDY.file.title, scores).partition("\n\n")[2].partition("## Not judged")
    assert heading
    assert judged.splitlines() == made.splitlines()
    for written, now in zip(cells(physical), cells(physical_now), strict=True):
        assert written[:4] == now[:4]
        assert float(written[4].split()[0]) == pytest.approx(float(now[4].split()[0]), rel=0.01)


def cells(table: str) -> list[list[str]]:
    """Cells of a Markdown table's rows, without its head."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_first_reads_that_are_counted_are_those_a_narrow_counter_loses(measured: dict[str, Measured]) -> None:
    """Numerators of FuseMax, 43 bits: none are lost at 64K, two thirds at 256K with BERT's 12 heads, else all."""
    attention = measured["attention"]
    surplus = attention.ledger("count", {"component": "global_buffer", "einsum": "SLNV", "tensor": "SLNV"})
    updates = {
        (model, keys): BATCH * HEADS[model] * (parse_count(keys) // TILE) * parse_count(keys) * DEPTHS[model]
        for model in MODELS
        for keys in LENGTHS
    }
    for (model, keys), count in updates.items():
        (place,) = attention.select({"machine": "fusemax", "workload": model, "sequence": keys})
        share = 2 / 3 if (model, keys) == ("bert", "256K") else float(keys in {"256K", "1M"})
        assert surplus[place] == pytest.approx(share * count)


@pytest.mark.parametrize(("sweep", "stored"), [("attention", 0.7875), ("layer", 0.8335)])
def test_energies_have_the_published_means(scores: list[Score], sweep: str, stored: float) -> None:
    metric = f"{sweep} machine=fusemax", "mean_energy_vs_flat"
    found = [one.simulated for one in scores if (one.claim.case, one.claim.metric) == metric]
    assert found == [pytest.approx(stored, abs=1e-4)] * 2
