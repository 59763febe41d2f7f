"""Published tables: the bars, rows of the fit left out, and shipped calibrations that come out again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from dse import spec
from dse.arch.calibration.constants import load_calibration
from dse.studies.latency.comparison import fitted_rows
from dse.studies.latency.table import load_table
from tests.studies.cli_runner import dse

if TYPE_CHECKING:
    from pathlib import Path

PREFILL, DECODE, GEMM = TABLES = ("attn_prefill_causal_bf16", "attn_decode_bf16", "gemm_bf16")
BARS = [
    ("h200", PREFILL, "head_dim=128", "prefill_d128", 0.09),
    ("h200", DECODE, "head_dim=128", "decode_d128", 0.095),
    ("h200", GEMM, "latency_us>=15", "gemm", 0.10),
    ("h100", PREFILL, "head_dim=128", "prefill_d128", 0.15),
    ("h100", DECODE, "head_dim=128", "decode_d128", 0.10),
    ("a100", PREFILL, "seq_len>=4096", "prefill_d128_sm80", 0.05),
]


def compared(*arguments: str) -> list[dict[str, Any]]:
    ran = dse("compare", *arguments, "--format", "json")
    assert ran.code == 0, ran.err
    found: list[dict[str, Any]] = json.loads(ran.out)
    return found


@pytest.mark.parametrize(("machine", "table", "rule", "kind", "bar"), BARS)
def test_bars_of_published_tables(machine: str, table: str, rule: str, kind: str, bar: float) -> None:
    (record,) = (one for one in compared(machine, table, "--filter", rule) if one["class"] == kind)
    assert record["mape"] <= bar
    assert record["mape_low"] <= record["mape"] <= record["mape_high"]
    assert record["mape"] < 0.5 * record["baselines"]["peak_roofline"]
    assert record["mape"] < record["baselines"]["nearest_neighbour"]
    assert record["kendall_tau"] > 0.85
    assert record["noise_floor"] is None or record["noise_floor"] < record["mape"]


def test_at_most_six_constants_from_at_most_five_percent_of_the_rows_of_each_table() -> None:
    for machine, name in (("h200", "h200_published"), ("a100", "a100_published")):
        known = load_calibration(name)
        assert known.machine == machine
        assert len(known.names()) <= 6
        for table in TABLES:
            mine = load_table(table).of_machine(machine)
            used = fitted_rows(mine, known)
            wanted = {"h200": TABLES, "a100": (PREFILL, GEMM)}[machine]
            assert used.any() == (table in wanted)
            classes = mine.rows["class"][used].unique()
            assert len(classes) <= 1
            for kind in classes:
                of_class = np.asarray(mine.rows["class"] == kind)
                assert used.sum() <= 0.05 * of_class.sum()


def test_rows_of_the_fit_are_left_out_on_their_machine_only() -> None:
    rows = {}
    for machine in ("h200", "h100"):
        (record,) = (r for r in compared(machine, GEMM) if r["class"] == "gemm")
        rows[machine] = record["n"]
    assert rows == {"h200": 144 - 6, "h100": 144}


@pytest.mark.parametrize(
    ("machine", "tables"), [("h200", TABLES), ("a100", (PREFILL, GEMM))], ids=["h200", "a100"]
)
def test_shipped_calibrations_come_out_again(machine: str, tables: tuple[str, ...], tmp_path: Path) -> None:
    made = tmp_path / "made.yaml"
    ran = dse("calibrate", machine, *tables, "--rows", "calibration", "-o", made)
    assert ran.code == 0, ran.err
    again, shipped = load_calibration(made), load_calibration(f"{machine}_published")
    assert again.rows == shipped.rows
    for name in shipped.names():
        assert float(again.get(name)[0]) == pytest.approx(float(shipped.get(name)[0]), rel=1e-3)
        low, high = shipped.intervals[name]
        assert low <= float(shipped.get(name)[0]) <= high


def test_tables_of_others_carry_their_licence() -> None:
    for name, path in spec.shipped("studies/gpu/third_party", ".csv").items():
        described = path.with_suffix(".yaml")
        if described.is_file():
            file = load_table(name).file
            assert file is not None
            assert file.licence.split()[-1].startswith("LICENSE.")
            assert (path.parent / file.licence.split()[-1]).is_file()


@pytest.mark.parametrize(
    ("machine", "table", "kind", "bound"),
    [
        ("h200", "attn_mla_bf16", "mla_prefill", 0.18),
        ("h200", "attn_mla_bf16", "mla_decode", 0.18),
        ("h200", "linear_attention_gdn_kda", "recurrent_decode", 0.40),
        ("h200", "sparse_attention_h200", "indexer_logits", 0.40),
        ("a100", "llmcompass_measured", "matmul", 0.30),
    ],
)
def test_classes_never_calibrated_on_are_compared(machine: str, table: str, kind: str, bound: float) -> None:
    (record,) = (one for one in compared(machine, table) if one["class"] == kind)
    assert record["mape"] < bound
    assert record["mape"] < record["baselines"]["peak_roofline"]
    assert record["baselines"]["one_constant_roofline"] is None  # no row of the table was fitted on
