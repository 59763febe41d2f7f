"""Measuring without a GPU: comparison in the interpreter, and the order and statistics of blocks on a device that is
made up here."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from dse.errors import ConfigError, MissingDependencyError
from dse.kernels import measure
from dse.kernels.interpreter import session
from dse.kernels.measuring import timer
from dse.kernels.measuring.jobs import Job, Suite, write_suite
from dse.kernels.measuring.monitor import REASONS, summary
from dse.kernels.measuring.table import Table
from dse.workloads.annotation import load_annotation
from dse.workloads.measurement import COLUMNS, MICROBENCHMARK

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def job(kernel: str, **given: object) -> Job:
    annotation = load_annotation(kernel)
    values = annotation.resolve({"sequence": 64, "heads": 1, **given})
    return Job("class", "new_shapes", kernel, values, tolerance=2e-3)


SUITE = Suite(
    "made_up",
    (
        job("flash_forward"),
        job("flash_forward", causal=True),
        job("unfused"),
        Job(MICROBENCHMARK, "calibration", "copy", {"size": 64}),
    ),
    blocks=4,
    together=3,
)


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(line for line in path.open() if not line.startswith("#")))


def without_date(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name != "date_utc"} for row in rows]


def test_comparing_gives_a_row_for_each_job(tmp_path: Path) -> None:
    assert measure.compare(SUITE, tmp_path / "m.csv") == 0
    rows = rows_of(tmp_path / "m.csv")
    assert [(row["kernel"], row["status"]) for row in rows] == [(j.kernel, "ok") for j in SUITE.jobs]
    assert set(COLUMNS) <= set(rows[0])
    assert 0 < float(rows[0]["error"]) < 2e-3
    assert rows[0]["latency_s"] == ""
    assert (tmp_path / "m.csv").read_text().startswith("# Measured launches, schema 1")


def test_wrong_results_are_told(tmp_path: Path) -> None:
    strict = replace(SUITE, jobs=(replace(SUITE.jobs[0], tolerance=0.0),))
    assert measure.compare(strict, tmp_path / "m.csv") == 1
    assert rows_of(tmp_path / "m.csv")[0]["status"] == "incorrect"


def test_failures_are_rows(tmp_path: Path) -> None:
    broken = replace(SUITE.jobs[0], parameters=dict(SUITE.jobs[0].parameters) | {"tile_keys": 24})
    assert measure.compare(replace(SUITE, jobs=(broken, SUITE.jobs[2])), tmp_path / "m.csv") == 1
    rows = rows_of(tmp_path / "m.csv")
    assert rows[0]["status"].startswith("failed: ")
    assert rows[1]["status"] == "ok"


def test_interrupted_tables_are_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    measure.compare(SUITE, path)
    whole = path.read_text()
    path.write_text(whole[: whole.rfind("\n", 0, -1) + 20])
    measure.compare(SUITE, path)
    assert without_date(rows_of(path)) == without_date(
        list(csv.DictReader(line for line in whole.splitlines() if not line.startswith("#")))
    )


def test_tables_of_another_suite_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    measure.compare(SUITE, path)
    with pytest.raises(ConfigError, match="seed '0', now '1'"):
        measure.compare(replace(SUITE, seed=1), path)
    with pytest.raises(ConfigError, match="not a table of this suite"):
        Table(path, replace(SUITE, jobs=(job("split_kv_decode", heads=8, kv_heads=2, head_dim=16),)))


class Clock:
    """A device whose rows take 1, 2, 3 ... ms, a little longer in each block, and that logs what it ran."""

    def __init__(self) -> None:
        self.log: list[tuple[int, str]] = []
        self.prepared = 0

    def prepare(self, repeat: Callable[[], None], suite: Suite) -> SimpleNamespace:
        repeat()
        self.prepared += 1
        number, calls = self.prepared, {"hot": 0, "flushed": 0}

        def block(kind: str) -> float:
            calls[kind] += 1
            self.log.append((number, kind))
            return number * 1e-3 + calls[kind] * 1e-5

        return SimpleNamespace(
            hot_s=lambda repeats=0: block("hot"),
            flushed_s=lambda repeats, buffer: 2 * block("flushed"),
            repeats=7,
            timer="graph",
        )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    cuda = SimpleNamespace(get_device_name=lambda: "Made Up", empty_cache=lambda: None)
    monkeypatch.setattr(
        measure, "_cuda", lambda: SimpleNamespace(cuda=cuda, version=SimpleNamespace(cuda="0"))
    )
    monkeypatch.setattr(measure, "DEVICE", "cpu")
    monkeypatch.setattr(timer, "prepare", made.prepare)
    monkeypatch.setattr(timer, "flush_buffer", lambda: None)

    def recorded(
        call: Callable[[], object], job: Job, device: str
    ) -> tuple[Callable[[], None], dict[str, str]]:
        with session():
            call()
        return (lambda: None), {"launches": "[]"}

    monkeypatch.setattr(measure, "_recorded", recorded)
    return made


def test_blocks_are_interleaved_and_summed_up(tmp_path: Path, clock: Clock) -> None:
    assert measure.measure(SUITE, tmp_path / "m.csv") == 0
    rows = rows_of(tmp_path / "m.csv")
    assert [row["cache"] for row in rows] == ["hot", "flushed"] * 4
    first, flushed = rows[0], rows[1]
    assert float(first["latency_s"]) == pytest.approx(1e-3 + 2.5e-5)
    assert float(flushed["latency_s"]) == pytest.approx(2 * (1e-3 + 2.5e-5))
    assert float(first["half_a_s"]) == pytest.approx(1e-3 + 2e-5)
    assert float(first["half_b_s"]) == pytest.approx(1e-3 + 3e-5)
    assert float(first["latency_low_s"]) < float(first["latency_s"]) < float(first["latency_high_s"])
    assert (first["device"], first["timer"], flushed["timer"]) == ("Made Up", "graph", "events")
    timed = [entry for entry in clock.log if entry[0] <= 3][: 6 * SUITE.blocks]
    rounds = [timed[start : start + 6] for start in range(0, len(timed), 6)]
    assert all(len(set(entries)) == 6 for entries in rounds)
    assert len({tuple(entries) for entries in rounds}) > 1


def test_order_of_blocks_follows_the_seed(tmp_path: Path, clock: Clock) -> None:
    measure.measure(SUITE, tmp_path / "a.csv")
    first, clock.log, clock.prepared = clock.log, [], 0
    measure.measure(SUITE, tmp_path / "b.csv")
    assert clock.log == first
    assert without_date(rows_of(tmp_path / "a.csv")) == without_date(rows_of(tmp_path / "b.csv"))


def test_measuring_goes_on_where_it_stopped(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "m.csv"
    assert measure.measure(SUITE, path, seconds=0.0) == 0
    assert not path.exists()
    measure.measure(SUITE, path)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:4]))
    clock.prepared = 0
    assert measure.measure(SUITE, path) == 0
    assert [row["kernel"] for row in rows_of(path)] == [j.kernel for j in SUITE.jobs for _ in range(2)]
    assert clock.prepared == len(SUITE.jobs) - 1


def test_without_a_gpu_nothing_is_written(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(MissingDependencyError, match="needs a CUDA GPU"):
        measure.measure(SUITE, tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()


def test_readings_are_medians_and_all_reasons() -> None:
    samples = [
        {"sm_clock_hz": 1.0, "throttle": 4.0},
        {"sm_clock_hz": 3.0, "throttle": 8.0},
        {"sm_clock_hz": 2.0},
    ]
    found = summary(samples)
    assert found["sm_clock_hz"] == "2"
    assert found["power_w"] == ""
    assert found["throttle"] == f"{REASONS[4]}+{REASONS[8]}"


def test_core_needs_torch_triton_and_numpy_alone(tmp_path: Path) -> None:
    write_suite(replace(SUITE, jobs=SUITE.jobs[:1]), tmp_path / "suite.json")
    script = (
        "import sys\nfrom dse.kernels.measure import main\n"
        f"code = main([{str(tmp_path / 'suite.json')!r}, '-o', {str(tmp_path / 'm.csv')!r}, '--interpret'])\n"
        "wanted = {'pydantic', 'yaml', 'pyarrow', 'pandas', 'scipy', 'networkx', 'lark', 'pint', 'simpy', 'typer'}\n"
        "print(code, sorted(wanted & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == ["0", "[]\n"], done.stderr


def test_resolved_suites_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "suite.json"
    path.write_text(json.dumps({"name": "x", "jobs": [{"kind": "a"}]}))
    assert measure.main([str(path), "-o", str(tmp_path / "m.csv")]) == 2
    assert "is no resolved suite" in capsys.readouterr().err
