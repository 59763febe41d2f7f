"""The array rules: shapes, float64 before products, left-to-right sums, exact division."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.errors import DseError
from dse.simulator.arrays import as_array, ceil_div, floor_div, product, size_of, total


def test_numbers_become_arrays_of_one_point() -> None:
    assert as_array(3).dtype == np.float64
    assert as_array(3).shape == (1,)
    assert as_array([1, 2]).shape == (2,)
    values = np.array([1.0, 2.0])
    assert as_array(values) is values


@pytest.mark.parametrize("wrong", [[[1.0]], [], "x", [1.0, "y"], 10**400])
def test_other_shapes_and_kinds_are_refused(wrong: object) -> None:
    with pytest.raises(DseError):
        as_array(wrong)  # type: ignore[arg-type]


def test_a_million_tokens_and_24_layers_do_not_overflow() -> None:
    tokens = np.array([1 << 20], dtype=np.int64)
    count = product(tokens, tokens, 64, 128, 24, 2, 1 << 20)
    assert count[0] == float(1 << 20) ** 3 * 64 * 128 * 24 * 2
    assert count[0] > 2**63


@pytest.mark.parametrize("factors", [(2, -1), (1e200, 1e200), (np.nan, 1), (np.inf, 0)])
def test_products_are_finite_and_not_negative(factors: tuple[float, ...]) -> None:
    with pytest.raises(DseError, match="product"):
        product(*factors)


def test_sums_run_left_to_right() -> None:
    values = [as_array(v) for v in (1e16, 1.0, 1.0, -1e16)]
    assert total(values)[0] == ((1e16 + 1.0) + 1.0) - 1e16
    assert total([])[0] == 0.0


@given(st.integers(0, 2**52), st.integers(1, 2**52))
def test_division_of_counts_is_exact(numerator: int, denominator: int) -> None:
    assert ceil_div(numerator, denominator)[0] == -(-numerator // denominator)
    assert floor_div(as_array(numerator), as_array(denominator))[0] == numerator // denominator


def test_division_by_zero_is_refused() -> None:
    with pytest.raises(DseError, match="zero"):
        ceil_div(1, [1, 0])


def test_arrays_of_one_program_agree_on_the_points() -> None:
    assert size_of([np.ones(3), np.ones(1), np.ones(3)]) == 3
    with pytest.raises(DseError, match="3 and 4"):
        size_of([np.ones(4), np.ones(3)])
