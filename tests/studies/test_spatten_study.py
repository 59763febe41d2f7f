"""The SpAtten study: its claims, and what its own figures are drawn from."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import pytest

from dse.arch.machine import load_machine
from dse.simulator.spatten.chip import chip_of
from dse.studies import study

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    path = study.load("spatten").folder / "figures.py"
    spec = importlib.util.spec_from_file_location("spatten_figures", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def engine() -> Any:  # noqa: ANN401
    machine: Any = load_machine("spatten")
    return chip_of(machine, 32).engine("scala")


def test_claims_that_are_not_judged_say_why() -> None:
    claims = study.load("spatten").claims
    assert sum(claim.tolerance is not None for claim in claims) == 22
    assert all("not reproducible" in claim.note for claim in claims if claim.tolerance is None)


def test_ties_end_the_search_early(figures: Any, engine: Any) -> None:  # noqa: ANN401
    rows = figures.ties(engine)
    tied, cycles = ([row[name] for row in rows] for name in ("tied", "cycles"))
    assert tied == sorted(tied, reverse=True)
    assert cycles == sorted(cycles)
    assert cycles[-1] < rows[-1]["drawn"]


def test_recorded_streams_take_fewer_cycles_than_drawn_ones(figures: Any, engine: Any) -> None:  # noqa: ANN401
    rows = {row["run"]: row for row in figures.traced(engine)}
    half = rows["64_half"]
    assert 0.5 < half["traced_over_drawn"] < 0.95
    assert half["traced_p50"] <= half["traced_p95"] <= half["traced_max"]
    # Shares 1, 0.9 ... 0.5 of 64 tokens, each layer's queries over its own keys.
    kept = [64, 57, 51, 44, 38, 32]
    assert half["keys_kept"] == pytest.approx(sum(n * n for n in kept) / (6 * 64 * 64))
    assert 0.0 < half["refetched"] < 0.2
    assert half["traced_mean"] != rows["64, rows taken out"]["traced_mean"]


def test_bits_save_most_for_least(figures: Any) -> None:  # noqa: ANN401
    rows = figures.techniques()
    bits = [row for row in rows if row["technique"] == "bits"]
    others = [row for row in rows if row["technique"] in {"tokens", "heads", "values"}]
    assert max(row["output_error"] for row in bits) < min(row["output_error"] for row in others)


@pytest.mark.slow
def test_every_judged_claim_holds_and_all_figures_are_drawn(tmp_path: Path) -> None:
    outcome = study.run_study(study.load("spatten"), tmp_path)
    assert [one.claim.case for one in outcome.scores if one.ok is False] == []
    names = {path.stem for path in outcome.figures}
    assert names == {
        *outcome.study.file.figures, "bounds", "fifo", "traced", "ties", "techniques",
    }  # fmt: skip
