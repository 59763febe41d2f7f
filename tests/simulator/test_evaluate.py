"""Evaluation on arrays: known totals, bits that do not depend on the batch, ledgers and times that add up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import DseError
from dse.simulator.arrays import Array, total
from dse.simulator.evaluate import Evaluation, evaluate, evaluate_each
from dse.simulator.program import (
    Action,
    Body,
    Choose,
    Constraint,
    Loop,
    Node,
    Par,
    Program,
    Seq,
    Step,
    Sub,
    Unit,
)
from tests.simulator.fusemax import tile, with_memory
from tests.simulator.trees import EXAMPLES, at_point, changed, has_choice, programs

TREES = settings(max_examples=EXAMPLES, deadline=None)


def one(name: str, unit: str, busy: float, joules: float = 0.0) -> Body:
    return Body(name, (Step(name, unit, busy, 0.0, (Action(unit, name, name, "use", 1, 8, joules),)),))


def test_fusemax_tile_is_bound_by_the_vector_array_once_the_window_is_wide() -> None:
    found = evaluate(tile(window=[1, 2, 6]))
    assert [found.bound_by(i) for i in range(3)] == ["window:registers", "window:registers", "1D"]
    # fill: QK, LM and its reduction; 138 cycles of vector work in each tile; nothing after the last RNV
    assert found.cycles[2] == (64 + 1 + 256) + 256 * 138
    # window 1: QK, LM and its reduction, RM, SLN, SLNV of each tile in a row; drain: SLNV's reduction, RNV
    assert found.cycles[0] == 256 * (64 + 257 + 1 + 7 + 64) + 256 + 64
    assert found.units["2D"].busy[2] == 256 * 137


def test_series_parallel_and_repeated_times_add_up() -> None:
    units = {name: Unit(name) for name in "ab"}
    pair = (one("x", "a", 3), one("y", "b", 5))
    cases: list[tuple[Node, float]] = [
        (Seq("n", pair), 8),
        (Par("n", pair), 5),
        (Par("n", pair, 0.0), 8),
        (Par("n", pair, 0.5), 6.5),
    ]
    cases += [(Par("n", (one("x", "a", 3), one("z", "a", 4))), 7), (Loop("n", 4, Seq("m", pair)), 32)]
    for node, cycles in cases:
        assert evaluate(Program(node, units)).cycles == cycles


def test_steps_that_skip_iterations_count_whole_or_begun_groups() -> None:
    def found(count: float, first: bool) -> float:
        steps = (Step("s", "a", 10.0, every=4.0, first=first),)
        return float(evaluate(Program(Loop("n", count, Body("b", steps)), {"a": Unit("a")})).cycles[0])

    assert [found(n, False) for n in (0, 3, 4, 9)] == [0, 0, 10, 20]
    assert [found(n, True) for n in (0, 3, 4, 9)] == [0, 10, 10, 30]


def test_a_clock_domain_counts_in_its_own_cycles() -> None:
    inner = Program(one("x", "a", 6, 2.0), {"a": Unit("a")}, 2e9)
    found = evaluate(Program(Seq("n", (Sub("fast", inner), one("y", "b", 1, 1.0))), {"b": Unit("b")}, 1e9))
    assert found.cycles == 4
    assert found.seconds == 4e-9
    assert found.joules == 3
    assert found.bound_by(0) == "fast/a"
    assert found.units["fast/a"].idle == 1


def test_choose_takes_the_least_at_each_point_with_its_ledger() -> None:
    slow = Body("slow", (Step("s", "a", 9, 0, (Action("a", "E", "T", "use", 1, 8, 1.0),)),))
    fast = Body("fast", (Step("f", "a", [4, 20], 0, (Action("a", "E", "T", "use", 1, 16, 5.0),)),))
    quick = evaluate(Program(Choose("n", (slow, fast)), {"a": Unit("a")}))
    assert quick.cycles.tolist() == [4, 9]
    assert quick.joules.tolist() == [5, 1]
    assert quick.bytes.tolist() == [16, 8]
    thrifty = evaluate(Program(Choose("n", (slow, fast), "joules"), {"a": Unit("a")}))
    assert thrifty.cycles.tolist() == [9, 9]


def test_infeasible_points_hold_nan_and_say_why() -> None:
    limits = (
        Constraint("registers", [1, 5, 5], 4, "B", ("smaller window",)),
        Constraint("buffer", [1, 9, 1], 4, "B", ()),
    )
    program = replace(tile(count=[256, np.nan, 256]), constraints=limits)
    found = evaluate(program)
    assert found.feasible.tolist() == [0, 1, 1]
    assert np.isnan(found.cycles).tolist() == np.isnan(found.joules).tolist() == [False, True, True]
    assert found.bound_by(1) is None
    assert np.isnan(found.ledger.joules[:, 1]).all()
    assert np.isnan(found.cycles_upper).tolist() == [False, True, True]
    assert found.infeasible(0) is None
    why = found.infeasible(1)
    assert why is not None
    assert (why.constraint, why.demand, why.bound, why.levers) == ("registers", 5.0, 4.0, ("smaller window",))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (lambda: tile(e=[64, -1]), "busy of QK is -1.0 at design point 1"),
        (lambda: tile(e=np.nan), "busy of QK is nan at design point 0"),
        (lambda: tile(window=[1, 0]), "not finite"),
        (lambda: tile(count=np.inf), "not finite"),
    ],
)
def test_wrong_values_are_refused(program: object, message: str) -> None:
    assert callable(program)
    with pytest.raises(DseError, match=message):
        evaluate(program())


def arrays(found: Evaluation) -> dict[str, Array]:
    """Everything an evaluation holds, as arrays over design points."""
    everything = {
        "cycles": found.cycles,
        "seconds": found.seconds,
        "joules": found.joules,
        "bytes": found.bytes,
    }
    everything |= {"upper": found.cycles_upper, "feasible": found.feasible.astype(float)}
    everything |= {f"path {label}": part for label, part in found.critical_path}
    for name, unit in found.units.items():
        everything |= {f"{name} busy": unit.busy, f"{name} idle": unit.idle, f"{name} stall": unit.stalled}
    for name in ("count", "bytes", "joules"):
        everything |= {f"{name} {i}": row for i, row in enumerate(getattr(found.ledger, name))}
    return everything


@TREES
@given(programs(points=5, constrained=True))
def test_a_point_alone_has_the_bits_it_has_in_a_batch(program: Program) -> None:
    whole, by_two = arrays(evaluate(program)), evaluate(program, chunk=2)
    np.testing.assert_array_equal(whole["cycles"], by_two.cycles)
    np.testing.assert_array_equal(whole["joules"], by_two.joules)
    names = [evaluate(program).bound_by(point) for point in range(program.size)]
    for point in range(program.size):
        alone = evaluate(at_point(program, point))
        assert alone.bound_by(0) == names[point]
        single = arrays(alone)
        for name, values in whole.items():
            if name in single or not name.startswith("path"):
                assert values[point].tobytes() == single[name][0].tobytes(), name
            else:
                assert not np.nan_to_num(values[point])


@TREES
@given(programs(points=3, constrained=True))
def test_ledger_rows_sum_to_the_totals_bit_for_bit(program: Program) -> None:
    found = evaluate(program)
    zero = np.where(found.feasible == 0, 0.0, np.nan)
    assert total([zero, *found.ledger.joules]).tobytes() == found.joules.tobytes()
    assert total([zero, *found.ledger.bytes]).tobytes() == found.bytes.tobytes()
    if len(found.ledger):
        by_component = total(found.bytes_by_component.values())
        np.testing.assert_allclose(by_component, found.bytes, rtol=1e-12)


@TREES
@given(programs(points=3))
def test_times_of_units_and_the_critical_path_sum_to_the_cycles(program: Program) -> None:
    found = evaluate(program)
    assert (found.cycles <= found.cycles_upper * (1 + 1e-12)).all()
    for unit in found.units.values():
        whole = unit.servers * found.cycles
        np.testing.assert_allclose(unit.busy + unit.stalled + unit.idle, whole, rtol=1e-12, atol=1e-9)
        assert (unit.busy <= whole * (1 + 1e-12)).all()
        assert (unit.idle >= 0).all()
    np.testing.assert_allclose(
        total([np.zeros(program.size), *(part for _, part in found.critical_path)]), found.cycles, rtol=1e-12
    )


@TREES
@given(programs(points=2), st.sampled_from([0.0, 0.5, 0.75, 0.9]), st.integers(1, 3))
def test_more_bandwidth_window_or_servers_never_raises_a_bound(
    program: Program, factor: float, more: int
) -> None:
    before = evaluate(program)
    for better in (
        changed(program, busy=lambda busy: busy * factor),
        changed(program, capacity=lambda capacity: capacity + more),
        changed(program, servers=lambda servers: servers + more),
    ):
        after = evaluate(better)
        assert (after.cycles <= before.cycles * (1 + 1e-12)).all()
        if not has_choice(program):
            assert (after.cycles_upper <= before.cycles_upper * (1 + 1e-12)).all()


def test_slices_built_one_by_one_have_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    count, dram, window = rng.integers(1, 999, 999), rng.uniform(1, 300, 999), rng.integers(1, 9, 999)
    e, joules = rng.integers(1, 200, 999), rng.uniform(0, 1e-9, 999)

    def build(points: slice) -> Program:
        return with_memory(e[points], e[points], window[points], count[points], dram[points], joules[points])

    whole, sliced = evaluate(build(slice(None))), evaluate_each(build, 999, chunk=100)
    assert whole.bound_names == sliced.bound_names
    for name in ("cycles", "seconds", "joules", "bound", "feasible"):
        assert getattr(whole, name).tobytes() == getattr(sliced, name).tobytes()
    with pytest.raises(DseError, match="999 points was built for 500 points"):
        evaluate_each(lambda _: build(slice(None)), 999, chunk=500)


def test_a_million_tokens_and_24_layers_stay_finite() -> None:
    tokens = 1 << 20
    layers = Loop("layers", 24, tile(count=64 * 16 * (tokens / 256) ** 2).root)
    found = evaluate(Program(layers, tile().units, 940e6))
    assert found.cycles[0] == 24 * (321 + 138 * 64 * 16 * 2.0**24)
