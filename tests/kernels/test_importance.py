"""Importance equals its reference, its cascade and the probabilities of the attention it is taken from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import WorkloadError

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from tests.kernels.agreement import difference, error, float64, inputs, lifted, outputs, references  # noqa: E402
from tests.workloads.reference import run  # noqa: E402

NAME = "importance"
SMALL: dict[str, object] = {"heads": 2, "tile_queries": 16, "tile_keys": 16}
CASES: dict[str, dict[str, object]] = {
    "even": {"sequence": 64},
    "causal": {"sequence": 64, "causal": True},
    "odd lengths": {"sequence": 37, "queries": 21},
    "one query": {"sequence": 30, "queries": 1, "causal": True},
    "one key": {"sequence": 1, "queries": 5},
    "rows without keys": {"sequence": 9, "queries": 40, "causal": True},
    "uneven tiles": {"sequence": 50, "queries": 60, "tile_queries": 32, "causal": True},
    "ragged": {
        "batch": 4, "sequence": 40, "queries": 30, "query_lengths": (30, 1, 0, 9), "key_lengths": (40, 17, 3, 0),
        "causal": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("case", CASES)
def test_equals_the_naive_reference(case: str, precision: str) -> None:
    """Scores are rounded before either of them reads them, so fp16 is as exact as fp32."""
    assert error(NAME, SMALL | CASES[case] | {"precision": precision}) < 1e-5


def test_is_the_column_sum_of_the_attention_it_is_taken_from() -> None:
    """Scores of the queries and keys, log-sum-exps of the fused kernel."""
    attention = inputs(
        "flash_forward", {"sequence": 40, "queries": 30, "heads": 2, "precision": "fp32", "causal": True}
    )
    _, lse = outputs("flash_forward", attention)
    scores = attention["q"] @ attention["k"].transpose(-1, -2) * 64**-0.5
    arguments = {"scores": scores, "lse": lse, "causal": True, "tile_queries": 16, "tile_keys": 16}
    (sums,) = outputs(NAME, arguments)
    assert difference([sums], references(NAME, arguments)) < 1e-5
    np.testing.assert_allclose(float64(sums).sum(axis=-1), 30, rtol=1e-6)


def test_large_scores_keep_their_probabilities() -> None:
    arguments = inputs(NAME, SMALL | {"sequence": 40, "precision": "fp32"})
    arguments["scores"] *= 1000
    arguments["lse"] = torch.logsumexp(arguments["scores"].double(), dim=-1).float()
    assert float(arguments["lse"].abs().max()) > 1000
    (sums,) = outputs(NAME, arguments)
    # One unit in the last place of a log-sum-exp of 3,000 is 2.4e-4.
    assert difference([sums], references(NAME, arguments)) < 1e-2
    np.testing.assert_allclose(float64(sums).sum(axis=-1), 40, rtol=1e-3)


def test_equals_its_cascade() -> None:
    arguments = inputs(NAME, SMALL | {"sequence": 37, "queries": 21, "precision": "fp32"})
    (sums,) = outputs(NAME, arguments)
    whole = {"S": float64(arguments["scores"][0, 0]).T, "L": float64(arguments["lse"][0, 0])}
    result = run(NAME, {"m": 37, "p": 21}, whole)
    assert np.abs(result["IMP"] - float64(sums[0, 0])).max() < 1e-5


def test_what_does_not_fit_is_refused() -> None:
    arguments = inputs(NAME, SMALL | {"sequence": 16})
    with pytest.raises(WorkloadError) as caught:
        outputs(NAME, arguments | {"lse": arguments["lse"][..., :8], "tile_keys": 8})
    assert len(caught.value.problems) == 2


def test_a_causal_trace_skips_rows_that_see_no_key() -> None:
    keys, heads, tile = 64, 2, 16
    trace, facts = lifted(NAME, SMALL | {"sequence": keys, "causal": True})
    blocks = keys // tile
    assert facts.useful_pairs == heads * keys * (keys + 1) // 2
    assert facts.launches[0].steps == {"rows": heads * blocks * (blocks + 1) // 2}
    assert facts.executed_exps == heads * blocks * (blocks + 1) // 2 * tile * tile
    assert facts.useful_exps == facts.useful_pairs
    assert facts.read_bytes["S"] == facts.executed_exps * 2
    assert facts.written_bytes == {"IMP": heads * keys * 4}
    assert trace.max_error is not None
    assert trace.max_error < 1e-5


@settings(max_examples=8)
@given(st.integers(1, 40), st.integers(1, 40), st.booleans(), st.data())
def test_every_trace_lifts(keys: int, queries: int, causal: bool, data: st.DataObject) -> None:
    given: dict[str, object] = {"sequence": keys, "queries": queries, "causal": causal, "batch": 2}
    if data.draw(st.booleans()):
        for name, size in (("query_lengths", queries), ("key_lengths", keys)):
            given[name] = tuple(data.draw(st.lists(st.integers(0, size), min_size=2, max_size=2)))
    _, facts = lifted(NAME, SMALL | given)
    assert facts.useful_pairs <= facts.executed_pairs
