"""Pruning schedules against the released traces, and head rows of recorded scores."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse import spec
from dse.errors import WorkloadError
from dse.workloads.head_rows import Bits, HeadRows
from dse.workloads.pruned_scores import quantised, recorded_rows, survivors
from dse.workloads.pruning import (
    ROOM,
    WHOLE,
    Schedule,
    dense,
    encoded_rows,
    generated_rows,
    kept,
    load_schedule,
)
from dse.workloads.score_trace import load_scores

# Totals of the released GPT-2 traces (mit-han-lab/spatten, MIT): head rows, key and value vectors, bytes without
# queries, head rows that fetch low-order bits.
RELEASED = {
    "gpt2_small_wikitext2": (4608, 1_283_172, 255_180, 82_428_256, 323),
    "gpt2_small_dense": (4608, 4_647_168, 4_647_168, 743_546_880, 4608),
    "gpt2_medium_wikitext2": (11_328, 6_143_004, 1_848_398, 708_025_856, 11_328),
}


def rows_of(name: str) -> HeadRows:
    small = "small" in name
    return generated_rows(load_schedule(name), 12 if small else 24, 12 if small else 16, 64, 993, 32)


@pytest.mark.parametrize("name", RELEASED)
def test_schedules_give_the_released_totals(name: str) -> None:
    rows = rows_of(name)
    moved = rows.key_bytes.sum() + rows.lsb_bytes.sum() + rows.value_bytes.sum()
    found = (len(rows), rows.keys.sum(), rows.values.sum(), moved, rows.refetch.sum())
    assert found == RELEASED[name]
    assert rows.group[-1] + 1 == 32 * (12 if "small" in name else 24)


def test_the_first_step_sees_everything_and_later_ones_what_is_left() -> None:
    rows = rows_of("gpt2_small_wikitext2")
    first, later = rows.step == 0, rows.step == 9
    assert set(rows.keys[first]) == {993}
    assert set(rows.values[first]) == {204}
    assert [int(rows.keys[later & (rows.layer == layer)][0]) for layer in (0, 1, 2, 11)] == [
        921,
        716,
        204,
        102,
    ]
    assert [int(rows.values[later & (rows.layer == layer)][0]) for layer in (0, 1, 2, 11)] == [
        184,
        143,
        40,
        20,
    ]
    assert rows.flops.sum() == 2 * 64 * (1_283_172 + 255_180 + (rows.keys * rows.refetch).sum())


@pytest.mark.parametrize("name", spec.shipped(ROOM))
def test_shipped_schedules_load(name: str) -> None:
    found = load_schedule(name)
    assert found.name == name
    assert 0 < min(found.tokens) <= max(found.tokens) <= 1


def test_wrong_schedules_are_refused() -> None:
    schedule = load_schedule("gpt2_small_wikitext2")
    with pytest.raises(WorkloadError, match="for 12 layers, there are 6"):
        generated_rows(schedule, 6, 12, 64, 993, 32)
    with pytest.raises(WorkloadError, match="keeps 16 of 12 heads"):
        generated_rows(load_schedule("gpt2_medium_wikitext2"), 24, 12, 64, 993, 32)
    with pytest.raises(WorkloadError, match="causal"):
        encoded_rows(schedule, 12, 12, 64, 128, 128, causal=True)


def test_encoded_rows_are_queries_of_survivors() -> None:
    halves = Schedule("halves", (1.0, 0.5), (), 0.25, Bits(8, 8, 16))
    rows = encoded_rows(halves, 2, 3, 64, 10, 10, causal=False)
    assert [int((rows.layer == layer).sum()) for layer in (0, 1)] == [30, 15]
    assert sorted(set(rows.keys.tolist())) == [5, 10]
    assert sorted(set(rows.values.tolist())) == [1, 2]
    seen = encoded_rows(dense(1), 1, 1, 64, 6, 4, causal=True)
    assert seen.keys.tolist() == [3, 4, 5, 6]
    assert seen.refetch.all()
    assert seen.bits == WHOLE


@given(st.floats(0.01, 1.0), st.integers(1, 2000))
@settings(max_examples=200, deadline=None)
def test_shares_keep_at_least_one_and_never_round_up(share: float, tokens: int) -> None:
    assert 1 <= kept(share, tokens) <= max(1, round(share * tokens + 0.5))
    assert kept(0.7, 10) == 7


def test_head_rows_must_agree_with_each_other() -> None:
    rows = rows_of("gpt2_small_wikitext2")
    with pytest.raises(WorkloadError, match="no more values than keys"):
        replace(rows, values=rows.keys + 1)
    with pytest.raises(WorkloadError, match="values has 3 numbers"):
        replace(rows, values=rows.values[:3])
    with pytest.raises(WorkloadError, match="streams do not have"):
        replace(rows, streams=(np.zeros(3),) * len(rows))
    with pytest.raises(WorkloadError, match="do not have"):
        replace(rows, bits=Bits(6, 6, 16))


@given(st.integers(2, 12), st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_quantised_probabilities_keep_their_order(bits: int, probabilities: list[float]) -> None:
    values = np.array(probabilities)
    codes = quantised(values, bits)
    assert (codes >= 0).all()
    assert (codes < 1 << bits).all()
    order = np.argsort(values)
    assert (np.diff(codes[order]) >= 0).all()


def test_recorded_rows_carry_streams_of_the_survivors() -> None:
    trace, schedule = load_scores("minilm_alice_64"), load_schedule("minilm_half")
    rows, alive = recorded_rows(trace, schedule, 32), survivors(trace, schedule)
    assert [len(one) for one in alive] == [64, 57, 51, 44, 38, 32]
    assert all(set(later) <= set(earlier) for earlier, later in pairwise(alive))
    assert len(rows) == 12 * sum(len(one) for one in alive)
    assert rows.streams is not None
    assert rows.key_indices is not None
    assert rows.value_indices is not None
    for row in range(0, len(rows), 97):
        stream, keys, values = rows.streams[row], rows.key_indices[row], rows.value_indices[row]
        assert keys.tolist() == alive[rows.layer[row]].tolist()
        assert rows.query[row] in keys
        assert set(values) <= set(keys)
        chosen = np.isin(keys, values)
        assert stream[chosen].min() >= stream[~chosen].max()
    assert 0 < rows.refetch.mean() < 1
    assert (recorded_rows(trace, replace(schedule, threshold=0.9), 32).refetch).mean() > rows.refetch.mean()


def test_heads_are_pruned_by_the_size_of_their_output() -> None:
    trace, schedule = load_scores("minilm_alice_16"), load_schedule("minilm_half")
    rows = recorded_rows(trace, replace(schedule, heads=(12, 12, 9, 9, 6, 6)), 32)
    heads = [set(rows.head[rows.layer == layer].tolist()) for layer in range(6)]
    assert [len(one) for one in heads] == [12, 12, 9, 9, 6, 6]
    assert all(later <= earlier for earlier, later in pairwise(heads))
    with pytest.raises(WorkloadError, match="keeps 13 of 12"):
        recorded_rows(trace, replace(schedule, heads=(13,) * 6), 32)
    with pytest.raises(WorkloadError, match="before the first layer"):
        recorded_rows(trace, replace(schedule, tokens=(0.5,) * 6), 32)
