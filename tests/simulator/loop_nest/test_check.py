"""Nests that are wrong whatever their tiles are refused, each for its own reason."""

from __future__ import annotations

import numpy as np
import pytest

from dse.errors import MappingError
from dse.simulator.loop_nest.nest import Branch, Group, Keep, Loop, Nest, NestNode
from dse.simulator.loop_nest.plan import Plan
from dse.simulator.loop_nest.problem import Problem, problem_of
from dse.workloads.cascade_file import load_cascade
from tests.simulator.loop_nest.reference import BUFFER, attention, machine, matmul

A128 = "reference_a128"


def refused(problem: Problem, *groups: Group, on: str = A128) -> str:
    with pytest.raises(MappingError) as caught:
        Plan(problem, machine(on), Nest(groups))
    return str(caught.value)


def product(*nodes: NestNode) -> Group:
    return Group((), (Branch("Z", "array_2d", nodes),))


def fused(*shared: NestNode) -> Group:
    return Group(shared, (Branch("QK", "array_2d"), Branch("SM", "array_1d"), Branch("AV", "array_2d")))


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ((Loop("x"),), "Z has no rank 'x'"),
        ((Loop("m", "lanes"),), "array_2d has no axis 'lanes'"),
        ((Loop("m", "rows"), Loop("m", "rows")), "m is on axis rows twice"),
        ((Keep("A", "buffer"),), "A cannot be kept in 'buffer'; did you mean 'global_buffer'?"),
        ((Keep("B", BUFFER),), "'B' is not used here"),
        ((Keep("A", BUFFER), Keep("A", BUFFER)), "inside a store as far in or further"),
        ((Loop("m", "rows"), Keep("A", BUFFER)), "below an axis of the array"),
        ((Keep("A", "registers"), Loop("m", "rows")), "above an axis of the array"),
    ],
)
def test_single_einsum(nodes: tuple[NestNode, ...], reason: str) -> None:
    assert reason in refused(matmul(), product(*nodes))


@pytest.mark.parametrize(
    ("shared", "reason"),
    [
        ((Loop("m", "rows"),), "shared loops are in time"),
        ((Loop("m"), Keep("AV", BUFFER), Loop("e"), Keep("QK", BUFFER)), "sums of QK are lost"),
        ((Loop("f"), Keep("Q", BUFFER), Keep("Q", "registers")), "Q cannot be kept in 'registers'"),
    ],
)
def test_fused(shared: tuple[NestNode, ...], reason: str) -> None:
    assert reason in refused(attention(), fused(*shared))


def test_einsums_are_covered_once_and_in_order() -> None:
    assert "Einsums SM, AV are in no group" in refused(attention(), Group((), (Branch("QK", "array_2d"),)))
    names = (Branch("QK", "array_2d"), Branch("AV", "array_2d"), Branch("SM", "array_1d"))
    assert "AV must come after SM" in refused(attention(), Group((), names))
    twice = (*names, Branch("QK", "array_2d"))
    assert "Einsum QK is computed 2 times" in refused(attention(), Group((), twice))


def test_operation_the_unit_does_not_have() -> None:
    found = refused(matmul(), Group((), (Branch("Z", "array_1d"),)))
    assert "array_1d has no operation 'mac', which Einsum Z needs; it has exp" in found


def softmax(name: str) -> Problem:
    cascade = load_cascade(name)
    return problem_of(cascade, {rank: np.array([4.0]) for rank in cascade.ranks})


def all_on(problem: Problem, unit: str, *shared: NestNode) -> Group:
    return Group(shared, tuple(Branch(shape.name, unit) for shape in problem.shapes))


def test_three_passes_cannot_share_a_loop_over_the_keys() -> None:
    problem = softmax("softmax_3pass")
    found = refused(problem, all_on(problem, "array_1d", Loop("m")), on="fusemax")
    assert "SN needs GM whole before the shared loop over m is through" in found


def test_one_pass_needs_a_loop_over_key_tiles_and_its_state_above_it() -> None:
    problem = softmax("softmax_1pass")
    assert "one group with a shared loop over m1" in refused(
        problem, all_on(problem, "array_1d", Loop("p")), on="fusemax"
    )
    kept = all_on(problem, "array_1d", Loop("m1"), Keep("RM", BUFFER))
    assert "the state of RM is lost: keep it above" in refused(problem, kept, on="fusemax")


def test_registers_hold_what_stays_in_place() -> None:
    problem = softmax("softmax_3pass")
    axes = {"QK": "rows", "GM": "columns"}
    group = Group(
        (Keep("QK", "array_2d.registers"),),
        tuple(
            Branch(s.name, "array_2d", (Loop("p", axes[s.name]),))
            if s.name in axes
            else Branch(s.name, "array_1d")
            for s in problem.shapes
        ),
    )
    found = refused(problem, group, on="fusemax")
    assert "QK, GM spread QK over array_2d in different ways: it cannot stay in its registers" in found
