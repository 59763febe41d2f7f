"""What users are told when a table, filter, machine or split is wrong: one clear line each, exit code 2."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from dse import spec
from tests.studies.cli_runner import dse, python

if TYPE_CHECKING:
    from pathlib import Path

GEMM = "gemm_bf16"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["h200", GEMM, "--filter", "hed_dim=128"],
            "no column 'hed_dim'; columns are gpu, framework, m, n, k",
        ),
        (["h200", GEMM, "--filter", "latency=3"], "no column 'latency'; did you mean 'latency_s'?"),
        (["h200", GEMM, "--filter", "m=3"], "no row has m=3; m has 4096, 1024"),
        (["h200", GEMM, "--filter", "m"], "--filter: 'm' selects nothing: expected column=value"),
        (["h200", "gem_bf16"], "no file 'gem_bf16'; did you mean 'gemm_bf16'?"),
        (["h300", GEMM], "no machine 'h300'; did you mean 'h200'?"),
        (["fusemax", GEMM], "latencies are compared for GPUs; fusemax is a spatial_array"),
        (["v100", GEMM], "gemm_bf16: no row of machine v100; it has rows of a100, h100, h200"),
        (["h200", GEMM, "--calibration", "h200_publishd"], "did you mean 'h200_published'?"),
        (["b200", "attn_decode_bf16"], "no row is left to compare"),
    ],
)
def test_wrong_input_is_named(arguments: list[str], said: str) -> None:
    ran = dse("compare", *arguments)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_filter_that_leaves_only_fitted_rows_says_so() -> None:
    ran = dse("compare", "h200", GEMM, "--filter", "n=4096", "--filter", "k=1024")
    assert ran.code == 2
    assert "6 rows that the calibration h200_published was fitted on" in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["h200", GEMM, "--rows", "calibraton"], "no split 'calibraton'; did you mean 'calibration'?"),
        (["h200", GEMM, "--rows", "calibration", "--constant", "overlapp"], "did you mean 'overlap'?"),
        (["h200", GEMM, "--rows", "calibration", "--filter", "m=16"], "1 rows cannot determine 6 constants"),
    ],
)
def test_a_calibration_that_cannot_be_made_writes_nothing(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    made = tmp_path / "made.yaml"
    ran = dse("calibrate", *arguments, "-o", made)
    assert ran.code == 2
    assert said in ran.err
    assert not made.exists()
    assert "a calibration is a .yaml file" in dse("calibrate", *arguments[:4], "-o", tmp_path / "x.csv").err


def test_damaged_tables_are_refused(tmp_path: Path) -> None:
    source = spec.find(GEMM, "studies/gpu", ".csv")
    table = tmp_path / "mine.csv"
    described = tmp_path / "mine.yaml"
    shutil.copy(source.with_suffix(".yaml"), described)
    text = source.read_text()
    cases = {
        text.replace("latency_us", "latency", 1): "no column 'latency_us'; did you mean 'latency'?",
        text.replace("141.305", "fast", 1): "mine.csv:2: latency_us: 'fast' is no time",
        text.split("\n", 1)[0] + "\n": "this table has no rows",
        "": "this is no table of comma-separated values",
    }
    for content, said in cases.items():
        table.write_text(content)
        ran = dse("compare", "h200", table)
        assert ran.code == 2
        assert said in ran.err
    table.write_text(text)
    assert dse("check", described).code == 0
    described.unlink()
    assert "no column 'class'" in dse("compare", "h200", table).err


def test_json_has_the_promised_keys() -> None:
    ran = dse("compare", "h200", GEMM, "--filter", "latency_us>=15", "--format", "json")
    (record,) = json.loads(ran.out)
    wanted = {
        "class",
        "n",
        "mape",
        "median_ape",
        "p90_ape",
        "bias",
        "kendall_tau",
        "noise_floor",
        "baselines",
    }
    assert wanted <= set(record)
    assert set(record["baselines"]) == {"peak_roofline", "one_constant_roofline", "nearest_neighbour"}
    assert record["n"] == 65


def test_comparing_needs_neither_torch_nor_triton_and_help_is_light() -> None:
    code = """
import sys
from typer.testing import CliRunner
from dse.studies.cli import app
before = sorted({"numpy", "pandas", "scipy"} & set(sys.modules))
CliRunner().invoke(app, ["compare", "h200", "gemm_bf16"])
print(before, sorted({"torch", "triton", "matplotlib"} & set(sys.modules)))
"""
    assert python(code).stdout.strip() == "[] []"
