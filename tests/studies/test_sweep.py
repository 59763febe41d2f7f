"""The sweep engine: points, baselines, parts; the same rows however they are batched, interrupted or shared out."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from dse.errors import ConfigError
from dse.studies import workers
from dse.studies.store import read
from dse.studies.sweep import Plan, batch_tables, content_of, points_of
from dse.studies.sweep_file import load_sweep
from dse.studies.verbs.sweep import sweep

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SMALL = """
title: small
source: test
sweep:
  workload: [bert, flash_forward]
  sequence: [1K, 3K]
  machine: [flat, fusemax]
  dram.bandwidth: [100 GiB/s, 400 GiB/s]
  accounting: [paper, physical]
  set: {batch: 2}
  baseline: {machine: flat}
  also:
    buffers:
      machine: [fusemax]
      workload: [xlm]
      sequence: [4K]
      global_buffer.capacity: [1 MiB, 16 MiB]
"""
FILES = ("results.parquet", "results.csv", "components.parquet", "meta.json")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def run(file: Path, out: Path, jobs: int = 1, fresh: bool = False) -> None:
    sweep(str(file), jobs, out, fresh, False, None, None, False, "json", [], [])


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def test_points_axes_and_parts(file: Path, tmp_path: Path) -> None:
    run(file, tmp_path / "out")
    rows = read(tmp_path / "out").rows
    main, also = rows[rows["part"] == ""], rows[rows["part"] == "buffers"]
    traced = main[main["workload"] == "flash_forward"]
    assert (len(main), len(traced), len(also)) == (16 + 8, 8, 2)
    assert set(traced["sequence"]) == {1024}
    assert set(main["sequence"]) == {1024, 3072}
    assert (rows["status"] == "ok").all()


def test_baselines_are_the_same_point_on_the_other_machine(file: Path, tmp_path: Path) -> None:
    run(file, tmp_path / "out")
    rows = read(tmp_path / "out").rows
    main = rows[rows["part"] == ""]
    keys = ["workload", "sequence", "accounting"]
    flat = main[(main["machine"] == "flat") & (main["dram.bandwidth"] == "400 GiB/s")].set_index(keys)[
        "latency_s"
    ]
    mine = main[(main["machine"] == "fusemax")].set_index(keys)
    assert (mine["baseline"] == "flat").all()
    assert (mine["speedup"] == flat.reindex(mine.index) / mine["latency_s"]).all()


def tables(plan: Plan, numbers: Sequence[int]) -> pd.DataFrame:
    keys = [plan.points.keys[number] for number in numbers]
    frame: pd.DataFrame = batch_tables(plan, np.array(numbers), keys, False).rows.to_pandas()
    return frame


def test_batches_do_not_show(file: Path) -> None:
    plan = Plan.of(points_of(load_sweep(file)[0], {}))
    size = len(plan.points)
    whole = tables(plan, range(size))
    pieces = [tables(plan, range(i, min(i + 3, size))) for i in range(0, size, 3)]
    joined = pd.concat(pieces, ignore_index=True)
    # Text of a batch without any is of another dtype; the store gives both one type.
    pd.testing.assert_frame_equal(whole, joined[whole.columns], check_exact=True, check_dtype=False)


def test_two_processes_give_the_same_bytes(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "BATCH_POINTS", 7)
    run(file, tmp_path / "one")
    run(file, tmp_path / "two", jobs=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_second_call_keeps_every_point(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(file, tmp_path / "out")
    before = contents(tmp_path / "out")
    capsys.readouterr()
    run(file, tmp_path / "out")
    assert "26 kept from an earlier run" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before


def test_a_changed_file_is_refused(file: Path, tmp_path: Path) -> None:
    run(file, tmp_path / "out")
    file.write_text(SMALL.replace("3K", "2K"))
    with pytest.raises(ConfigError, match="--fresh"):
        run(file, tmp_path / "out")
    run(file, tmp_path / "out", fresh=True)


def test_the_same_value_twice_is_one_point(file: Path, tmp_path: Path) -> None:
    file.write_text(SMALL.replace("[1K, 3K]", "[1K, 3K, 1024, 3K]"))
    assert len(points_of(load_sweep(file)[0], {})) == 26


def test_a_sweep_that_no_machine_could_finish_is_refused(file: Path) -> None:
    many = ", ".join(f"{k} GiB/s" for k in range(1, 6000))
    lengths = ", ".join(map(str, range(1, 999)))
    text = SMALL.replace("[100 GiB/s, 400 GiB/s]", f"[{many}]").replace("[1K, 3K]", f"[{lengths}]")
    file.write_text(text)
    with pytest.raises(ConfigError, match="design points, more than"):
        points_of(load_sweep(file)[0], {})


def test_ledgers_are_kept_apart_from_results_without(file: Path, tmp_path: Path) -> None:
    run(file, tmp_path / "out")
    with pytest.raises(ConfigError, match="ledger changed"):
        sweep(str(file), 1, tmp_path / "out", False, False, False, None, False, "json", [], [])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("sequence:", "sequense:", "did you mean 'sequence'"),
        ("[flat, fusemax]", "[flat, fusemx]", "did you mean 'fusemax'"),
        ("[bert, flash_forward]", "[brt]", "did you mean 'bert'"),
        ("accounting: [paper, physical]", "accounting: [papre]", "did you mean 'paper'"),
        ("dram.bandwidth: [100 GiB/s", "dram.bandwidth: [100", "needs a unit"),
        ("dram.bandwidth", "dram.bandwith", "did you mean"),
        ("set: {batch: 2}", "set: {batch: -2}", "batch"),
    ],
)
def test_wrong_sweeps_leave_nothing_behind(file: Path, tmp_path: Path, old: str, new: str, said: str) -> None:
    file.write_text(SMALL.replace(old, new))
    with pytest.raises(ConfigError, match=said):
        run(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_content_depends_on_what_is_swept(file: Path) -> None:
    before = content_of(load_sweep(file)[0])
    file.write_text(SMALL.replace("batch: 2", "batch: 4"))
    after = content_of(load_sweep(file)[0])
    assert {name for name in before if before[name] != after[name]} == {"sweep"}


def started(file: Path, out: Path) -> subprocess.Popen[bytes]:
    """A sweep of many small and slow batches in a process of its own, which may not have inherited SIGINT ignored."""
    code = (
        "import signal, sys, time\nfrom dse.studies import workers\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "workers.BATCH_POINTS = 1\nfast = workers.batch_tables\n"
        "workers.batch_tables = lambda *given: (time.sleep(0.1), fast(*given))[1]\n"
        "from dse.studies.cli import main\nsys.argv = ['dse', *sys.argv[1:]]\nmain()\n"
    )
    command = [sys.executable, "-c", code, "sweep", str(file), "--out", str(out), "--no-plots"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_interrupted_sweep_keeps_what_is_done(file: Path, tmp_path: Path) -> None:
    """Interrupted once the first batch is safe: exit code 130, and the next call continues."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    run(file, whole)
    process = started(file, out)
    while process.poll() is None and not list(out.glob("journal/*.arrow")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert not (out / "results.parquet").exists()
    run(file, out)
    assert (out / "results.parquet").read_bytes() == (whole / "results.parquet").read_bytes()


@pytest.mark.slow
def test_killed_sweeps_lose_no_finished_point(file: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    run(file, whole)
    for trial in range(20):
        out = tmp_path / f"out{trial}"
        process = started(file, out)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.8 + 0.15 * trial)
        process.kill()
        process.wait()
        run(file, out)
        assert (out / "results.parquet").read_bytes() == (whole / "results.parquet").read_bytes()
