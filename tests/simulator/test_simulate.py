"""Event simulation: known cycles, between the bounds on every node, times that add up, exact skipping."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import DseError, InfeasibleError
from dse.simulator.evaluate import evaluate
from dse.simulator.program import (
    Body,
    Choose,
    Constraint,
    Edge,
    Hold,
    Loop,
    Node,
    Par,
    Program,
    Seq,
    Step,
    Sub,
    Unit,
)
from dse.simulator.simulate import Simulation, simulate
from dse.simulator.timeline import trace, write_trace
from dse.simulator.window import smallest_window
from tests.simulator.fusemax import tile, with_memory
from tests.simulator.stepping import Clocked
from tests.simulator.trees import EXAMPLES, MANY_EXAMPLES, UNITS, bodies, loops, nodes, programs

if TYPE_CHECKING:
    from pathlib import Path

PER_TILE = [
    *(
        (64, window, cycles)
        for window, cycles in enumerate((395.2, 230.5, 174.4, 149.3, 143.7, 140.3), start=1)
    ),
    *((128, window, cycles) for window, cycles in enumerate((523.5, 327.0, 290.8, 268.9), start=1)),
]


@pytest.mark.parametrize(("depth", "window", "cycles"), PER_TILE)
def test_fusemax_tile_by_window(depth: float, window: float, cycles: float) -> None:
    program = tile(depth, depth, window)
    found = simulate(program)
    assert found.cycles / 256 == pytest.approx(cycles, abs=0.0501)
    assert evaluate(program).cycles <= found.cycles <= evaluate(program).cycles_upper
    assert found.units["2D"].busy == 256 * (2 * depth + 9)
    assert found.units["1D"].busy == 256 * (2 * depth + 10)


@pytest.mark.parametrize(
    ("depth", "window", "cycles"), [(64, 1, 101184), (64, 5, 36798), (64, 6, 35926), (128, 4, 68838)]
)
def test_fusemax_tile_to_the_cycle(depth: float, window: float, cycles: float) -> None:
    """Totals of an independent list scheduler, written with a heap and no event library."""
    assert simulate(tile(depth, depth, window)).cycles == cycles
    assert simulate(tile(depth, depth, window), extrapolate=False).cycles == cycles


def test_a_billion_tiles_take_the_resource_bound_each() -> None:
    found = simulate(tile(64, 64, 6, 1e9))
    assert found.extrapolated
    assert found.steps < 20_000
    assert found.cycles / 1e9 == pytest.approx(138, rel=1e-8)


def test_smallest_window_that_keeps_the_arrays_busy() -> None:
    narrow, deep = smallest_window(tile(), "registers"), smallest_window(tile(128, 128), "registers")
    assert (narrow.window, narrow.resource_cycles) == (5, 138)
    assert (deep.window, deep.resource_cycles) == (4, 266)
    assert narrow.cycles[4] == pytest.approx(149.3, abs=0.05)
    assert smallest_window(tile(), "registers", limit=3).window is None
    with pytest.raises(DseError, match="no loop has a hold 'register'; did you mean 'registers'"):
        smallest_window(tile(), "register")


def check_times(found: Simulation) -> None:
    for unit in found.units.values():
        parts = (unit.busy, *unit.stall.values(), unit.idle)
        assert min(parts) >= 0
        assert sum(parts) == pytest.approx(unit.servers * found.cycles, rel=1e-12, abs=1e-9)


def check_bounds(program: Program) -> None:
    bounds = evaluate(program)
    for point in range(program.size):
        found = simulate(program, point)
        assert bounds.cycles[point] <= found.cycles * (1 + 1e-9)
        assert found.cycles <= bounds.cycles_upper[point] * (1 + 1e-9)
        check_times(found)
        for name, unit in bounds.units.items():
            assert found.units[name].busy == pytest.approx(unit.busy[point], rel=1e-9)


def check_skipping(loop: Loop, servers: int, count: int) -> None:
    units = {name: Unit(name, servers) for name in UNITS}
    program = Program(Loop("n", count, loop.body, loop.holds), units)
    full, skipped = simulate(program, extrapolate=False), simulate(program)
    assert skipped.cycles == full.cycles
    assert not full.extrapolated
    assert skipped.units == full.units


def check_witness(node: Node, servers: int) -> None:
    program = Program(node, {name: Unit(name, servers) for name in UNITS})
    assert simulate(program, extrapolate=False).cycles == Clocked(program).cycles()


@settings(max_examples=EXAMPLES, deadline=None)
@given(programs(points=2))
def test_the_bounds_enclose_the_simulation_of_every_tree(program: Program) -> None:
    check_bounds(program)


@settings(max_examples=EXAMPLES, deadline=None)
@given(loops("n", 1), st.integers(1, 2), st.integers(50, 150))
def test_skipping_what_repeats_changes_nothing(loop: Loop, servers: int, count: int) -> None:
    check_skipping(loop, servers, count)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.one_of(bodies("n", 1), loops("n", 1, 5)), st.integers(1, 2))
def test_events_agree_with_a_simulation_instant_by_instant(node: Node, servers: int) -> None:
    check_witness(node, servers)


@pytest.mark.slow
@settings(max_examples=MANY_EXAMPLES, deadline=None)
@given(programs(points=2))
def test_the_bounds_enclose_the_simulation_of_many_trees(program: Program) -> None:
    check_bounds(program)


@pytest.mark.slow
@settings(max_examples=MANY_EXAMPLES, deadline=None)
@given(loops("n", 1), st.integers(1, 2), st.integers(50, 400))
def test_skipping_changes_nothing_in_many_loops(loop: Loop, servers: int, count: int) -> None:
    check_skipping(loop, servers, count)


@pytest.mark.slow
@settings(max_examples=MANY_EXAMPLES, deadline=None)
@given(st.one_of(bodies("n", 1), loops("n", 1, 5)), st.integers(1, 2))
def test_events_agree_with_instants_on_many_bodies(node: Node, servers: int) -> None:
    check_witness(node, servers)


def test_most_long_loops_are_extrapolated() -> None:
    for window in (1, 3, 6):
        assert simulate(with_memory(64, 64, window, 1e6, 30)).extrapolated


@pytest.mark.parametrize(
    ("window", "dram", "count"),
    [(2, 30, 1200), (2, 71.7, 1200), (2, 140, 1200), (6, 140, 1200), (6, 30, 3000)],
)
def test_the_tile_with_memory_is_enclosed_and_skipped_exactly(
    window: float, dram: float, count: float
) -> None:
    program = with_memory(64, 64, window, count, dram)
    full, skipped = simulate(program, extrapolate=False), simulate(program)
    assert skipped.extrapolated
    assert skipped.cycles == pytest.approx(full.cycles, rel=1e-12)
    assert skipped.steps < full.steps
    bounds = evaluate(program)
    assert bounds.cycles <= full.cycles * (1 + 1e-12) <= bounds.cycles_upper
    check_times(full)


@settings(max_examples=20, deadline=None)
@given(nodes("n", 1, 1), nodes("m", 1, 1))
def test_nodes_after_each_other_take_the_sum_and_apart_the_maximum(one: Node, other: Node) -> None:
    units = {name: Unit(name) for name in UNITS}
    alone = [simulate(Program(node, units)).cycles for node in (one, other)]
    assert simulate(Program(Seq("s", (one, other)), units)).cycles == pytest.approx(sum(alone))
    subs = tuple(Sub(f"d{i}", Program(node, units)) for i, node in enumerate((one, other)))
    assert simulate(Program(Par("p", subs), {})).cycles == max(alone)
    assert simulate(Program(Par("p", subs, 0.0), {})).cycles == pytest.approx(sum(alone))
    assert simulate(Program(Loop("l", 3, Seq("s", (one,))), units)).cycles == pytest.approx(3 * alone[0])
    choice = Program(Choose("c", (one, other)), units)
    bounds = [evaluate(Program(node, units)).cycles[0] for node in (one, other)]
    assert simulate(choice).cycles == alone[int(np.argmin(bounds))]


def test_stalls_are_told_by_cause() -> None:
    steps = (Step("load", "dram", 5, 3), Step("use", "array", 2))
    body = Body("b", steps, (Edge("load", "use"),))
    units = {name: Unit(name) for name in ("dram", "array")}
    found = simulate(
        Program(Loop("n", 4, body, (Hold("buffer", "load", "use", 1),)), units), extrapolate=False
    )
    assert found.cycles == 4 * 10
    assert found.units["array"].stall == {"dependence": 15, "latency": 9}
    assert found.units["array"].idle == 8
    assert found.units["dram"].stall == {"window:buffer": 15}
    assert found.units["dram"].idle == 5


def test_units_shared_in_a_par_are_shared_in_the_simulation() -> None:
    def pair(name: str) -> Body:
        return Body(name, (Step("x", "a", 3), Step("y", "b", 4)), (Edge("x", "y"),))

    units = {name: Unit(name) for name in "ab"}
    assert simulate(Program(Par("p", (pair("one"), pair("two"))), units)).cycles == 3 + 4 + 4
    assert simulate(Program(Par("p", (pair("one"), pair("two")), 0.5), units)).cycles == 11 + 0.5 * 3
    nested = Par("p", (Seq("s", (pair("one"), Par("q", (pair("two"), pair("three"))))), pair("four")))
    check_times(simulate(Program(nested, units)))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (tile(count=2.5), "count of tiles is 2.5; the simulation needs a whole number"),
        (tile(window=1.5), "capacity of tiles/registers is 1.5"),
        (Program(Body("b", (Step("s", "a", 1, every=1.5),)), {"a": Unit("a")}), "every of b/s is 1.5"),
        (Program(Body("b", (Step("s", "a", 1),)), {"a": Unit("a", 0.5)}), "count of a is 0.5"),
        (Program(Body("b", (Step("s", "a", -1),)), {"a": Unit("a")}), "cycles of b/s is -1.0"),
        (Program(Body("b", (Step("s", "a", np.inf),)), {"a": Unit("a")}), "b/s takes infinitely long"),
    ],
)
def test_what_cannot_be_executed_is_refused(program: Program, message: str) -> None:
    with pytest.raises(DseError, match=message):
        simulate(program)


def test_too_many_steps_and_infeasible_points_are_refused() -> None:
    steps = (Step("s", "a", 1), Step("t", "b", np.pi))
    endless = Program(
        Loop("n", 1e9, Body("b", steps, (Edge("s", "t"),))), {name: Unit(name) for name in "ab"}
    )
    with pytest.raises(DseError, match="more than 5000 steps without a repeating pattern"):
        simulate(Program(endless.root, endless.units), max_steps=5000, extrapolate=False)
    limit = (Constraint("fits", [1, 3], 2, "B"),)
    with pytest.raises(InfeasibleError, match="'fits'"):
        simulate(Program(tile().root, tile().units, constraints=limit), 1)
    with pytest.raises(DseError, match="no design point 3"):
        simulate(tile(), 3)


def test_the_timeline_has_a_track_per_unit(tmp_path: Path) -> None:
    found = simulate(tile(count=20), record=1000, extrapolate=False)
    write_trace(found, tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    tracks = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    assert sorted(tracks.values()) == ["1D", "2D"]
    slices = [event for event in events if event["ph"] == "X"]
    assert len(slices) == 20 * 11
    for track, name in tracks.items():
        mine = sorted((s["args"]["cycle"], s["args"]["cycles"]) for s in slices if s["tid"] == track)
        assert sum(length for _, length in mine) == found.units[name].busy
        assert all(a + length <= b for (a, length), (b, _) in pairwise(mine))
    assert {s["args"]["iteration"] for s in slices} == set(range(20))
    assert list(tmp_path.iterdir()) == [tmp_path / "trace.json"]
    with pytest.raises(DseError, match="record"):
        trace(simulate(tile(count=2)))


def test_the_timeline_shows_what_was_skipped() -> None:
    found = simulate(tile(window=1, count=1000), record=1000)
    skipped = [piece for piece in found.slices if piece.unit == "skipped"]
    assert len(skipped) == 1
    last = max(found.slices, key=lambda piece: piece.start + piece.duration)
    assert last.start + last.duration == found.cycles


def test_chosen_children_may_differ_between_points() -> None:
    children = tuple(Body(name, (Step(name, "a", busy),)) for name, busy in (("x", [1, 9]), ("y", [5, 5])))
    program = Program(Choose("c", children), {"a": Unit("a")})
    assert [simulate(program, point).cycles for point in range(2)] == [1, 5]
