"""Visited tile pairs in closed form against counting them one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.simulator.spatial_array.causal import floor_sum, visited
from dse.simulator.spatial_array.storage import _largest_divisor

SIZES = st.integers(1, 300)


@given(st.integers(1, 8), SIZES, SIZES, st.integers(1, 64), st.integers(1, 64))
def test_visited_pairs_are_those_counted_one_by_one(g: int, p: int, m: int, tall: int, wide: int) -> None:
    if p < wide:
        expected = np.ceil(g * p / wide) * np.ceil(m / tall)
    else:
        last = np.minimum(np.arange(1, np.ceil(p / wide) + 1) * wide, p)
        expected = g * np.ceil(np.maximum(m - p + last, 0) / tall).sum()
    assert visited(float(g), float(p), float(m), float(tall), float(wide)) == expected


@given(st.integers(0, 50), st.integers(1, 40), st.integers(0, 90), st.integers(0, 90))
def test_floor_sum_adds_floors(count: int, divisor: int, step: int, start: int) -> None:
    assert floor_sum(count, divisor, step, start) == sum((start + i * step) // divisor for i in range(count))


@given(st.integers(1, 5000), st.floats(1, 6000))
def test_largest_divisor_is_the_largest(number: int, limit: float) -> None:
    assert _largest_divisor(number, limit) == max(
        d for d in range(1, number + 1) if number % d == 0 and d <= limit
    )


@pytest.mark.parametrize("length", [2**53, 2**53 - 1])
def test_the_longest_problem_takes_no_time(length: int) -> None:
    assert visited(1.0, float(length), float(length), 256.0, 256.0) > 2.0**88
    assert length % _largest_divisor(length, 1e9) == 0
