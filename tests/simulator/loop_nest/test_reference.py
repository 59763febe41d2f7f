"""Joules and cycles of the reference problem's known mappings; see docs/mapping.md for where they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse.simulator.loop_nest.costs import words_of
from dse.simulator.loop_nest.plan import Plan
from tests.simulator.loop_nest.reference import PEERS, attention, column, fused, machine, matmul, stationary

if TYPE_CHECKING:
    from dse.simulator.arrays import Array


def register_joules(plan: Plan, tiles: Array) -> float:
    products = plan.products(tiles)
    moves = [move for group in plan.groups for move in group.moves if move.memory == "registers"]
    return sum(float(words_of(move, products)[0]) for move in moves) * 1.6e-12


@pytest.mark.parametrize(
    ("tiles", "shared", "in_all"),
    [((256, 256, 16, 16, 1, 1), 5.57004e-3, 7.29473e-3), ((342, 352, 16, 16, 1, 1), 5.28483e-3, 7.00784e-3)],
)
def test_matmul_on_a16(tiles: tuple[int, ...], shared: float, in_all: float) -> None:
    plan = Plan(matmul(), machine("reference_a16"), stationary(), PEERS)
    costs = plan.costs(column(*tiles))
    assert costs.feasible.all()
    assert costs.joules[0] == pytest.approx(in_all, rel=1e-5)
    assert costs.joules[0] - register_joules(plan, column(*tiles)) == pytest.approx(shared, rel=1e-5)
    assert costs.cycles[0] == 4194304


def test_matmul_on_a128() -> None:
    costs = Plan(matmul(), machine("reference_a128"), stationary(), PEERS).costs(
        column(1024, 1024, 128, 128, 1, 1)
    )
    assert (costs.joules[0], costs.cycles[0]) == (pytest.approx(3.61549e-3, rel=1e-5), 65536)


def test_attention_on_a128_in_sum_and_with_overlap() -> None:
    tiles = column(1, 128, 1, 1, 128, 1, 1, 1)
    plan = Plan(attention(), machine("reference_a128"), fused(), PEERS)
    alone, overlapped = plan.costs(tiles), plan.costs(tiles, column(2))
    assert alone.feasible.all()
    assert overlapped.feasible.all()
    assert alone.joules[0] == overlapped.joules[0] == pytest.approx(0.115454, rel=1e-5)
    assert alone.cycles[0] == 3 * 2097152
    assert 4194304 < overlapped.cycles[0] < 4.22e6


def test_attention_with_scores_stationary() -> None:
    plan = Plan(attention(), machine("reference_a128"), fused(free=True), PEERS)
    costs = plan.costs(column(1, 128, 1, 1, 128, 1, 128, 1, 1), column(2))
    assert costs.feasible.all()
    assert 3145728 < costs.cycles[0] < 3.35e6


def test_factors_of_ranks_multiply_to_the_same_costs() -> None:
    plan = Plan(attention(), machine("reference_a128"), fused())
    rng = np.random.default_rng(7)
    tiles = rng.integers(1, 300, (len(plan.nest.loops), 50)).astype(float)
    product = np.ones((len(plan.terms), 50))
    for rank in plan.ranks:
        product = product * plan.factors(rank, [tiles[row] for row in plan.nest.rows_of(rank)])
    ours, theirs = plan.costs(tiles), plan.finish(list(product))
    assert np.array_equal(ours.joules, theirs.joules)
    assert np.array_equal(ours.cycles, theirs.cycles)


def test_a_batch_has_the_bits_of_its_candidates() -> None:
    plan = Plan(matmul(), machine("reference_a16"), stationary())
    tiles = np.random.default_rng(3).integers(1, 1025, (6, 20)).astype(float)
    batch = plan.costs(tiles)
    for point in range(20):
        one = plan.costs(tiles[:, point : point + 1])
        assert (one.joules[0], one.cycles[0]) == (batch.joules[point], batch.cycles[point])
