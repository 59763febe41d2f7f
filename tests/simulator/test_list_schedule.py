"""Blocks on slots against a heap that runs them one by one: bounds always hold, the expected length comes close."""

from __future__ import annotations

import heapq
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.simulator.list_schedule import GRID, LONGEST_FIRST, Run, Spread, expected, least, most, spread_of

TOLERANCE = 1.0 + 1e-9
runs = st.lists(
    st.tuples(st.integers(1, 30), st.integers(0, 4), st.integers(1, 8), st.integers(1, 40)),
    min_size=1,
    max_size=4,
)


def one(value: float) -> np.ndarray:
    return np.array([float(value)])


def spread(kinds: list[tuple[int, int, int, int]]) -> Spread:
    return spread_of([Run(*(one(value) for value in kind)) for kind in kinds])


def listed(kinds: list[tuple[int, int, int, int]], order: str = GRID) -> list[float]:
    """Durations in the order of the grid: every round has one block of each class."""
    classes = [(first + step * i, each) for first, step, count, each in kinds for i in range(count)]
    turns = range(max(each for _, each in classes))
    found = [float(d) for turn in turns for d, each in classes if turn < each]
    return sorted(found, reverse=True) if order == LONGEST_FIRST else found


def scheduled(durations: list[float], slots: int) -> float:
    free = [0.0] * slots
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


@given(runs, st.integers(1, 60))
def test_moments_are_those_of_the_blocks(kinds: list[tuple[int, int, int, int]], slots: int) -> None:
    durations, found = listed(kinds), spread(kinds)
    assert found.count[0] == len(durations)
    assert found.total[0] == sum(durations)
    assert found.squares[0] == sum(d * d for d in durations)
    assert (found.shortest[0], found.longest[0]) == (min(durations), max(durations))


@settings(max_examples=200)
@given(runs, st.integers(1, 60), st.sampled_from([GRID, LONGEST_FIRST]), st.randoms())
def test_bounds_hold_in_any_order(
    kinds: list[tuple[int, int, int, int]], slots: int, order: str, random: np.random.Generator
) -> None:
    found = spread(kinds)
    low, high = least(found, one(slots))[0], most(found, one(slots))[0]
    length = expected(found, one(slots), order)[0]
    shuffled = listed(kinds)
    random.shuffle(shuffled)
    for durations in (listed(kinds, order), shuffled):
        assert low <= scheduled(durations, slots) * TOLERANCE
        assert scheduled(durations, slots) <= high * TOLERANCE
    assert low <= length * TOLERANCE <= high * TOLERANCE**2


def test_expected_length_of_causal_rows_is_close() -> None:
    """Rows of a causal mask, head after head: within 6% each, 1% on average."""
    errors = []
    for rows, heads, start in chain.from_iterable(
        [(t, h, s) for h in (3, 16, 64) for s in (0, 2, 8)] for t in (2, 8, 32, 64)
    ):
        kinds = [(1 + start, 1, rows, heads)]
        for slots in (108, 132, 264):
            real = scheduled(listed(kinds), slots)
            errors.append(abs(expected(spread(kinds), one(slots), GRID)[0] / real - 1.0))
    assert max(errors) < 0.06
    assert np.mean(errors) < 0.01


@pytest.mark.parametrize(("blocks", "waves"), [(1, 1), (132, 1), (133, 2), (264, 2), (1000, 8)])
def test_equal_blocks_take_whole_waves(blocks: int, waves: int) -> None:
    found = spread([(5, 0, 1, blocks)])
    assert expected(found, one(132), GRID)[0] == 5 * waves == least(found, one(132))[0]


def test_many_points_give_the_bits_of_one() -> None:
    kinds = [(3, 1, 7, 11), (9, 0, 1, 4)]
    alone = expected(spread(kinds), one(13), GRID)
    many = [Run(*(np.full(5, float(v)) for v in kind)) for kind in kinds]
    assert expected(spread_of(many), np.full(5, 13.0), GRID).tolist() == [alone[0]] * 5
    assert expected(spread_of([Run(one(1), one(0), one(1), one(0))]), one(4), GRID)[0] == 0.0
