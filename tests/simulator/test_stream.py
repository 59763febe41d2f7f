"""Streams: the recursion against the event simulation on random ones, and small cases counted by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import DseError
from dse.simulator.evaluate import evaluate
from dse.simulator.program import Action, Loop, Program, Unit
from dse.simulator.simulate import simulate
from dse.simulator.stream import UNLIMITED, Stage, Stream, Wait

EXAMPLES = 80


def stage(name: str, *busy: float, **rest: Any) -> Stage:  # noqa: ANN401
    return Stage(name, rest.pop("unit", name), np.array([busy], dtype=float), **rest)


def program(stream: Stream, **servers: float) -> Program:
    return Program(stream, {name: Unit(name, servers.get(name, 1.0)) for name in stream.units})


def cycles(stream: Stream, **servers: float) -> float:
    """Cycles by the recursion, checked against the simulation."""
    made = program(stream, **servers)
    found = evaluate(made)
    assert found.cycles[0] == found.cycles_upper[0] == simulate(made).cycles
    return float(found.cycles[0])


@st.composite
def streams(draw: st.DrawFn, points: int = 1) -> Program:
    """Streams that cannot lock up: queues may be small where orders are plain."""
    items, count = draw(st.integers(1, 7)), draw(st.integers(1, 4))
    whole = st.integers(0, 9).map(float)
    reordered = draw(st.booleans())
    stages: list[Stage] = []
    for number in range(count):
        busy = np.array(
            [[draw(whole) for _ in range(items)] for _ in range(draw(st.sampled_from([1, points])))]
        )
        if number and draw(st.booleans()):
            busy[:, draw(st.integers(0, items - 1))] = np.nan
        order = np.array(draw(st.permutations(range(items)))) if reordered else None
        queue = (
            UNLIMITED if reordered or np.isnan(busy).any() else draw(st.sampled_from([1.0, 2.0, UNLIMITED]))
        )
        if stages and np.isnan(stages[-1].busy).any():
            queue = UNLIMITED
        through = bool(number) and draw(st.booleans())
        stages.append(Stage(f"s{number}", f"u{number}", busy, draw(whole), queue, through, order))
    groups = None if reordered else np.sort(np.array([draw(st.integers(0, 2)) for _ in range(items)]))
    waits = []
    if count > 1 and not reordered and draw(st.booleans()):
        distance = draw(st.integers(1, 3))
        source = np.arange(items) - distance
        waits.append(Wait("s0", f"s{count - 1}", np.where(source < 0, -1, source), draw(st.booleans())))
    stream = Stream("stream", tuple(stages), tuple(waits), groups)
    units = {f"u{n}": Unit(f"u{n}", float(draw(st.integers(1, 3)))) for n in range(count)}
    return Program(stream, units)


@given(streams())
@settings(max_examples=EXAMPLES, deadline=None)
def test_recursion_and_simulation_agree(made: Program) -> None:
    found, ran = evaluate(made), simulate(made)
    assert found.cycles[0] == found.cycles_lower[0] == found.cycles_upper[0] == ran.cycles
    for name, time in ran.units.items():
        assert time.busy == found.units[name].busy[0]
        assert time.busy + sum(time.stall.values()) + time.idle == pytest.approx(time.servers * ran.cycles)
        assert time.idle >= -1e-9
        assert all(stalled >= 0 for stalled in time.stall.values())
    assert sum(part[0] for _, part in found.critical_path) == found.cycles[0]


def test_items_of_several_servers_leave_in_order() -> None:
    """Item 5 is done before item 4 on the other server, but the place behind them is for item 4 first."""
    queued = {"queue": 1.0}
    found = Stream("s", (stage("a", 0, 0, 0, 0, 1, 0, **queued), stage("b", 0, 0, 0, 0, 0, 0, **queued)))
    assert cycles(found, a=2.0) == 1.0


@given(streams(points=3))
@settings(max_examples=EXAMPLES // 4, deadline=None)
def test_a_point_alone_gives_the_same(made: Program) -> None:
    whole = evaluate(made)
    for point in range(made.size):
        stream = made.root
        assert isinstance(stream, Stream)
        one = tuple(replace(s, busy=s.busy[[point % len(s.busy)]]) for s in stream.stages)
        alone = Program(replace(stream, stages=one), made.units)
        assert evaluate(alone).cycles[0] == whole.cycles[point] == simulate(made, point).cycles


def test_two_stages_overlap() -> None:
    both = (stage("a", 3, 3, 3), stage("b", 5, 1, 5))
    assert cycles(Stream("s", both)) == 3 + 5 + 1 + 5
    assert cycles(Stream("s", both, groups=np.arange(3))) == 3 + 5 + 3 + 1 + 3 + 5
    assert cycles(Stream("s", both), b=2.0) == 3 + 3 + 3 + 5


def test_a_full_queue_blocks_the_stage_before() -> None:
    stages = (stage("a", 1, 1, 1, 1), stage("b", 10, 1, 1, 1, queue=1.0), stage("c", 1, 1, 1, 9))
    made = program(Stream("s", stages))
    assert cycles(Stream("s", stages)) == 1 + 10 + 1 + 1 + 1 + 9
    assert simulate(made).units["a"].stall["queue"] == 8.0
    assert simulate(made).units["b"].stall["queue"] == 0.0


def test_a_stage_may_start_on_the_first_of_the_one_before() -> None:
    stages = (stage("a", 10.0, latency=2.0), stage("b", 4.0, latency=1.0), stage("c", 20.0, through=True))
    assert cycles(Stream("s", stages)) == 12 + 1 + 20
    assert cycles(Stream("s", (stages[0], replace(stages[1], through=True), stages[2]))) == 2 + 1 + 20
    assert cycles(Stream("s", (stages[0], replace(stages[1], through=True)))) == 12 + 1


def test_items_skip_stages_and_stages_share_units() -> None:
    first, last = stage("a", 2, 2, unit="memory"), stage("c", 3, 3, unit="memory")
    middle = stage("b", 5, np.nan)
    early = Stream("s", (first, middle, last), turns={"memory": ((0, 0), (0, 1), (2, 0), (2, 1))})
    late = replace(early, turns={"memory": ((0, 0), (2, 0), (0, 1), (2, 1))})
    assert cycles(early) == 2 + 5 + 3 + 3
    assert cycles(late) == 2 + 5 + 3 + 2 + 3
    work = evaluate(program(early)).units
    assert (work["memory"].busy[0], work["b"].busy[0]) == (10.0, 5.0)


def test_storage_is_a_wait_for_an_earlier_item() -> None:
    stages = (stage("fetch", 2, 2, 2), stage("use", 4, 4, 4, latency=7.0))
    one = Wait("fetch", "use", np.array([-1, 0, 1]), arrival=False)
    assert cycles(Stream("s", stages, (one,))) == 3 * 6 + 7
    assert cycles(Stream("s", stages, (replace(one, arrival=True),))) == 3 * 13
    assert cycles(Stream("s", stages)) == 2 + 3 * 4 + 7


def test_orders_that_lock_up_are_faults_of_the_program() -> None:
    turned = stage("b", 1, 1, 1, order=np.array([2, 1, 0]), queue=1.0)
    with pytest.raises(DseError, match="locks up: item"):
        program(Stream("s", (stage("a", 1, 1, 1), turned)))
    assert cycles(Stream("s", (stage("a", 1, 1, 1), replace(turned, queue=np.array([3.0]))))) == 6.0


def test_faults_are_named() -> None:
    a = stage("a", 1, 2)
    cases = {
        "different names": Stream("s", (a, a)),
        "at least one place": Stream("s", (replace(a, queue=np.array([0.0])),)),
        "same items": Stream("s", (a, stage("b", 1))),
        "needs turns": Stream("s", (a, stage("b", 1, 1, unit="a"))),
        "visit no stage": Stream("s", (stage("a", 1, np.nan),)),
        "unknown stage 'x'": Stream("s", (a,), (Wait("a", "x", np.array([0, 0])),)),
        "do not follow": Stream("s", (a,), groups=np.array([1, 0])),
        "negative": Stream("s", (stage("a", 1, -1),)),
    }
    for text, stream in cases.items():
        with pytest.raises(DseError, match=text):
            program(stream)
    with pytest.raises(DseError, match="no more than 1"):
        simulate(program(Stream("s", (a,))), max_steps=1)


def test_streams_count_in_trees_and_are_charged_once() -> None:
    action = Action("x", "E", "T", "use", 6.0, 12.0, 3.0)
    stream = Stream("s", (replace(stage("a", 1, 2), actions=(action,)),))
    made = Program(Loop("twice", 2.0, stream), {"a": Unit("a")})
    found = evaluate(made)
    assert (found.cycles[0], found.joules[0], found.bytes[0]) == (6.0, 6.0, 24.0)
    assert found.bound_by(0) == "a"


def test_deeper_queues_are_never_slower() -> None:
    draw = np.random.default_rng(4)
    busy = draw.integers(1, 30, (3, 40)).astype(float)
    lengths = []
    for depth in (1.0, 2.0, 4.0, UNLIMITED):
        stages = tuple(Stage(f"s{n}", f"s{n}", row[None], queue=depth) for n, row in enumerate(busy))
        lengths.append(cycles(Stream("s", stages)))
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] < lengths[0]
