"""Selection and rounds on real streams: the set, ties, invariances, overflow, both event modes."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import ConfigError
from dse.simulator.topk import (
    CONVENTIONS,
    Request,
    TopK,
    convention,
    select,
    serve,
    top_indices,
)
from dse.simulator.topk.parameters import Overflow, Pivot, Ties
from dse.simulator.topk.rows import Compactor

EXAMPLES = 60
Stream = npt.NDArray[Any]


def generator() -> np.random.Generator:
    return np.random.default_rng(7)


@st.composite
def streams(draw: st.DrawFn, longest: int = 90) -> tuple[Stream, int]:
    """A stream with many ties or none, of integers or floats, and how many of it to keep."""
    n = draw(st.integers(1, longest))
    levels = draw(st.sampled_from([1, 2, 5, 1000]))
    values = np.array(draw(st.lists(st.integers(-levels, levels), min_size=n, max_size=n)))
    if draw(st.booleans()):
        values = values / 7.0
    return values, draw(st.integers(1, n))


@st.composite
def engines(draw: st.DrawFn) -> TopK:
    return TopK(
        convention=CONVENTIONS[draw(st.sampled_from(sorted(CONVENTIONS)))],
        lanes=draw(st.sampled_from([1, 4, 16])),
        capacity=draw(st.sampled_from([1, 32, 2048])),
        overflow=draw(st.sampled_from(["rescan", "spill"])),
        pivot=draw(st.sampled_from(get_args(Pivot))),
        ties=draw(st.sampled_from(get_args(Ties))),
        engines=draw(st.integers(1, 3)),
        bypass=draw(st.sampled_from(["in_order", "immediate", "never"])),
    )


@given(engines(), streams())
@settings(max_examples=EXAMPLES, deadline=None)
def test_keeps_the_largest_whatever_the_engine(engine: TopK, stream: tuple[Stream, int]) -> None:
    scores, k = stream
    found = select(engine, scores, k, generator())
    assert found.kept.tolist() == top_indices(scores, k).tolist()
    assert len(found.scanned) <= len(scores)
    assert sum(found.parts) == pytest.approx(found.cycles)


@given(engines(), streams())
@settings(max_examples=EXAMPLES, deadline=None)
def test_cycles_do_not_change_under_increasing_maps(engine: TopK, stream: tuple[Stream, int]) -> None:
    scores, k = stream
    curved = np.arctan(scores / 500.0) * 3.0 + scores**3
    one, other = (select(engine, values, k, generator()) for values in (scores, curved))
    assert one.cycles == other.cycles
    assert one.scanned.tolist() == other.scanned.tolist()


@given(engines(), st.lists(streams(40), min_size=1, max_size=4), st.lists(st.integers(0, 90), min_size=4))
@settings(max_examples=EXAMPLES, deadline=None)
def test_rounds_and_rows_agree(engine: TopK, batch: list[tuple[Stream, int]], ready: list[int]) -> None:
    requests = [Request(scores, k, float(r)) for (scores, k), r in zip(batch, ready, strict=False)]
    rounds, rows = serve(engine, requests), serve(engine, requests, detail=True)
    assert len(rounds) == len(requests)
    for request, one, other in zip(requests, rounds, rows, strict=True):
        assert one.kept.tolist() == other.kept.tolist() == top_indices(request.scores, request.k).tolist()
        assert (one.start_cycles, one.finish_cycles) == (other.start_cycles, other.finish_cycles)
        assert other.fullest_rows <= engine.fifo_rows
    finishes = [one.finish_cycles for one in rounds]
    if engine.bypass != "immediate":
        assert finishes == sorted(finishes)


@given(streams(), st.sampled_from([1, 4, 16]), st.sampled_from([1, 3, 100]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_zero_eliminators_neither_lose_nor_reorder(
    stream: tuple[Stream, int], lanes: int, capacity: int
) -> None:
    scores, k = stream
    side = Compactor(TopK(lanes=lanes, capacity=capacity))
    keep = scores >= np.sort(scores)[::-1][k - 1]
    for start in range(0, len(scores), lanes):
        side.push(scores[start : start + lanes], keep[start : start + lanes])
    side.flush()
    assert side.content.tolist() == scores[keep].tolist()
    assert side.passed == int(keep.sum())
    stored = [*side.rows, *side.aside]
    assert all(len(row) == lanes for row in stored[:-1])
    assert len(side.rows) == min(len(stored), max(1, capacity // lanes))


@pytest.mark.parametrize("pivot", get_args(Pivot))
@pytest.mark.parametrize("name", CONVENTIONS)
def test_equal_scores_take_one_round(pivot: Pivot, name: str) -> None:
    engine = TopK(convention(name), pivot=pivot)
    found = select(engine, np.full(1024, 3, np.int8), 205, generator())
    assert found.scanned.tolist() == [1024.0]
    assert found.kept.tolist() == list(range(205))


def test_what_keeps_everything_takes_no_engine_and_waits_its_turn() -> None:
    scores = generator().permutation(64)
    whole, part = Request(scores, 64), Request(scores, 8)
    assert select(TopK(), scores, 99).cycles == 0.0
    first, second = serve(TopK(), [part, whole])
    assert second.start_cycles == second.finish_cycles == first.finish_cycles > 0
    _, immediate = serve(TopK(bypass="immediate"), [part, whole])
    assert immediate.finish_cycles == 0.0
    _, never = serve(TopK(bypass="never"), [part, whole])
    assert never.finish_cycles > never.start_cycles == first.finish_cycles


def test_two_engines_serve_side_by_side_and_results_leave_in_order() -> None:
    long, short = Request(np.arange(512), 3), Request(np.arange(16), 3)
    one, two = (serve(TopK(engines=n, pivot="oracle"), [long, short, short]) for n in (1, 2))
    assert [served.start_cycles for served in two][:2] == [0.0, 0.0]
    assert two[1].finish_cycles == two[0].finish_cycles == one[0].finish_cycles
    assert two[2].finish_cycles < one[2].finish_cycles


def test_unsigned_and_signed_codes_are_ordered_as_numbers() -> None:
    assert top_indices(np.array([1, 255, 128], np.uint8), 1).tolist() == [1]
    assert top_indices(np.array([-128, -127, 5], np.int8), 2).tolist() == [1, 2]


def test_small_fifos_refuse_or_read_again() -> None:
    scores = generator().permutation(256)
    with pytest.raises(ConfigError, match="do not fit FIFOs of 1 rows"):
        select(TopK(capacity=16, overflow="refuse"), scores, 100, generator())
    cycles = {
        (rows, overflow): select(TopK(capacity=16 * rows, overflow=overflow), scores, 100, generator()).cycles
        for rows in (1, 4, 16)
        for overflow in ("rescan", "spill")
    }
    assert cycles[16, "rescan"] == cycles[16, "spill"]
    for overflow in get_args(Overflow)[:2]:
        assert cycles[1, overflow] > cycles[4, overflow] > cycles[16, overflow]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lanes": 0}, "is 0; at least 1"),
        ({"pivot": "unifrom"}, "did you mean 'uniform'"),
        ({"ties": "four_way"}, "not one of three_way, two_way"),
    ],
)
def test_wrong_parameters_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TopK(**change)
    assert message in str(caught.value)


def test_streams_must_be_numbers() -> None:
    with pytest.raises(ConfigError, match="stream of numbers"):
        select(TopK(), np.array([1.0, np.nan]), 1)
    with pytest.raises(ConfigError, match="is not one of"):
        convention("rtll")
