"""Heads of different lengths on the channels of all stacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.simulator.pim.attention import Attention, cost
from dse.simulator.pim.ragged import packed_cycles
from tests.simulator.pim.attacc import machine

LENGTHS = st.lists(
    st.tuples(st.integers(1, 60), st.integers(1, 6000)),
    min_size=1,
    max_size=6,
    unique_by=lambda pair: pair[1],
)
NAMES = st.sampled_from(["attacc_bank", "attacc_bg", "duplex_pim"])


def of(heads: Any, keys: Any) -> Attention:  # noqa: ANN401
    return Attention.of(heads, keys, 128)


def test_equal_heads_are_the_closed_form() -> None:
    own = machine("attacc_bank")
    assert packed_cycles(own, [of(130, 2048)]) == cost(own, of(130, 2048)).cycles
    for heads in (32, 96, 128):
        halves = packed_cycles(own, [of(heads, 2048), of(heads, 2048)])
        assert halves[0] == pytest.approx(cost(own, of(2 * heads, 2048)).cycles[0], rel=0.03)


def test_requests_of_one_head_fill_the_channels() -> None:
    """Sixteen requests of unlike lengths: one after another they would leave fifteen of sixteen channels idle."""
    own = machine("attacc_bank")
    groups = [of(1, 1024 + 64 * number) for number in range(16)]
    found = packed_cycles(own, groups)[0]
    assert found == pytest.approx(cost(own, groups[-1]).cycles[0], rel=0.02)
    assert found < 0.1 * sum(cost(own, group).cycles[0] for group in groups)


@settings(deadline=None, max_examples=40)
@given(NAMES, LENGTHS)
def test_between_the_longest_head_and_one_group_after_another(
    name: str, lengths: list[tuple[int, int]]
) -> None:
    own, groups = machine(name), [of(heads, keys) for heads, keys in lengths]
    found = packed_cycles(own, groups)[0]
    assert found >= max(cost(own, of(1, keys)).cycles[0] for _, keys in lengths)
    assert found <= sum(cost(own, group).cycles[0] for group in groups)
    accesses = sum(cost(own, group).counts.mac[0] for group in groups)
    assert found >= accesses / own.dram.channels[0] * own.spacing_cycles[0] * (1.0 - 1e-9)


def test_design_points_at_once() -> None:
    own = machine("attacc_bank")
    many = packed_cycles(own, [of([4, 9, 40], 900), of([3, 3, 17], [200, 4000, 50])])
    for point, (first, second, keys) in enumerate(((4, 3, 200), (9, 3, 4000), (40, 17, 50))):
        assert many[point] == packed_cycles(own, [of(first, 900), of(second, keys)])[0]
    assert np.all(many > 0.0)
