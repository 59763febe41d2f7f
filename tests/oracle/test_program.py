"""Random nests as Programs: the closed form's joules, its cycles at window 1, simulations between the bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dse.simulator.evaluate import evaluate
from dse.simulator.loop_nest.lower import nodes_of
from dse.simulator.loop_nest.plan import Conventions, Plan
from dse.simulator.program import Program, Seq, Unit
from dse.simulator.simulate import simulate
from tests.oracle import draw

if TYPE_CHECKING:
    from random import Random

NESTS = 40


@settings(max_examples=NESTS, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False), st.integers(1, 3))
def test_program_of_a_random_nest(random: Random, window: int) -> None:
    problem, hierarchy = draw.problem(random), draw.machine(random)
    nest, sizes = draw.nest(random, problem, hierarchy)
    conventions = Conventions(bandwidth=random.choice(("pooled", "ports", "operands")))
    plan = Plan(problem, hierarchy, nest, conventions)
    tiles = [np.array([float(size)]) for size in sizes]
    windows = [np.array([float(window)])] * len(nest.groups)
    products = plan.products(tiles)
    costs = plan.finish(products, windows)
    names = tuple(f"group{number}" for number in range(len(nest.groups)))
    root = Seq("groups", nodes_of(plan, names, tiles, products, costs, windows))
    units = {name: Unit(name) for name in ("array", *hierarchy.names, *costs.busy)}
    program = Program(root, units)
    evaluation, result = evaluate(program), simulate(program)
    assert evaluation.joules[0] == pytest.approx(costs.joules[0], rel=1e-9)
    assert evaluation.cycles[0] <= result.cycles * (1 + 1e-9)
    assert result.cycles <= evaluation.cycles_upper[0] * (1 + 1e-9)
    if window == 1:
        assert evaluation.cycles[0] == pytest.approx(costs.cycles[0], rel=1e-9)
