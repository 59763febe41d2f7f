"""Errors of a class: by hand on few rows, and what they must be on any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.studies.latency.metrics import (
    errors,
    kendall_tau,
    mape_interval,
    same_launch_floor,
    split_half_floor,
)

TIMES = st.lists(st.floats(1e-6, 1e-1), min_size=2, max_size=30)


def test_errors_by_hand() -> None:
    measured = np.array([1.0, 2.0, 4.0, 10.0])
    simulated = np.array([1.1, 1.8, 4.0, 12.0])
    found = errors(simulated, measured)
    assert found.n == 4
    assert found.mape == pytest.approx((0.1 + 0.1 + 0.0 + 0.2) / 4)
    assert found.median_ape == pytest.approx(0.1)
    assert found.p90_ape == pytest.approx(0.17)
    assert found.bias == pytest.approx(0.05)
    assert found.kendall_tau == pytest.approx(1.0)
    one = errors(np.array([2.0]), np.array([1.0]))
    assert (one.mape, one.kendall_tau, one.interval) == (1.0, None, None)


@settings(max_examples=40)
@given(TIMES, st.floats(0.2, 5.0))
def test_a_constant_factor_is_all_bias_and_keeps_the_order(times: list[float], factor: float) -> None:
    measured = np.array(times)
    found = errors(measured * factor, measured)
    assert found.mape == pytest.approx(abs(factor - 1.0), abs=1e-12)
    assert found.bias == pytest.approx(factor - 1.0, abs=1e-12)
    assert found.kendall_tau is None or found.kendall_tau == pytest.approx(1.0)
    turned = kendall_tau(-measured, measured)
    assert turned is None or turned == pytest.approx(-1.0)
    assert found.interval is not None
    low, high = found.interval
    assert low - 1e-12 <= found.mape <= high + 1e-12


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    hits = 0
    for _ in range(200):
        interval = mape_interval(random.exponential(0.05, 60), 300)
        assert interval is not None
        hits += interval[0] <= 0.05 <= interval[1]
    assert 0.86 <= hits / 200 <= 0.99


def test_floors_of_repeats_and_of_equal_launches() -> None:
    assert split_half_floor(np.array([1.0, 3.0]), np.array([1.0, 1.0])) == pytest.approx(0.25)
    measured = np.array([1.0, 1.25, 5.0, 7.0])
    keys = [b"a", b"a", b"b", b"c"]
    middle = 1.125
    wanted = (abs(middle / 1.0 - 1.0) + abs(middle / 1.25 - 1.0)) / 2
    assert same_launch_floor(measured, keys) == pytest.approx(wanted)
    assert same_launch_floor(measured, [b"a", b"b", b"c", b"d"]) is None
