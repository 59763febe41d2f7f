"""A recorded table through calibrate and compare: planted constants come back, errors fall to the noise."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from dse.arch.calibration.constants import load_calibration
from dse.arch.gpu import Gpu
from dse.arch.machine import load_machine
from dse.kernels.measuring.table import Table
from dse.studies.latency.predict import rows_of
from dse.studies.latency.table import load_table
from dse.studies.measure_suite import load_suite
from tests.studies.cli_runner import dse
from tests.studies.latency.recorded import PLANTED, write_recorded

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def no_traces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("recorded")
    table, made = folder / "measured.csv", folder / "made.yaml"
    write_recorded(table)
    ran = dse("calibrate", "h200", table, "--rows", "calibration", "-o", made)
    assert ran.code == 0, ran.err
    return table, made


def test_planted_constants_come_back(recorded: tuple[Path, Path]) -> None:
    known = load_calibration(recorded[1])
    assert known.rows == {"measured": [["split=calibration"]]}
    for name, truth in PLANTED.items():
        low, high = known.intervals[name]
        assert low * 0.98 <= truth <= high * 1.02
        if name in {"launch", "round_trip", "tensor_efficiency", "dram_efficiency", "tensor_energy"}:
            assert float(known.get(name)[0]) == pytest.approx(truth, rel=0.05)


def test_errors_of_unseen_rows_are_the_noise(recorded: tuple[Path, Path], tmp_path: Path) -> None:
    table, made = recorded
    out = tmp_path / "figures"
    given = ("--calibration", made, "--trace-seconds", "0", "--out", out, "--format", "json")
    ran = dse("compare", "h200", table, *given)
    assert ran.code == 0, ran.err
    found: dict[str, dict[str, Any]] = {one["class"]: one for one in json.loads(ran.out)}
    assert {"dense_prefill", "decode", "linear", "mla", "sparse", "capped", "step", "all"} <= set(found)
    assert "microbenchmark" not in found  # all of them were fitted on
    for kind in ("sparse", "capped", "step"):
        assert found[kind]["mape"] <= 0.03
    for kind in ("dense_prefill", "decode", "linear", "mla"):
        assert found[kind]["mape"] <= 0.02
        assert found[kind]["noise_floor"] == pytest.approx(0.008, abs=0.006)
        assert found[kind]["cycle_mape"] <= 0.02
    assert found["dense_prefill"]["energy_n"] >= 2
    assert found["dense_prefill"]["energy_mape"] <= 0.05
    assert found["decode"]["baselines"]["peak_roofline"] > 5 * found["decode"]["mape"]
    assert "36 rows" not in ran.err
    assert "2 rows of select_attend: not traced yet" in ran.err
    assert 'dense_prefill flash_forward: failed: out of memory, "heap" #3' in ran.err
    assert {path.name for path in out.iterdir()} >= {"rows.csv", "errors.csv", "scatter.pdf", "residuals.png"}


def test_without_constants_the_data_sheet_is_far_off(recorded: tuple[Path, Path]) -> None:
    ran = dse(
        "compare", "h200", recorded[0], "--calibration", "none", "--tolerance", "0.05", "--format", "json",
        "--trace-seconds", "0",
    )  # fmt: skip
    assert ran.code == 1
    assert max(one["mape"] for one in json.loads(ran.out)) > 0.2


def test_rows_of_another_device_are_said_to_be(recorded: tuple[Path, Path]) -> None:
    ran = dse("compare", "a100", recorded[0], "--filter", "split=new_shapes", "--calibration", recorded[1])
    assert ran.code == 0
    assert "note: these rows were measured on NVIDIA H200" in ran.err


def test_a_table_that_was_only_compared_says_that_nothing_was_timed(
    recorded: tuple[Path, Path], tmp_path: Path
) -> None:
    lines = recorded[0].read_text().splitlines(keepends=True)
    at = lines[1].strip().split(",").index("latency_s")
    cells = lines[2].split(",")
    cells[at] = ""
    table = tmp_path / "interpreted.csv"
    table.write_text("".join([*lines[:2], ",".join(cells)]))
    ran = dse("compare", "h200", table)
    assert ran.code == 2
    assert "no row of this table was timed" in ran.err
    assert "not timed" in ran.err


def test_rows_of_the_shipped_suite_have_launches(tmp_path: Path) -> None:
    suite = load_suite("standard")
    written = Table(tmp_path / "standard.csv", suite)
    for job in suite.jobs:
        for cache in suite.caches:
            written.add(
                written.identity(job, cache) | {"status": "ok", "latency_s": "1e-3", "device": "NVIDIA H200"}
            )
    table = load_table(str(written.path))
    gpu = load_machine("h200")
    assert isinstance(gpu, Gpu)
    seconds = rows_of(table, gpu).seconds(load_calibration("h200_published"))
    kinds = np.asarray(table.rows["class"])
    assert (np.asarray(table.rows["split"]) == "calibration").sum() > 40
    assert np.isfinite(seconds[np.asarray(table.rows["split"]) == "calibration"]).all()
    for kind in (
        "dense_prefill",
        "causal_prefill",
        "decode",
        "window",
        "block_sparse",
        "mla_decode",
        "linear_chunk",
    ):
        assert np.isfinite(seconds[kinds == kind]).all()
    assert (seconds[np.isfinite(seconds)] < 1.0).all()
    flushed = np.asarray(table.rows["cache"]) == "flushed"
    small = kinds == "decode"
    assert (seconds[flushed & small] >= seconds[~flushed & small]).all()
