"""Co-design: a search that tries every design finds the front of the whole sweep, within limits, and goes on later."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from dse.studies.codesign import SAMPLERS, Designs
from dse.studies.store import read
from dse.studies.sweep import Plan, points_of
from dse.studies.sweep_file import load_sweep
from dse.studies.verbs.sweep import sweep
from tests.studies.cli_runner import dse

if TYPE_CHECKING:
    from pathlib import Path

SPACE = """
title: designs
source: test
sweep:
  sequence: [1K, 4K]
  machine: [fusemax_cacti]
  array_2d.shape: ["[64, 64]", "[128, 128]", "[256, 256]"]
  workload: [bert, xlm]
  global_buffer.capacity: [128 KiB, 256 KiB, 2 MiB, 16 MiB]
  set: {batch: 4}
  baseline: {machine: fusemax_cacti, array_2d.shape: "[128, 128]", global_buffer.capacity: 2 MiB}
"""
AXES = ["array_2d.shape", "global_buffer.capacity"]
OBJECTIVES = ["latency_s", "energy_j", "area_m2"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "designs.yaml"
    path.write_text(SPACE)
    return path


def searched(file: Path, out: Path, *more: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Front and trials of a search."""
    ran = dse("codesign", file, "--out", out, "--population", "6", "--format", "json", *more)
    assert ran.code == 0, ran.err
    found = pd.DataFrame(json.loads(ran.out))
    return found, pd.read_csv(out / "trials.csv")


def expected(file: Path, tmp_path: Path) -> pd.DataFrame:
    """Metrics of every design from a sweep's rows: geometric means over the work, the most area."""
    sweep(str(file), 1, tmp_path / "sweep", False, False, None, None, False, "csv", [], [])
    rows = read(tmp_path / "sweep").rows
    groups = rows.groupby(AXES, sort=False)
    found = groups["area_m2"].max().to_frame()
    for name in ("latency_s", "energy_j"):
        found[name] = [float(np.exp(np.log(part[name].to_numpy()).mean())) for _, part in groups]
    found.loc[found["latency_s"].isna(), "area_m2"] = np.nan
    return found.reset_index()


def of_front(table: pd.DataFrame) -> set[tuple[str, ...]]:
    values = table[OBJECTIVES].to_numpy()
    beaten = [any((o <= v).all() and (o < v).any() for o in values) for v in values]
    return {
        tuple(row) for row, bad in zip(table[AXES].itertuples(index=False), beaten, strict=True) if not bad
    }


def test_trying_everything_finds_the_front_of_the_sweep(file: Path, tmp_path: Path) -> None:
    front, trials = searched(file, tmp_path / "out", "--budget", "12")
    every = expected(file, tmp_path)
    assert len(trials) == len(every) == 12
    merged = trials.merge(every, on=AXES, suffixes=("", "_swept"))
    for name in OBJECTIVES:
        np.testing.assert_allclose(merged[name], merged[f"{name}_swept"], rtol=1e-12)
    assert {tuple(row) for row in front[AXES].itertuples(index=False)} == of_front(every.dropna())
    assert (tmp_path / "out" / "study.db").exists()


def test_trying_everything_leaves_nothing_to_chance(file: Path, tmp_path: Path) -> None:
    """A converged search goes on to what is left once the budget covers all designs."""
    searched(file, tmp_path / "out", "--budget", "4", "--population", "2")
    _, trials = searched(file, tmp_path / "out", "--budget", "12", "--population", "2")
    assert len(trials.drop_duplicates(AXES)) == 12


def test_iso_area_keeps_to_the_baseline(file: Path, tmp_path: Path) -> None:
    front, trials = searched(file, tmp_path / "out", "--budget", "12", "--iso", "area", "--iso", "bandwidth")
    every = expected(file, tmp_path)
    base = (every[AXES[0]] == "[128, 128]") & (every[AXES[1]] == "2 MiB")
    most = float(every["area_m2"][base].iloc[0])
    assert (front["area_m2"] <= most * (1 + 1e-9)).all()
    assert (trials["allowed"] == (trials["area_m2"] <= most * (1 + 1e-9))).all()
    assert not trials["allowed"].all()


def test_a_second_call_goes_on(file: Path, tmp_path: Path) -> None:
    _, first = searched(file, tmp_path / "out", "--budget", "5")
    _, same = searched(file, tmp_path / "out", "--budget", "5")
    _, more = searched(file, tmp_path / "out", "--budget", "9")
    pd.testing.assert_frame_equal(first, same)
    pd.testing.assert_frame_equal(first, more.head(5))
    assert len(more) == 9
    assert not more.duplicated(AXES).any()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_proposes_and_is_repeatable(file: Path, tmp_path: Path, sampler: str) -> None:
    more = ("--budget", "7", "--population", "3", "--sampler", sampler, "--objective", "edp,area_m2")
    runs = [searched(file, tmp_path / name, *more)[1] for name in ("one", "two")]
    pd.testing.assert_frame_equal(runs[0], runs[1])
    assert len(runs[0]) == 7


def test_designs_are_the_points_of_the_sweep(file: Path) -> None:
    designs = Designs(Plan.of(points_of(load_sweep(file)[0], {})))
    assert list(designs.axes) == ["machine", *AXES]
    assert designs.size == 12
    together = designs.measure([(0, 0, 3), (0, 2, 1), (0, 1, 0)], OBJECTIVES)
    alone = [designs.measure([design], OBJECTIVES)[0] for design in ((0, 0, 3), (0, 2, 1), (0, 1, 0))]
    assert together.tobytes() == np.array(alone).tobytes()


def test_limits_that_nothing_meets_are_named(file: Path, tmp_path: Path) -> None:
    ran = dse("codesign", file, "--out", tmp_path / "out", "--budget", "6", "--limit", "area_m2<=1e-9")
    assert ran.code == 3
    assert "area_m2 at most 1e-09, the least found is" in ran.err


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--objective", "latency"), "did you mean 'latency_s'"),
        (("--limit", "area_m2"), "is not metric<=number"),
        (("--limit", "area<=2"), "did you mean 'area_m2'"),
        (("--iso", "aria"), "did you mean 'area'"),
        (("--storage", "sqlite:////nowhere/at/all.db"), "cannot open the storage"),
        (("--storage", "nothing"), "cannot open the storage"),
        (("--storage", "postgresql://127.0.0.1:9/none"), "postgresql"),
    ],
)
def test_wrong_options_are_refused(file: Path, tmp_path: Path, option: tuple[str, str], said: str) -> None:
    ran = dse("codesign", file, "--out", tmp_path / "out", "--budget", "4", *option)
    assert ran.code in {2, 4}
    assert said in ran.err
    assert not (tmp_path / "out").exists()
