"""Synthetic scores follow their laws, are fitted to real ones and resemble those held out of the fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import WorkloadError
from dse.workloads import synthetic_fit
from dse.workloads.score_trace import load_scores
from dse.workloads.synthetic import (
    DISTANCES,
    STEPS,
    HeadLaw,
    Shape,
    Sink,
    distance_steps,
    load_synthetic,
    moments,
    sinh_arcsinh,
    synthetic_scores,
)

FILE = load_synthetic()
LAW = FILE.heads["l3_h5"]
# Largest Kolmogorov-Smirnov distance on traces held out of the fit; random scores are at 0.37 or more.
LIMITS = {
    "entropy": 0.08,
    "top_eighth_mass": 0.08,
    "sink_mass": 0.17,
    "near_mass": 0.10,
    "importance_top_quarter": 0.30,
}


def law(key: float = 0.0, cell: float = 0.0, spread: float = 0.0) -> HeadLaw:
    flat = Shape(deviation=cell, skew=0.0, tail=1.0)
    sink = Sink(mean=5.0, deviation=0.0, gain=0.0)
    recency = [float(number) for number in range(STEPS)]
    return HeadLaw(
        first=sink, last=sink, recency=recency, wobble=[1.0] * STEPS, spread=spread, cell=flat,
        key=Shape(deviation=key, skew=0.0, tail=1.0),
    )  # fmt: skip


@settings(max_examples=20)
@given(st.integers(8, 300), st.integers(0, 2**32))
def test_the_same_seed_gives_the_same_bits(length: int, seed: int) -> None:
    one, other = (synthetic_scores(LAW, length, (seed, 3, 5), [0, length - 1]) for _ in range(2))
    assert one.tobytes() == other.tobytes()
    assert one.shape == (2, length)
    assert np.isfinite(one).all()
    assert one.tobytes() != synthetic_scores(LAW, length, (seed + 1, 3, 5), [0, length - 1]).tobytes()


def test_distances_fall_into_their_steps() -> None:
    steps = distance_steps(np.array([100]), 200)[0]
    assert steps[100] == len(DISTANCES)
    assert steps[[99, 98, 97, 96, 95, 0]].tolist() == [8, 7, 6, 5, 5, 0]
    assert steps[[101, 103, 164, 165, 199]].tolist() == [10, 12, 17, 18, 18]


def test_a_law_without_noise_is_its_recency_and_sinks() -> None:
    scores = synthetic_scores(law(), 50, 1)
    assert scores[:, 0].tolist() == scores[:, -1].tolist() == [5.0] * 50
    inside = scores[:, 1:-1]
    assert inside.tolist() == distance_steps(np.arange(50), 50)[:, 1:-1].astype(float).tolist()


def test_noise_has_the_deviation_asked_for() -> None:
    still = synthetic_scores(law(), 800, 1)[:, 1:-1]
    keys = (synthetic_scores(law(key=2.0), 800, 1)[:, 1:-1]) - still
    assert keys.std() == pytest.approx(2.0, rel=0.1)
    np.testing.assert_allclose(keys, np.broadcast_to(keys[0], keys.shape), atol=1e-9)
    cells = synthetic_scores(law(cell=2.0), 800, 1)[:, 1:-1] - still
    assert cells.std() == pytest.approx(2.0, rel=0.02)
    assert abs(cells.mean(axis=0)).max() < 0.4
    spread = synthetic_scores(law(cell=1.0, spread=0.5), 800, 1)[:, 1:-1] - still
    assert np.log(spread.std(axis=1)).std() == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(("skew", "tail"), [(0.0, 1.0), (0.5, 0.7), (-1.0, 1.3)])
def test_shapes_are_recovered_from_samples(skew: float, tail: float) -> None:
    mean, deviation = moments(skew, tail)
    drawn = sinh_arcsinh(np.random.default_rng(3).standard_normal(200_000), skew, tail)
    assert drawn.mean() == pytest.approx(mean, abs=0.03)
    assert drawn.std() == pytest.approx(deviation, rel=0.03)
    found = synthetic_fit.fit_shape((drawn - mean) * 2, float(drawn.std()) * 2)
    assert found.skew == pytest.approx(skew, abs=0.06)
    assert found.tail == pytest.approx(tail, abs=0.06)
    assert found.deviation == pytest.approx(2 * deviation, rel=0.03)


def test_fitting_again_gives_the_shipped_laws() -> None:
    traces = [load_scores(name) for name in FILE.fitted]
    for layer, head in ((0, 2), (3, 5), (5, 11)):
        again = synthetic_fit.fit_head(traces, layer, head)
        shipped = FILE.heads[synthetic_fit.head_name(layer, head)]
        for name in ("recency", "wobble"):
            assert getattr(again, name) == pytest.approx(getattr(shipped, name), abs=1e-3)
        assert (again.key.skew, again.key.tail) == (shipped.key.skew, shipped.key.tail)
        assert again.first.mean == pytest.approx(shipped.first.mean, abs=1e-3)
    assert len(FILE.heads) == 72


def test_held_out_rows_are_resembled_and_random_ones_are_not() -> None:
    assert set(FILE.held_out) == set(synthetic_fit.HELD_OUT)
    assert not set(FILE.held_out) & set(FILE.fitted)
    for agreement in FILE.held_out.values():
        for name, limit in LIMITS.items():
            assert agreement[name].distance < limit
            assert agreement[name].noise_distance > 0.35
            assert agreement[name].head_correlation > 0.7


def test_comparing_again_gives_the_shipped_figures() -> None:
    name = "minilm_alice_128"
    again = synthetic_fit.compare(FILE.heads, load_scores(name))
    for statistic, shipped in FILE.held_out[name].items():
        assert again[statistic].distance == pytest.approx(shipped.distance, abs=2e-3)
        assert again[statistic].synthetic_mean == pytest.approx(shipped.synthetic_mean, abs=2e-3)


def test_lengths_beyond_the_model_work() -> None:
    scores = synthetic_scores(LAW, 8192, 0, [17, 4000])
    statistics = synthetic_fit.row_statistics(scores, [17, 4000])
    assert 0.2 < statistics["entropy"].mean() < 0.95
    assert statistics["top_eighth_mass"].mean() > 0.3


def test_statistics_of_known_rows() -> None:
    peaked = np.full((1, 64), -50.0)
    peaked[0, 30] = 0.0
    found = synthetic_fit.row_statistics(peaked, [31])
    assert {name: round(float(value[0]), 6) for name, value in found.items()} == {
        "entropy": 0.0, "top_eighth_mass": 1.0, "sink_mass": 0.0, "near_mass": 1.0,
    }  # fmt: skip
    even = synthetic_fit.row_statistics(np.zeros((1, 64)), [31])
    assert even["entropy"][0] == pytest.approx(1.0)
    assert even["sink_mass"][0] == pytest.approx(2 / 64)
    assert even["near_mass"][0] == pytest.approx(9 / 64)
    assert synthetic_fit.distance(np.zeros(5), np.ones(7)) == 1.0
    assert synthetic_fit.distance(np.arange(5.0), np.arange(5.0)) == 0.0


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(WorkloadError, match="at least 8 keys, not 7"):
        synthetic_scores(LAW, 7, 0)
    with pytest.raises(WorkloadError, match="rows must lie from 0 to 9"):
        synthetic_scores(LAW, 10, 0, [10])
