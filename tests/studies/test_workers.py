"""Who evaluates a sweep does not show: one process, two, a dask cluster, or one whose worker is killed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from dse.errors import ConfigError, MissingDependencyError
from dse.studies import workers
from dse.studies.verbs.sweep import sweep
from tests.studies.cli_runner import dse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from distributed import Future, LocalCluster

    from dse.studies.sweep import Batch

SWEEP = """
title: clustered
source: test
sweep:
  machine: [fusemax]
  workload: [bert, xlm]
  sequence: [1K, 2K, 3K, 4K, 5K]
  global_buffer.capacity: [1 MiB, 2 MiB, 4 MiB, 8 MiB]
  dram.bandwidth: [100 GiB/s, 200 GiB/s, 400 GiB/s]
"""
FILES = ("results.parquet", "results.csv", "components.parquet", "meta.json")


def run(file: Path, out: Path, jobs: int = 1, cluster: str | None = None) -> dict[str, str]:
    sweep(str(file), jobs, out, False, False, None, cluster, False, "csv", [], [])
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in FILES}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "clustered.yaml"
    path.write_text(SWEEP)
    return path


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two worker processes that are started again when they die."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs="CRITICAL"
    ) as found:
        yield found


def test_processes_and_cluster_write_the_same_bytes(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: LocalCluster
) -> None:
    monkeypatch.setattr(workers, "BATCH_POINTS", 17)
    alone = run(file, tmp_path / "one")
    assert run(file, tmp_path / "two", jobs=2) == alone
    assert run(file, tmp_path / "dask", cluster=cluster.scheduler_address) == alone


def test_a_killed_cluster_worker_loses_nothing(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: LocalCluster
) -> None:
    """Killed in the middle: its batches are evaluated by another worker."""
    monkeypatch.setattr(workers, "BATCH_POINTS", 4)
    alone = run(file, tmp_path / "one")
    add = workers._result
    killed: list[int] = []

    def after(future: Future[Batch]) -> Batch:
        if not killed:
            killed.append(next(iter(cluster.workers.values())).pid)
            os.kill(killed[0], signal.SIGKILL)
        return add(future)

    monkeypatch.setattr(workers, "_result", after)
    assert run(file, tmp_path / "dask", cluster=cluster.scheduler_address) == alone
    assert killed


def test_workers_of_other_code_are_refused(
    monkeypatch: pytest.MonkeyPatch, cluster: LocalCluster, file: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(workers, "code_version", lambda: str(os.getpid()))
    with pytest.raises(ConfigError, match="runs other code"):
        run(file, tmp_path / "out", cluster=cluster.scheduler_address)
    assert not (tmp_path / "out").exists()


def test_no_cluster_at_an_address_is_said(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "CONNECT_S", 0.5)
    with pytest.raises(MissingDependencyError, match="no dask scheduler answers"):
        run(file, tmp_path / "out", cluster="tcp://127.0.0.1:9")
    assert not (tmp_path / "out").exists()


def test_without_dask_the_extra_is_named(file: Path, tmp_path: Path) -> None:
    """Exit code 4, as if dask were not installed."""
    (tmp_path / "distributed.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'distributed'\", name='distributed')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [
        sys.executable,
        "-m",
        "dse",
        "sweep",
        str(file),
        "--cluster",
        "tcp://x:1",
        "--out",
        f"{tmp_path}/out",
    ]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 4
    assert "pip install 'dse-attn[cluster]'" in found.stderr
    assert not (tmp_path / "out").exists()


def test_dry_run_writes_nothing(file: Path, tmp_path: Path) -> None:
    found = dse("sweep", str(file), "--dry-run", "--out", str(tmp_path / "out"), "--format", "json")
    assert found.code == 0
    assert not (tmp_path / "out").exists()
    assert '"points": 120' in found.out


KILLED = """
import sys, time
from dse.studies import workers
workers.BATCH_POINTS = 5
fast = workers.batch_tables
workers.batch_tables = lambda *given: (time.sleep(0.05), fast(*given))[1]
from dse.studies.cli import main
sys.argv = ['dse', *sys.argv[1:]]
main()
"""


@pytest.mark.slow
def test_two_processes_killed_at_random_moments_lose_nothing(file: Path, tmp_path: Path) -> None:
    """The parent of two processes killed 20 times in one sweep, which then ends as if nothing had happened."""
    alone, out = run(file, tmp_path / "one"), tmp_path / "killed"
    command = [
        sys.executable,
        "-c",
        KILLED,
        "sweep",
        str(file),
        "--out",
        str(out),
        "--no-plots",
        "--jobs",
        "2",
    ]
    for trial in range(20):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0 + 0.2 * trial)
        process.kill()
        process.wait()
        time.sleep(0.05)
    assert run(file, out) == alone
