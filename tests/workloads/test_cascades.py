"""Every shipped cascade computes what it says: equality with references, stability, thresholds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse import spec
from dse.workloads.cascade_file import load_cascade
from tests.workloads.reference import SOFTMAX, draw, probabilities, run

SIZES = {"e": 5, "f": 3, "p": 4, "m": 12}
NAMES = sorted(spec.shipped("workloads/cascades"))


def sizes_of(name: str, m0: int = 4, m2: int = 1) -> dict[str, int]:
    """Sizes with a split of the keys into tiles of m0, in m2 splits where the cascade has such."""
    parts = load_cascade(name).partition.get("m", ())
    return SIZES | {part: size for part, size in (("m0", m0), ("m2", m2)) if part in parts}


@pytest.mark.parametrize("name", NAMES)
def test_loads_with_assumptions_source_and_glosses(name: str) -> None:
    cascade = load_cascade(name)
    assert cascade.name == name
    assert cascade.assumes
    assert cascade.source
    assert cascade.title
    assert all(cascade.ranks.values())
    text = spec.find(name, "workloads/cascades").read_text()
    assert text.startswith("assumes:")


def test_softmax_family_is_the_list_tested_here() -> None:
    assert {name for name in NAMES if load_cascade(name).family == "softmax"} == set(SOFTMAX)


@pytest.mark.parametrize("name", SOFTMAX)
@settings(max_examples=10, deadline=None)
@given(
    e=st.integers(1, 6), f=st.integers(1, 5), p=st.integers(1, 4), m2=st.integers(1, 3), m1=st.integers(1, 4),
    m0=st.integers(1, 5), seed=st.integers(0, 99),
)  # fmt: skip
def test_softmax_family_equals_plain_softmax(
    name: str, e: int, f: int, p: int, m2: int, m1: int, m0: int, seed: int
) -> None:
    cascade = load_cascade(name)
    sizes = sizes_of(name, m0, m2) | {"e": e, "f": f, "p": p, "m": m2 * m1 * m0}
    whole = draw(cascade, sizes, seed)
    expected = whole["V"].T @ probabilities(whole["Q"], whole["K"])
    np.testing.assert_allclose(run(name, sizes, whole)["AV"], expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in SOFTMAX if name != "softmax_unstable"])
@pytest.mark.parametrize("scale", [1e3, 1e4])
def test_stable_cascades_hold_for_large_scores(name: str, scale: float) -> None:
    whole = draw(load_cascade(name), sizes_of(name), seed=3, scale=scale**0.5)
    assert np.abs(whole["K"].T @ whole["Q"]).max() > scale
    found = run(name, sizes_of(name), whole)
    expected = whole["V"].T @ probabilities(whole["Q"], whole["K"])
    np.testing.assert_allclose(found["AV"], expected, rtol=1e-9, atol=1e-12)
    assert all(np.isfinite(tensor).all() for key, tensor in found.items() if key != "RM")


def test_unstable_cascade_overflows_for_large_scores() -> None:
    whole = draw(load_cascade("softmax_unstable"), SIZES, seed=3, scale=1e3**0.5)
    found = run("softmax_unstable", SIZES, whole)
    assert np.isinf(found["SD"]).any()
    assert np.isnan(found["AV"]).any()


def test_running_maximum_starts_at_minus_infinity_and_ends_at_the_maximum() -> None:
    whole = draw(load_cascade("softmax_1pass"), SIZES, seed=0)
    found = run("softmax_1pass", {**SIZES, "m0": 3}, whole)
    assert found["RM"].shape == (5, 4)
    assert (found["RM"][0] == -np.inf).all()
    np.testing.assert_array_equal(found["RM"][-1], (whole["K"].T @ whole["Q"]).max(axis=0))


def test_flash_scale_is_a_constant_of_the_workload() -> None:
    whole = draw(load_cascade("softmax_flash"), SIZES, seed=5)
    found = run("softmax_flash", sizes_of("softmax_flash"), whole, scale=0.5 * math.log2(math.e))
    expected = whole["V"].T @ probabilities(0.5 * whole["Q"], whole["K"])
    np.testing.assert_allclose(found["AV"], expected, rtol=1e-12)


def test_linear_attention_equals_its_quadratic_form() -> None:
    whole = {
        name: np.abs(array) for name, array in draw(load_cascade("linear_attention"), SIZES, seed=1).items()
    }
    weights = whole["K"].T @ whole["Q"]
    expected = whole["V"].T @ (weights / weights.sum(axis=0))
    np.testing.assert_allclose(run("linear_attention", SIZES, whole)["AV"], expected, rtol=1e-12)


@pytest.mark.parametrize("keep", [1, 5, 12])
def test_topk_threshold_keeps_the_largest_scores(keep: int) -> None:
    whole = draw(load_cascade("topk_threshold"), SIZES, seed=2)
    scores = whole["K"].T @ whole["Q"]
    mask = np.zeros_like(scores)
    np.put_along_axis(mask, np.argsort(scores, axis=0)[-keep:], 1.0, axis=0)
    weights = np.exp(scores) * mask
    expected = whole["V"].T @ (weights / weights.sum(axis=0))
    np.testing.assert_allclose(run("topk_threshold", SIZES, whole, keep=keep)["AV"], expected, rtol=1e-11)


@pytest.mark.parametrize("keep", [1, 5, 12])
def test_column_importance_keeps_the_rows_with_most_attention(keep: int) -> None:
    whole = draw(load_cascade("column_importance"), SIZES, seed=4)
    found = run("column_importance", SIZES, whole, keep=keep)
    weights = probabilities(whole["Q"], whole["K"])
    rows = np.argsort(weights.sum(axis=1))[-keep:]
    np.testing.assert_allclose(found["AV"], whole["V"][rows].T @ weights[rows], rtol=1e-11)
    np.testing.assert_allclose(found["IMP"], weights.sum(axis=1), rtol=1e-12)


def test_toys_and_matmul() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=7), rng.normal(size=7)
    inputs, sizes = {"A": a, "B": b}, {"k": 7}
    np.testing.assert_allclose(run("dot_then_scale", sizes, inputs)["Z"], (a @ b) * a)
    for name in ("dot_then_scale_reduced", "dot_then_scale_deferred"):
        np.testing.assert_allclose(run(name, sizes, inputs)["Z"], (a @ b) * a.sum())
    left, right = rng.normal(size=(2, 3)), rng.normal(size=(3, 4))
    found = run("matmul", {"m": 2, "n": 4, "k": 3}, {"A": left, "W": right})
    np.testing.assert_allclose(found["Z"], left @ right)
