"""The bound from the longest blocks holds for every list schedule, and is met where blocks are few and sorted."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.simulator.list_schedule import LONGEST_FIRST, Run, expected, least, least_sorted, spread_of

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = st.lists(
    st.tuples(st.integers(1, 50), st.integers(-3, 5), st.integers(1, 9), st.integers(1, 7)),
    min_size=1,
    max_size=4,
).filter(lambda kinds: all(first + step * (classes - 1) > 0 for first, step, classes, _ in kinds))


def runs_of(kinds: Sequence[tuple[int, int, int, int]]) -> list[Run]:
    return [Run(*(np.full(1, float(value)) for value in kind)) for kind in kinds]


def blocks_of(kinds: Sequence[tuple[int, int, int, int]]) -> list[float]:
    return [
        float(first + i * step)
        for first, step, classes, each in kinds
        for i in range(classes)
        for _ in range(each)
    ]


def schedule(blocks: Sequence[float], slots: int) -> float:
    free = [0.0] * slots
    for block in blocks:
        heapq.heapreplace(free, free[0] + block)
    return max(free)


@given(KINDS, st.integers(1, 12), st.randoms(use_true_random=False))
def test_no_list_schedule_is_shorter(
    kinds: list[tuple[int, int, int, int]], slots: int, random: object
) -> None:
    blocks, runs = blocks_of(kinds), runs_of(kinds)
    bound = least_sorted(runs, np.full(1, float(slots)))[0]
    random.shuffle(blocks)  # type: ignore[attr-defined]
    for order in (blocks, sorted(blocks), sorted(blocks, reverse=True)):
        assert bound <= schedule(order, slots) * (1 + 1e-9)


@given(KINDS, st.integers(1, 12))
def test_longest_first_is_expected_no_longer_than_it_is(
    kinds: list[tuple[int, int, int, int]], slots: int
) -> None:
    runs, count = runs_of(kinds), np.full(1, float(slots))
    length = expected(spread_of(runs), count, LONGEST_FIRST, runs)[0]
    real = schedule(sorted(blocks_of(kinds), reverse=True), slots)
    assert length <= real * (1 + 1e-9)
    assert length >= least(spread_of(runs), count)[0]


def test_three_halves_of_a_wave() -> None:
    # Ten slots, fifteen blocks of 6: some slot takes two.
    runs = runs_of([(6, 0, 1, 15)])
    assert least_sorted(runs, np.full(1, 10.0))[0] == pytest.approx(12.0, rel=1e-6)
    # Sorted descending 10, 9, ... 1 on five slots: the sixth longest, 5, shares a slot with one of at least 5.
    runs = runs_of([(10, -1, 10, 1)])
    assert least_sorted(runs, np.full(1, 5.0))[0] == pytest.approx(10.0, rel=1e-6)
    assert least_sorted(runs, np.full(1, 20.0))[0] == 0.0


def test_points_of_a_batch_do_not_see_each_other() -> None:
    kinds = [(3, 2, 5, 4), (7, 0, 1, 30), (40, -1, 6, 2)]
    alone = [least_sorted(runs_of([kind]), np.full(1, 8.0))[0] for kind in kinds]
    together = [Run(*(np.array([float(kind[i]) for kind in kinds]) for i in range(4)))]
    assert least_sorted(together, np.full(1, 8.0)).tolist() == alone
    assert all(
        a == b for a, b in itertools.pairwise([alone, least_sorted(together, np.full(3, 8.0)).tolist()])
    )
