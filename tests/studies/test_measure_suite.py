"""Suites of kernels to be measured: what they resolve to, and what a wrong one is told."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from dse import spec
from dse.errors import ConfigError
from dse.kernels.measuring.jobs import read_suite, write_suite
from dse.studies.measure_suite import ROOM, load_suite
from dse.workloads.measurement import MICROBENCHMARK
from tests.studies.cli_runner import dse

if TYPE_CHECKING:
    from pathlib import Path

SUITE = """
title: T
source: S
classes:
  prefill:
    kernel: {kernel}
    groups:
      one: {{split: new_shapes, set: {{{given}}}, axes: {{sequence: ["128", 1K]}}, warps: [4, 8]}}
"""
KERNELS = {"flash_forward", "split_kv_decode"}


def written(folder: Path, kernel: str = "flash_forward", given: str = 'heads: "2"') -> Path:
    path = folder / "mine.yaml"
    path.write_text(SUITE.format(kernel=kernel, given=given))
    return path


@pytest.mark.parametrize("name", sorted(spec.shipped(ROOM)))
def test_shipped_suites_resolve(name: str) -> None:
    suite = load_suite(name)
    assert len({job.key for job in suite.jobs}) == len(suite.jobs)


def test_calibration_is_two_dense_families_and_few_launches() -> None:
    jobs = [job for job in load_suite("standard").jobs if job.split == "calibration"]
    launches = [job for job in jobs if job.kind != MICROBENCHMARK]
    assert {job.kernel for job in launches} == KERNELS
    assert len(launches) <= 40
    assert {job.parameters["head_dim"] for job in launches} == {128}
    fitted = {job.kernel for job in launches}
    new = [job for job in load_suite("standard").jobs if job.split == "new_classes"]
    assert not fitted & {job.kernel for job in new}


def test_every_kernel_is_checked_and_measured() -> None:
    shipped = {path.stem for path in spec.shipped("kernels").values()}
    for name, left_out in (("check", set()), ("standard", {"select_low_bit"})):
        kernels = {job.kernel for job in load_suite(name).jobs if job.kind != MICROBENCHMARK}
        assert shipped - kernels == left_out


def test_tuning_has_twenty_configurations_of_each_shape() -> None:
    jobs = load_suite("tuning").jobs
    own = {"tile_queries", "tile_keys", "splits"}
    shapes: dict[object, int] = {}
    for job in jobs:
        key = (job.kernel, *((k, v) for k, v in job.parameters.items() if k not in own))
        shapes[key] = shapes.get(key, 0) + 1
    assert min(shapes.values()) >= 20


def test_axes_warps_and_stages_are_multiplied(tmp_path: Path) -> None:
    jobs = load_suite(written(tmp_path)).jobs
    assert [(job.parameters["sequence"], job.warps) for job in jobs] == [
        (128, 4),
        (128, 8),
        (1024, 4),
        (1024, 8),
    ]
    assert {job.parameters["heads"] for job in jobs} == {2}
    assert all(job.compare and job.tolerance == 2e-3 for job in jobs)


def test_suite_survives_json(tmp_path: Path) -> None:
    suite = load_suite("standard")
    write_suite(suite, tmp_path / "suite.json")
    assert read_suite(tmp_path / "suite.json") == suite


@pytest.mark.parametrize(
    ("kernel", "given", "said"),
    [
        ("flash_forwrd", 'heads: "2"', "did you mean 'flash_forward'?"),
        ("flash_forward", 'haeds: "2"', "did you mean 'heads'?"),
        ("flash_forward", 'causal: "maybe"', "neither true nor false"),
    ],
)
def test_wrong_suites_say_where(tmp_path: Path, kernel: str, given: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"mine.yaml:\d+") as raised:
        load_suite(written(tmp_path, kernel, given))
    assert said in str(raised.value)


def test_dry_run_lists_rows_and_time() -> None:
    ran = dse("measure", "check", "--dry-run", "--format", "csv")
    assert ran.code == 0
    assert len(ran.out.splitlines()) == len(load_suite("check").jobs) + 1
    assert "min on a GPU" in ran.err


def test_measuring_needs_a_file_to_write_to() -> None:
    ran = dse("measure", "check")
    assert ran.code == 2
    assert "-o measured.csv" in ran.err


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
def test_measuring_without_a_gpu_ends_with_4(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    ran = dse("measure", "check", "-o", str(tmp_path / "m.csv"))
    assert ran.code == 4
    assert not (tmp_path / "m.csv").exists()
