"""Costs of nests: conventions change what they say they change, and nothing gets cheaper as a term grows."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse.simulator.loop_nest.costs import Costs, words_of
from dse.simulator.loop_nest.nest import Branch, Group, Nest
from dse.simulator.loop_nest.plan import Conventions, Plan
from tests.simulator.loop_nest.reference import attention, column, fused, machine, matmul, stationary

if TYPE_CHECKING:
    from dse.simulator.arrays import Array

TILES = column(256, 256, 16, 16, 1, 1)
FUSED = column(1, 128, 1, 1, 128, 1, 1, 1)


def matmul_costs(**chosen: str) -> Costs:
    plan = Plan(matmul(), machine("reference_a16"), stationary(), Conventions(**chosen))  # type: ignore[arg-type]
    return plan.costs(TILES)


def test_registers_read_for_each_operation_or_each_fill() -> None:
    fills, operations = 4 * 2.0**20, 2.0**30
    saved = matmul_costs().joules - matmul_costs(register_reads="fill").joules
    assert saved[0] == pytest.approx((operations - fills) * 1.6e-12, rel=1e-12)


def test_bandwidth_of_one_pool_or_a_port_for_each_action_or_operand() -> None:
    pooled, ports = matmul_costs(), matmul_costs(bandwidth="ports")
    operands = matmul_costs(bandwidth="operands")
    plan = Plan(matmul(), machine("reference_a16"), stationary())
    actions, tensors = Counter[str](), Counter[str]()
    for move in plan.groups[0].moves:
        if move.memory == "global_buffer":
            actions[move.action] += words_of(move, plan.products(TILES))[0]
            tensors[move.tensor] += words_of(move, plan.products(TILES))[0]
    assert pooled.busy["global_buffer"][0] == actions.total() / 64
    for name, words in actions.items():
        assert ports.busy[f"global_buffer.{name}"][0] == words / 64
    for name, words in tensors.items():
        assert operands.busy[f"global_buffer.{name}"][0] == words / 64
    assert pooled.joules == ports.joules == operands.joules


def test_double_buffering_takes_twice_the_room() -> None:
    once, twice = matmul_costs(), matmul_costs(buffering="double")
    assert twice.live["global_buffer"][0] == 2 * once.live["global_buffer"][0]
    assert not twice.feasible.any()
    failed = [c.name for c in twice.constraints if not bool((c.demand <= c.bound).all())]
    assert failed == ["global_buffer capacity"]


def test_sums_travel_along_the_axis_once_for_each_run() -> None:
    ignored, counted = matmul_costs(array_fill="ignored"), matmul_costs()
    assert counted.cycles[0] - ignored.cycles[0] == 16


def test_loops_of_an_einsum_alone_may_be_shared_or_its_own() -> None:
    (group,) = stationary().groups
    nodes = group.branches[0].nodes
    moved = Nest((Group(nodes[:5], (Branch("Z", "array_2d", nodes[5:]),)),))
    ours, theirs = matmul_costs(), Plan(matmul(), machine("reference_a16"), moved).costs(TILES)
    assert ours.joules[0] == pytest.approx(theirs.joules[0], rel=1e-12)
    assert ours.cycles[0] == theirs.cycles[0]
    assert ours.live == theirs.live


def test_what_passes_between_einsums_takes_room_for_each_tile_in_flight() -> None:
    plan = Plan(attention(), machine("reference_a128"), fused())
    one, three = plan.costs(FUSED), plan.costs(FUSED, column(3))
    tile = 128 * 4096 * 2.0
    assert three.live["global_buffer"][0] - one.live["global_buffer"][0] == 2 * 2 * tile


def test_overlap_is_never_slower_and_ends_at_the_busiest_unit() -> None:
    plan = Plan(attention(), machine("reference_a128"), fused())
    cycles = [plan.costs(FUSED, column(window)).cycles[0] for window in (1, 2, 3, 8)]
    assert cycles == sorted(cycles, reverse=True)
    assert cycles[-1] >= max(value[0] for value in plan.costs(FUSED).busy.values())


def figures(costs: Costs) -> list[Array]:
    parts = [part for group in costs.groups for part in group]
    found = [costs.joules, costs.cycles, *costs.busy.values(), *costs.live.values()]
    found += [constraint.demand for constraint in costs.constraints]
    for part in parts:
        for each in fields(part):
            value = getattr(part, each.name)
            if isinstance(value, dict) and each.name != "busy":
                found += list(value.values())
        found += [value for spent in part.busy.values() for value in spent.values()]
    return found


def test_costs_never_fall_as_a_term_grows() -> None:
    plan = Plan(attention(), machine("reference_a128"), fused())
    rng = np.random.default_rng(11)
    for _ in range(40):
        tiles = rng.integers(1, 300, (len(plan.nest.loops), 1)).astype(float)
        products = plan.products(tiles)
        before = figures(plan.finish(products))
        for number in range(len(products)):
            grown = [v * 1.5 + 1 if n == number else v for n, v in enumerate(products)]
            after = figures(plan.finish(grown))
            assert all(bool((new >= old).all()) for old, new in zip(before, after, strict=True))
