"""The Pareto filter against comparing every pair."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.mappers.search.pareto import dominated, front


def brute(values: np.ndarray) -> list[int]:
    """Indices of rows that no other dominates and no earlier one equals."""
    kept = []
    for i, row in enumerate(values):
        below = (values <= row).all(axis=1)
        better = below & (values < row).any(axis=1)
        if not better.any() and not below[:i].any():
            kept.append(i)
    return kept


@given(
    points=st.integers(0, 80),
    columns=st.integers(1, 9),
    distinct=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=200, deadline=None)
def test_few_points(points: int, columns: int, distinct: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, distinct, (points, columns)).astype(np.float64)
    values[values == distinct - 1] = np.inf
    assert front(values).tolist() == brute(values)


def test_more_points_than_a_chunk() -> None:
    for columns in (2, 3, 8):
        values = np.random.default_rng(columns).integers(0, 40, (2500, columns)).astype(np.float64)
        assert front(values).tolist() == brute(values)


def test_a_front_survives_itself_and_dominates_the_rest() -> None:
    values = np.random.default_rng(0).random((50_000, 8))
    kept = front(values)
    assert front(values[kept]).tolist() == list(range(len(kept)))
    assert dominated(values, values[kept]).all()
    assert not dominated(values[kept] - 1e-9, values[kept]).any()


def test_order_of_the_points_does_not_matter() -> None:
    generator = np.random.default_rng(1)
    values = generator.random((3000, 5))
    order = generator.permutation(len(values))
    assert sorted(order[front(values[order])].tolist()) == front(values).tolist()
