from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.errors import ConfigError
from dse.studies import tables
from dse.studies.quantities import PREFIXES, common_exponent, quantity, significant, size
from tests.studies import fake


def written(data: object, form: str = "table") -> str:
    stream = io.StringIO()
    tables.emit(data, form, stream)  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00201314, "s", "2.013 ms"),
        (54.8294, "s", "54.83 s"),
        (16220.6, "s", "16.22 ks"),
        (999.96, "s", "1.000 ks"),
        (429496729600.0, "B/s", "429.5 GB/s"),
        (1.71645e-11, "J", "17.16 pJ"),
        (0.0, "J", "0 J"),
        (math.nan, "J", "-"),
        (-0.5, "", "-500.0 m"),
    ],
)
def test_quantity(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


@given(st.floats(1e-14, 1e19), st.integers(3, 6))
def test_quantity_keeps_its_digits(value: float, digits: int) -> None:
    text, prefix = quantity(value, "s", digits).split(" ")
    exponent = next(power for power, letter in PREFIXES.items() if letter == prefix.removesuffix("s"))
    assert float(text) * 10.0**exponent == pytest.approx(value, rel=0.51 * 10.0 ** (1 - digits))


@given(st.floats(1e-3, 1e6))
def test_significant_has_no_exponent(value: float) -> None:
    assert "e" not in significant(value)
    assert float(significant(value)) == pytest.approx(value, rel=5.1e-4)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1024, "1K"),
        (65536, "64K"),
        (2**20, "1M"),
        (1000, "1000"),
        (1536.0, "1536"),
        ("bert", "bert"),
        (0.25, "0.25"),
    ],
)
def test_size(value: object, text: str) -> None:
    assert size(value) == text


def test_prefix_is_shared_only_over_a_small_range() -> None:
    assert common_exponent([2e-3, 5e-3, math.nan]) == -3
    assert common_exponent([2e-3, 16e3]) is None


def test_sweep_table_has_the_wanted_columns_in_120_characters() -> None:
    rows, _ = fake.sweep()
    text = written(rows)
    assert max(len(line) for line in text.splitlines()) <= 120
    lines = text.splitlines()
    head = " ".join(lines[:4])
    for word in ("machine", "workload", "sequence", "account-", "latency", "speedup", "energy", "ratio"):
        assert word in head
    for word in (" 1d ", " 2d ", "(GB/s)", "bound by", "(s)", "(J)"):
        assert word in head
    assert sum("fusemax_cascade" in line for line in lines) == 48
    best = next(line for line in lines if "bert" in line and " 64K " in line and "fusemax " in line)
    assert "7.403" in best
    assert "7.407" in best


def test_what_does_not_vary_is_said_once() -> None:
    rows, _ = fake.sweep(accountings=["paper"], workloads=["bert"])
    text = written(rows)
    assert "accounting paper" in text
    assert "batch 64" in text
    assert "baseline flat" in text
    assert text.count("bert") == 1


def test_columns_that_do_not_fit_are_named() -> None:
    rows, _ = fake.sweep(workloads=["bert"])
    for i in range(8):
        rows[f"utilization.unit_number_{i}"] = 0.5
    text = written(rows)
    assert max(len(line) for line in text.splitlines() if "not shown" not in line) <= 120
    assert "not shown: " in text
    assert "utilization.unit_number_7" in text.split("not shown: ")[1]


def test_infeasible_points_show_no_numbers() -> None:
    rows, _ = fake.sweep(workloads=["bert"], accountings=["paper"])
    numbers = ["latency_s", "energy_j", "speedup", "energy_ratio", "bandwidth.dram.average"]
    rows.loc[3, numbers] = math.nan
    rows.loc[3, ["status", "bound_by"]] = ["infeasible", None]
    line = next(line for line in written(rows).splitlines() if "infeasible" in line)
    assert line.split()[2] == "-"


def test_limit_says_how_many_rows_are_left_out() -> None:
    rows, _ = fake.sweep()
    text = tables.render(tables.sweep_table(rows, limit=10), io.StringIO())
    assert "230 more rows" in text
    assert sum("fusemax" in line for line in text.splitlines()) == 6


def test_object_table_has_units() -> None:
    record = {
        "machine": "fusemax",
        "latency_s": 7.4025,
        "parameters": {"sequence": 65536},
        "components": [{"a": 1}],
    }
    record |= {"bandwidth_byte_per_s": {"dram": {"average": 4.3e9}}, "cycles": 6958350336.0, "flops": 2**40}
    lines = {line.split("  ")[0].strip(): line for line in written(record).splitlines()}
    assert lines["latency"].endswith("7.402 s")
    assert lines["parameters sequence"].endswith(" 64K")
    assert lines["bandwidth dram average"].endswith("4.300 GB/s")
    assert lines["cycles"].endswith("6958350336")
    assert lines["flops"].endswith("1.100 TFLOP")


def test_record_table_takes_text_literally() -> None:
    text = written([{"name": "fusemax", "summary": "[bold]arrays[/bold]"}, {"name": "flat", "summary": None}])
    assert "[bold]arrays[/bold]" in text


def test_json_is_an_object_or_a_list_without_nan() -> None:
    record = {
        "cycles": np.float64(3.5),
        "count": np.int64(2),
        "speedup": math.nan,
        "inner": {"x": [math.inf, np.arange(2)]},
    }
    assert json.loads(written(record, "json")) == {
        "cycles": 3.5,
        "count": 2,
        "speedup": None,
        "inner": {"x": [None, [0, 1]]},
    }
    assert json.loads(written([record, {}], "json"))[1] == {}
    rows, _ = fake.sweep(workloads=["t5"])
    rows.loc[1, "latency_s"] = math.nan
    loaded = json.loads(written(rows, "json"))
    assert loaded[1]["latency_s"] is None
    assert [item["latency_s"] for item in loaded if item["latency_s"]] == rows["latency_s"].dropna().tolist()


def test_csv_round_trips() -> None:
    rows, _ = fake.sweep(workloads=["t5"])
    read = pd.read_csv(io.StringIO(written(rows, "csv")))
    pd.testing.assert_frame_equal(read, rows, check_dtype=False, rtol=0.0)
    nested = list(csv.DictReader(io.StringIO(written({"a": {"b": 1.5}, "c": math.nan}, "csv"))))
    assert nested == [{"a.b": "1.5", "c": ""}]


def test_unknown_format_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'json'"):
        tables.emit({}, "jsn")
