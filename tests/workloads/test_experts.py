"""Routing of tokens to experts: sums, seeds, skew, recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import WorkloadError
from dse.workloads.experts import ROUTINGS, route

if TYPE_CHECKING:
    from pathlib import Path


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(ROUTINGS),
    st.integers(1, 200),
    st.integers(1, 40),
    st.integers(1, 5),
    st.integers(0, 2**31),
    st.data(),
)
def test_every_token_has_its_experts(
    routing: str, tokens: int, experts: int, layers: int, seed: int, data: st.DataObject
) -> None:
    top_k = data.draw(st.integers(1, experts))
    found = route(routing, tokens, experts, top_k, layers, seed)
    assert found.shape == (layers, experts)
    assert (found.sum(axis=1) == tokens * top_k).all()
    assert (found <= tokens).all()
    assert np.array_equal(found, route(routing, tokens, experts, top_k, layers, seed))


def test_uniform_routing_is_even_in_the_long_run_and_zipf_is_not() -> None:
    uniform = route("uniform", 40_000, 8, 2, 1)[0]
    assert uniform == pytest.approx(10_000, rel=0.03)
    skewed = np.sort(route("zipf", 40_000, 8, 1, 1, exponent=1.0)[0])[::-1]
    weights = 1.0 / np.arange(1, 9)
    assert skewed / 40_000 == pytest.approx(weights / weights.sum(), rel=0.06)


def test_layers_and_seeds_differ() -> None:
    layers = route("uniform", 64, 8, 2, 3)
    assert not np.array_equal(layers[0], layers[1])
    assert not np.array_equal(layers, route("uniform", 64, 8, 2, 3, seed=1))


def test_a_recording_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "choices.csv"
    path.write_text(
        "layer,token,expert\n0,0,1\n0,0,2\n0,1,1\n0,1,3\n1,0,0\n1,0,1\n1,1,0\n1,1,2\n0,2,0\n0,2,1\n"
    )
    assert route(str(path), 2, 4, 2, 7).tolist() == [[0, 2, 1, 1], [2, 1, 1, 0]]
    with pytest.raises(WorkloadError, match="not 2 choices for each of 3 tokens"):
        route(str(path), 3, 4, 2, 2)
    with pytest.raises(WorkloadError, match="expert 3 of 3"):
        route(str(path), 2, 3, 2, 2)
