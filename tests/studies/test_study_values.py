"""Metrics on made-up results: selection, comparison, ledger sums, reduction, and what cannot be computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from dse.errors import ConfigError
from dse.studies.study_file import Metric
from dse.studies.study_values import Measured, plain, si_unit, value, values

if TYPE_CHECKING:
    from collections.abc import Mapping

POINTS = [
    {"machine": machine, "sequence": sequence, "batch": "64"}
    for machine in ("slow", "fast")
    for sequence in ("1K", "4K")
]
SECONDS = [8.0, 32.0, 1.0, 2.0]


def measured(seconds: list[float] = SECONDS) -> Measured:
    keys = ["a", "b", "c", "d"]
    rows = pd.DataFrame(
        {"point": keys, "latency_s": seconds, "cycles": [10.0, 20.0, 40.0, 80.0], "bound_by": "x"}
    )
    ledger = pd.DataFrame(
        {
            "point": ["a", "a", "b", "c", "c", "d"],
            "component": ["array", "array", "array", "array", "dram", "dram"],
            "einsum": ["QK", "AV", "QK", "QK", "QK", "AV"],
            "busy_cycles": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        }
    )
    return Measured("small", POINTS, rows, ledger)


def test_sizes_have_one_spelling() -> None:
    assert plain("1K") == plain("1024") == "1024"
    assert plain("fusemax") == "fusemax"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ({}, [0, 1, 2, 3]),
        ({"machine": "fast"}, [2, 3]),
        ({"sequence": "4096"}, [1, 3]),
        ({"machine": "fast,slow", "sequence": "1K", "batch": "64"}, [0, 2]),
    ],
)
def test_words_select_points(words: Mapping[str, str], found: list[int]) -> None:
    assert measured().select(words) == found


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"machin": "fast"}, "no axis 'machin'; did you mean 'machine'"),
        ({"sequence": "2K"}, "no sequence '2K'; there are 1K, 4K"),
        ({"einsum": "QK"}, "einsum selects rows of the ledger"),
    ],
)
def test_words_that_select_nothing(words: Mapping[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        values(Metric(column="latency_s"), measured(), words)


@pytest.mark.parametrize(
    ("compare", "found"),
    [("ratio", [0.125, 0.0625]), ("speedup", [8.0, 16.0]), ("difference", [-7.0, -30.0])],
)
def test_a_point_is_compared_with_another(compare: str, found: list[float]) -> None:
    metric = Metric.model_validate(
        {"column": "latency_s", "against": {"machine": "slow"}, "compare": compare}
    )
    assert values(metric, measured(), {"machine": "fast"})[1].tolist() == found


def test_the_other_point_must_be_there() -> None:
    metric = Metric(column="latency_s", against={"machine": "none"}, compare="ratio")
    with pytest.raises(ConfigError, match="no point like this one with machine=none"):
        values(metric, measured(), {})


def test_the_ledger_is_summed_over_selected_rows() -> None:
    metric = Metric(ledger="busy_cycles", where={"component": "array"}, per="cycles")
    assert values(metric, measured(), {})[1].tolist() == [0.3, 0.15, 0.1, 0.0]
    assert values(metric, measured(), {"einsum": "AV", "machine": "slow"})[1].tolist() == [0.2, 0.0]
    with pytest.raises(ConfigError, match="has rows with component=array einsum=X"):
        values(metric, measured(), {"einsum": "X"})
    without = Measured("small", POINTS, measured().rows, None)
    with pytest.raises(ConfigError, match="has no ledger"):
        values(metric, without, {})
    assert measured().parts("einsum", {"component": "dram"}) == ["QK", "AV"]


@pytest.mark.parametrize(
    ("reduce", "found"), [("mean", 1.5), ("geomean", 2.0**0.5), ("sum", 3.0), ("min", 1.0), ("max", 2.0)]
)
def test_points_are_reduced(reduce: str, found: float) -> None:
    metric = Metric.model_validate({"column": "latency_s", "reduce": reduce})
    assert value(metric, measured(), {"machine": "fast"}) == pytest.approx(found, rel=1e-15)


def test_a_claim_is_of_one_point_unless_reduced() -> None:
    metric = Metric(column="latency_s", times="cycles")
    assert value(metric, measured(), {"machine": "fast", "sequence": "4K"}) == 160.0
    with pytest.raises(ConfigError, match="selects 2 points of sweep small"):
        value(metric, measured(), {"machine": "fast"})
    odd = Measured("small", [*POINTS[:3], {**POINTS[3], "machine": "odd"}], measured().rows, None)
    with pytest.raises(ConfigError, match="no point of sweep small has all these values"):
        value(metric, odd, {"machine": "odd", "sequence": "1K"})


def test_an_infeasible_point_gives_no_number() -> None:
    found = value(Metric(column="latency_s", reduce="mean"), measured([8.0, 32.0, 1.0, np.nan]), {})
    assert np.isnan(found)


@pytest.mark.parametrize("name", ["latency", "bound_by"])
def test_columns_must_be_numbers_that_are_there(name: str) -> None:
    with pytest.raises(ConfigError, match=f"no column of numbers '{name}'"):
        values(Metric(column=name), measured(), {})


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        (Metric(column="latency_s"), "s"),
        (Metric(column="cycles"), ""),
        (Metric(column="dram_bytes", per="cycles"), ""),
        (Metric(column="dram_bytes", per="bandwidth.dram.peak", unit="s"), "s"),
        (Metric(column="energy_j", against={"machine": "slow"}, compare="ratio"), ""),
        (Metric(column="energy_j", against={"machine": "slow"}, compare="difference"), "J"),
        (Metric(ledger="energy_j"), "J"),
        (Metric(ledger="count"), ""),
    ],
)
def test_units_follow_from_columns(metric: Metric, unit: str) -> None:
    assert si_unit(metric) == unit
