"""Closed-form counts of loop nests equal those of the brute-force execution, exactly."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dse.simulator.loop_nest.costs import words_of
from dse.simulator.loop_nest.plan import Conventions, Plan
from dse.simulator.loop_nest.sites import Sites
from tests.oracle import draw
from tests.oracle.executor import Execution, words

if TYPE_CHECKING:
    from dse.simulator.loop_nest.hierarchy import Hierarchy
    from dse.simulator.loop_nest.nest import Nest
    from dse.simulator.loop_nest.problem import Problem

MAPPINGS = 2000
FEW = 200


def counted(plan: Plan, tiles: list[int]) -> tuple[Counter[tuple[str, str, str, str]], list[float]]:
    """Closed-form words by (owner, memory, tensor, action), and the value of every term."""
    products = plan.products([np.array([float(tile)]) for tile in tiles])
    found: Counter[tuple[str, str, str, str]] = Counter()
    for group in plan.groups:
        for move in group.moves:
            found[move.owner, move.memory, move.tensor, move.action] += words_of(move, products)[0]
    return found, [float(value[0]) for value in products]


def agree(problem: Problem, hierarchy: Hierarchy, nest: Nest, tiles: list[int]) -> None:
    plan = Plan(problem, hierarchy, nest, Conventions())
    found, values = counted(plan, tiles)
    ran = Execution(problem, hierarchy, nest, tiles)
    assert dict(words(found)) == dict(words(ran.moved))
    for number, group in enumerate(plan.groups):
        assert values[group.iterations] == ran.iterations[number]
        for branch in group.branches:
            for work in branch.work:
                if problem.shape(branch.einsum).operations[0][1] == () and work.steps is not None:
                    assert values[work.steps] == ran.steps[branch.einsum]
            for axis, term in branch.axes.items():
                assert values[term] == ran.used[branch.einsum, axis]
        for footprint in (each for each in group.footprints if each.memory != "array.registers"):
            room = sum(values[term] for term in footprint.terms)
            peak = ran.peak.get((number, footprint.owner, footprint.memory, footprint.tensor), 0)
            rolling = bool(problem.carried(footprint.tensor))
            fed = bool(problem.feedback(nest.groups[number].einsums))
            assert room == peak or (fed and peak < room) or (rolling and (peak < room or footprint.terms[1:]))


def one(random: Random) -> None:
    problem = draw.problem(random)
    hierarchy = draw.machine(random)
    agree(problem, hierarchy, *draw.nest(random, problem, hierarchy))


@settings(max_examples=FEW, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_closed_form_is_the_execution(random: Random) -> None:
    one(random)


@pytest.mark.slow
@settings(max_examples=MAPPINGS, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_closed_form_is_the_execution_often(random: Random) -> None:
    one(random)


FEATURES = (
    "fused",
    "again",
    "carried on chip",
    "resumed sums",
    "halo",
    "uneven",
    "multicast",
    "bypass",
    "three levels",
)


def features(problem: Problem, hierarchy: Hierarchy, nest: Nest, tiles: list[int]) -> set[str]:
    """What a random mapping exercises."""
    found = set()
    for number, group in enumerate(nest.groups):
        sites = Sites(problem, nest, number)
        inside = [name for name in group.einsums if sites.inside(name)]
        found |= {"fused"} if inside else set()
        found |= (
            {"again"} if any(count for name in inside for count in sites.repeats[name].values()) else set()
        )
        found |= {"carried on chip"} if any(problem.carried(name) for name in inside) else set()
    spans = [span for shape in problem.shapes for touch in shape.inputs for span in touch.spans.values()]
    found |= {"halo"} if any(span.each and not span.once for span in spans) else set()
    sizes = [int(problem.sizes[key.loop.rank][0]) for key in nest.loops]
    found |= {"uneven"} if any(1 < t < s and s % t for s, t in zip(sizes, tiles, strict=True)) else set()
    moved = Execution(problem, hierarchy, nest, tiles).moved
    shared = {key[:3] for key in moved if key[1] == "registers" and key[3] == "write"}
    read = sum(
        moved[o, m, t, "read"] for o, _, t in shared for m in hierarchy.names if (o, m, t, "read") in moved
    )
    found |= {"multicast"} if read < sum(moved[o, "registers", t, "write"] for o, _, t in shared) else set()
    outputs = [key for key in moved if key[1] == "dram" and key[2] in problem.by_name]
    found |= {"resumed sums"} if any(moved[key] for key in outputs if key[3] == "read") else set()
    found |= {"bypass"} if any(key[0] and key[1] == "dram" for key in moved) else set()
    return found | ({"three levels"} if len({key[1] for key in moved} - {"registers"}) > 2 else set())


def test_random_mappings_exercise_everything() -> None:
    seen: Counter[str] = Counter()
    for seed in range(150):
        random = Random(seed)
        problem = draw.problem(random)
        hierarchy = draw.machine(random)
        seen.update(features(problem, hierarchy, *draw.nest(random, problem, hierarchy)))
    assert {name for name in FEATURES if seen[name] < 3} == set()
