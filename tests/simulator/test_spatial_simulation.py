"""Event simulation of lowered attention: between the bounds, times that add up, the published window table."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.arch.machine import load_machine
from dse.simulator.evaluate import evaluate
from dse.simulator.lowering import lower
from dse.simulator.mapping import load_mapping
from dse.simulator.simulate import simulate
from dse.simulator.spatial_array.physical import WINDOW
from dse.simulator.window import smallest_window
from dse.workloads.load import load_workload
from tests.simulator.points import point

MACHINES = ("unfused", "flat", "fusemax_cascade", "fusemax_architecture", "fusemax")
# Cycles per tile by tiles in flight, 256 tiles of one row of queries, ramp included.
PUBLISHED = {1: 395, 2: 231, 3: 174, 4: 149, 5: 144, 6: 140}

shapes = st.fixed_dictionaries(
    {
        "sequence": st.integers(1, 3000),
        "queries": st.integers(1, 1200),
        "heads": st.sampled_from([1, 2]),
        "score_dim": st.sampled_from([16, 64, 80, 128]),
        "value_dim": st.sampled_from([16, 64, 128]),
    }
)


@given(
    machine=st.sampled_from(MACHINES),
    accounting=st.sampled_from(["paper", "physical"]),
    registers=st.sampled_from(["2", "6", "16"]),
    shape=shapes,
)
@settings(max_examples=30)
def test_simulation_lies_between_the_bounds(
    machine: str, accounting: str, registers: str, shape: dict[str, object]
) -> None:
    found = load_machine(machine, {"array_2d.registers.entries": registers})
    lowered = lower(load_workload("attention", shape), found, load_mapping(found.mapping), accounting)
    bounds, run = evaluate(lowered.program), simulate(lowered.program)
    assert bounds.cycles_lower[0] * (1 - 1e-9) <= run.cycles <= bounds.cycles_upper[0] * (1 + 1e-9)
    for time in run.units.values():
        total = time.busy + sum(time.stall.values()) + time.idle
        assert total == pytest.approx(time.servers * run.cycles, rel=1e-9)


@pytest.mark.parametrize(("window", "cycles"), PUBLISHED.items())
def test_published_cycles_by_tiles_in_flight(window: int, cycles: int) -> None:
    """One tile of queries, memory out of the way: within 2%, fill, drain and the division included."""
    changes = {"array_2d.registers.entries": str(2 * window), "dram.bandwidth": "40 TiB/s"}
    lowered, _ = point("fusemax", "physical", sequence="64K", queries=256, changes=changes)
    assert simulate(lowered.program).cycles / 256 == pytest.approx(cycles, rel=0.02)


def test_blocks_of_queries_need_fewer_tiles_in_flight() -> None:
    """With many query tiles in a block a recurrence reaches far back, and three tiles hide all latency."""
    alone, _ = point(
        "fusemax", "physical", sequence="64K", queries=256, changes={"dram.bandwidth": "40 TiB/s"}
    )
    blocks, _ = point("fusemax", "physical", sequence="64K")
    one = smallest_window(alone.program, WINDOW).window
    many = smallest_window(blocks.program, WINDOW).window
    assert (one, many) == (5, 3)


def test_full_size_model_is_extrapolated() -> None:
    """A billion tiles of BERT at 64K and batch 64: the steady state repeats and meets the resource bound."""
    lowered, evaluation = point("fusemax", "physical", "bert", sequence="64K", batch=64)
    run = simulate(lowered.program)
    assert run.extrapolated
    assert run.cycles == pytest.approx(evaluation.cycles[0], rel=1e-6)
