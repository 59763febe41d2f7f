"""Dispatch of thread blocks: simulated between the bounds, close to the expected length, a node like any other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import DseError
from dse.simulator.dispatch import Dispatch
from dse.simulator.evaluate import evaluate
from dse.simulator.list_schedule import GRID, LONGEST_FIRST, Run
from dse.simulator.program import Action, Body, Loop, Program, Seq, Step, Unit
from dse.simulator.simulate import simulate

UNITS = {"sm": Unit("sm", 4.0), "dram": Unit("dram")}
TOLERANCE = 1.0 + 1e-9
EXAMPLES = 150


def one(value: float) -> np.ndarray:
    return np.array([float(value)])


def dispatch(
    kinds: list[tuple[float, float, int, int]],
    slots: int = 4,
    transfers: float = 0.0,
    hidden: float = 1.0,
    ramp: float = 0.0,
    order: str = GRID,
) -> Dispatch:
    return Dispatch(
        name="blocks",
        runs=tuple(Run(*(one(value) for value in kind)) for kind in kinds),
        slots=one(slots),
        fluid="dram",
        transfers=one(transfers),
        hidden=one(hidden),
        ramp=one(ramp),
        order=order,
    )


kinds = st.lists(
    st.tuples(st.floats(0.5, 30.0), st.floats(0.0, 5.0), st.integers(1, 6), st.integers(1, 9)),
    min_size=1,
    max_size=3,
)
nodes = st.builds(
    dispatch,
    kinds,
    slots=st.integers(1, 12),
    transfers=st.one_of(st.just(0.0), st.floats(0.1, 500.0)),
    hidden=st.one_of(st.just(0.0), st.just(1.0), st.floats(0.0, 1.0)),
    ramp=st.one_of(st.just(0.0), st.floats(0.0, 20.0)),
    order=st.sampled_from([GRID, LONGEST_FIRST]),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(nodes)
def test_simulation_lies_between_the_bounds(node: Dispatch) -> None:
    program = Program(node, UNITS)
    found, ran = evaluate(program), simulate(program)
    assert found.cycles_lower[0] <= ran.cycles * TOLERANCE
    assert ran.cycles <= found.cycles_upper[0] * TOLERANCE
    assert found.cycles_lower[0] <= found.cycles[0] * TOLERANCE
    assert found.cycles[0] <= found.cycles_upper[0] * TOLERANCE
    assert ran.units["dram"].busy == node.transfers[0]


def test_blocks_of_one_length_take_whole_waves() -> None:
    program = Program(dispatch([(10.0, 0.0, 1, 9)]), UNITS)
    assert evaluate(program).cycles[0] == 30.0 == simulate(program).cycles


def test_transfers_are_a_fluid_and_not_waves() -> None:
    """Nine blocks on four slots take as long as the data of all: no third wave of its own."""
    program = Program(dispatch([(10.0, 0.0, 1, 9)], transfers=90.0), UNITS)
    assert evaluate(program).cycles[0] == 90.0
    assert simulate(program).cycles == pytest.approx(90.0)
    assert evaluate(program).bound_by(0) == "dram"


def test_transfers_that_do_not_hide_add_to_the_work() -> None:
    node = dispatch([(10.0, 0.0, 1, 4)], transfers=8.0, hidden=0.0)
    assert evaluate(Program(node, UNITS)).cycles[0] == 18.0
    assert simulate(Program(node, UNITS)).cycles == pytest.approx(18.0)
    late = replace(node, hidden=one(1.0), ramp=one(5.0))
    assert simulate(Program(late, UNITS)).cycles == pytest.approx(13.0)


def test_mixed_blocks_are_expected_where_the_simulation_ends() -> None:
    node = dispatch([(3.0, 1.0, 16, 32)], slots=24)
    found, ran = evaluate(Program(node, UNITS)), simulate(Program(node, UNITS))
    assert found.cycles[0] == pytest.approx(ran.cycles, rel=0.02)
    assert found.cycles_lower[0] < found.cycles[0] < found.cycles_upper[0]
    assert sum(part.sum() for _, part in found.critical_path) == pytest.approx(found.cycles[0])


def test_a_dispatch_is_a_node_like_any_other() -> None:
    charged = replace(
        dispatch([(3.0, 1.0, 4, 3)], slots=2, transfers=7.0),
        busy={"sm": one(20.0)},
        blame={"sm": one(1.0)},
        charges=(("use", Action("sm", "E", "T", "use", one(3.0), one(6.0), one(2.0))),),
    )
    program = Program(
        Loop("twice", 2.0, Seq("both", (charged, Body("gap", (Step("gap", None, 5.0),))))), UNITS
    )
    alone = evaluate(Program(charged, UNITS))
    found = evaluate(program)
    assert found.cycles[0] == 2 * (alone.cycles[0] + 5.0)
    assert found.joules[0] == 4.0 == found.ledger.joules.sum()
    assert found.bound_by(0) == "sm"
    time = found.units["sm"]
    assert time.busy[0] + time.stalled[0] + time.idle[0] == pytest.approx(4.0 * found.cycles[0])
    ran = simulate(program, record=100)
    assert found.cycles_lower[0] <= ran.cycles <= found.cycles_upper[0]
    assert sum(piece.unit == "slot" for piece in ran.slices) == 12


def test_what_cannot_be_dispatched_is_refused() -> None:
    for broken, message in (
        (replace(dispatch([(1.0, 0.0, 1, 1)]), runs=()), "has no blocks"),
        (replace(dispatch([(1.0, 0.0, 1, 1)]), order="random"), "order is 'random'"),
        (replace(dispatch([(1.0, 0.0, 1, 1)]), slots=one(0.0)), "at least one slot"),
        (replace(dispatch([(1.0, 0.0, 1, 1)]), hidden=one(1.5)), "not between 0 and 1"),
        (replace(dispatch([(1.0, 0.0, 1, 1)]), blame={"x": one(1.0)}), "unknown unit 'x'"),
    ):
        with pytest.raises(DseError, match=message):
            Program(broken, UNITS)
    with pytest.raises(DseError, match="takes 1000000000 thread blocks"):
        simulate(Program(dispatch([(1.0, 0.0, 1, 10**9)]), UNITS))
    with pytest.raises(DseError, match="cannot be simulated"):
        simulate(Program(dispatch([(1.0, 0.0, 1, 1.5)]), UNITS))  # type: ignore[list-item]
