"""Rows of kernels without a closed form through compare: traced, kept, and told where that is not possible."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from dse.arch.calibration.constants import load_calibration
from dse.arch.gpu import Gpu
from dse.arch.machine import load_machine
from dse.errors import MissingDependencyError
from dse.kernels import launch, trace_cache
from dse.studies.latency.predict import rows_of
from dse.studies.latency.table import load_table
from dse.studies.latency.tracing import Tracing
from dse.workloads.annotation import load_annotation
from dse.workloads.measurement import IDENTITY, MACHINE, RESULTS
from dse.workloads.trace_part import Part, launches_of, part_of
from tests.studies.cli_runner import dse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NEIGHBORHOOD = {
    "batch": "2", "heads": "4", "sequence": "256", "head_dim": "16", "axes": "16+16", "query_tile": "4+4",
    "key_tile": "4+4", "window": "5+5", "causal": "false", "precision": "fp16",
}  # fmt: skip
SKIPPING = {"batch": "1", "heads": "4", "sequence": "128", "head_dim": "16", "precision": "fp16"}
SELECTED = SKIPPING | {"keep": "1", "precision": "bf16"}
COLUMNS = [*IDENTITY, *NEIGHBORHOOD, "keep", *RESULTS, *MACHINE]


def compiled(blocks: int) -> str:
    one = {"grid": [blocks, 1], "registers": 128, "shared_bytes": 16384, "warps": 4, "stages": 3}
    return json.dumps([one])


def rows() -> list[dict[str, str]]:
    """Two kernels that are traced, one that the interpreter cannot compute, one that ran on another grid."""
    fixed = {"suite": "made", "split": "new_classes", "status": "ok", "device": "NVIDIA H200", "seed": "3"}
    fixed |= {"warps": "0", "stages": "0", "latency_s": "1e-5"}
    neighborhood = fixed | NEIGHBORHOOD | {"class": "neighborhood", "kernel": "tile_list"}
    skipping = fixed | SKIPPING | {"class": "skipping", "kernel": "threshold_skip"}
    selected = fixed | SELECTED | {"class": "selected", "kernel": "select_attend", "cache": "hot"}
    found = [neighborhood | {"cache": cache, "launches": compiled(128)} for cache in ("hot", "flushed")]
    found += [skipping | {"cache": cache, "launches": compiled(8)} for cache in ("hot", "flushed")]
    return [*found, skipping | {"cache": "hot", "launches": compiled(9)}, selected]


def write(path: Path, found: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("# Measured launches, schema 1\n")
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A table whose latencies are 4% above what the machine predicts, and the folder its traces are kept in."""
    folder = tmp_path_factory.mktemp("traced")
    table, kept = folder / "made.csv", folder / "cache"
    found = rows()
    write(table, found)
    gpu = load_machine("h200")
    assert isinstance(gpu, Gpu)
    known = rows_of(load_table(str(table)), gpu, Tracing(300.0, kept / "dse" / "traces"))
    seconds = known.seconds(load_calibration("h200_published"))
    assert np.isfinite(seconds).tolist() == [True] * 4 + [False] * 2
    for row, exact in zip(found, seconds, strict=True):
        row["latency_s"] = f"{exact * 1.04:.9g}" if np.isfinite(exact) else "1e-5"
    write(table, found)
    return table, kept


def compare(table: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> tuple[Any, str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept))
    ran = dse("compare", "h200", table, "--calibration", "h200_published", "--format", "json", *more)
    return (json.loads(ran.out) if ran.out else ran.code), ran.err


def without_packages() -> None:
    raise MissingDependencyError("running kernels needs torch")


def test_rows_of_traced_kernels_are_compared(
    measured: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "require_packages", without_packages)  # kept traces need none
    found, said = compare(*measured, monkeypatch, "--filter", "class!=selected")
    errors: Mapping[str, Any] = {one["class"]: one for one in found}
    for kind in ("neighborhood", "skipping"):
        assert errors[kind]["n"] == 2
        assert errors[kind]["bias"] == pytest.approx(1 / 1.04 - 1, abs=1e-6)
    assert "launches from a trace: 2 rows of tile_list" in said
    assert "1 rows of threshold_skip: the measured launches have [9] blocks, the traced ones [8]" in said
    assert "at most" not in said  # nothing was traced anew


def test_what_cannot_be_traced_is_told(measured: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _, said = compare(*measured, monkeypatch)
    assert "not compared: 1 rows of select_attend: bf16 arithmetic is wrong in Triton's interpreter" in said


def test_without_packages_and_traces_rows_are_counted(
    measured: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(launch, "require_packages", without_packages)
    code, said = compare(measured[0], tmp_path, monkeypatch)
    assert code == 2
    assert "3 rows of threshold_skip: running kernels needs torch" in said
    assert "no row is of a kernel whose launches are known" in said


def test_a_trace_that_took_too_long_is_not_tried_again_in_that_time(
    measured: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for tries in range(2):
        _, said = compare(
            measured[0], tmp_path, monkeypatch, "--trace-seconds", "0.01", "--filter", "class=neighborhood"
        )
        assert "2 rows of tile_list: tracing took more than 0.01 s" in said
        assert ("tracing tile_list (at most 0.01 s)" in said) == (tries == 0)
    _, said = compare(
        measured[0], tmp_path, monkeypatch, "--trace-seconds", "0", "--filter", "class=skipping"
    )
    assert "not traced yet" in said


def test_a_part_stands_for_the_whole(measured: tuple[Path, Path]) -> None:
    folder = measured[1] / "dse" / "traces"
    annotation = load_annotation("tile_list")
    values = annotation.resolve({name: text.replace("+", ",") for name, text in NEIGHBORHOOD.items()})
    part = part_of(annotation, values)
    assert (part.sequences, part.heads) == (2, 2)
    (mine,) = launches_of(
        trace_cache.kept_trace("tile_list", part.values, 3, 300.0, folder), annotation, part
    )
    whole = trace_cache.kept_trace("tile_list", values, 3, 300.0, folder)
    (told,) = launches_of(whole, annotation, Part(values))
    assert mine.flops == told.flops
    assert [(run.first[0], run.each[0]) for run in mine.blocks] == [
        (run.first[0], run.each[0]) for run in told.blocks
    ]
    for name, tensor in told.tensors.items():
        assert (mine.tensors[name].unique, mine.tensors[name].total) == (tensor.unique, tensor.total)
