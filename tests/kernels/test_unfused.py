"""The unfused kernels equal the fused reference and their cascade; their traffic is the closed form's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import WorkloadError

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from tests.kernels.agreement import TOLERANCE, difference, error, float64, inputs, lifted, outputs, references  # noqa: E402
from tests.workloads.reference import run  # noqa: E402

NAME = "unfused"
SMALL: dict[str, object] = {
    "heads": 2, "head_dim": 16, "tile_queries": 16, "tile_keys": 16, "score_precision": "fp32",
}  # fmt: skip
CASES: dict[str, dict[str, object]] = {
    "even": {"sequence": 64},
    "causal": {"sequence": 64, "causal": True},
    "odd everything": {"sequence": 37, "queries": 21, "head_dim": 40, "value_dim": 9},
    "grouped heads": {"sequence": 30, "heads": 4, "kv_heads": 2, "causal": True},
    "one query": {"sequence": 30, "queries": 1, "causal": True},
    "one key": {"sequence": 1, "queries": 5},
    "rows without keys": {"sequence": 9, "queries": 40, "causal": True},
    "ragged": {
        "batch": 4, "sequence": 40, "queries": 30, "query_lengths": (30, 1, 0, 9), "key_lengths": (40, 17, 3, 0),
        "causal": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_naive_reference(case: str, precision: str) -> None:
    assert error(NAME, SMALL | CASES[case] | {"precision": precision}) < TOLERANCE[precision]


def test_scores_in_fp16_differ_by_their_rounding() -> None:
    """From the reference with rounded scores by less than from the one without."""
    arguments = inputs(
        NAME, SMALL | {"sequence": 60, "causal": True, "score_precision": "fp16", "precision": "fp32"}
    )
    found = outputs(NAME, arguments)
    near = difference(found, references(NAME, arguments))
    far = difference(found, references(NAME, arguments | {"score_precision": "fp32"}))
    assert near < TOLERANCE["fp16"]
    assert near < far < 1e-2


def test_large_logits_neither_overflow_nor_lose_the_maximum() -> None:
    arguments = inputs(NAME, SMALL | {"sequence": 40, "precision": "fp32", "causal": True})
    arguments["q"] *= 300
    o, lse = outputs(NAME, arguments)
    wanted, wanted_lse = references(NAME, arguments)
    assert float(wanted_lse.abs().max()) > 200
    assert float(((lse - wanted_lse) / wanted_lse).abs().max()) < 1e-5
    assert difference([o], [wanted]) < 1e-3


def test_equals_its_cascade() -> None:
    arguments = inputs(NAME, SMALL | {"heads": 1, "sequence": 37, "queries": 21, "precision": "fp32"})
    o, _ = outputs(NAME, arguments)
    q, k, v = (float64(arguments[name])[0, 0] for name in ("q", "k", "v"))
    whole = {"Q": q.T * 16**-0.5, "K": k.T, "V": v}
    result = run("softmax_3pass", {"e": 16, "f": 16, "p": 21, "m": 37}, whole)
    assert np.abs(result["AV"].T - float64(o[0, 0])).max() < 1e-5


def test_what_does_not_fit_is_refused() -> None:
    arguments = inputs(NAME, SMALL | {"sequence": 16})
    with pytest.raises(WorkloadError) as caught:
        outputs(NAME, arguments | {"tile_rows": 24, "score_precision": "fp8"})
    assert len(caught.value.problems) == 2
    with pytest.raises(WorkloadError, match="depths must agree"):
        outputs(NAME, arguments | {"q": arguments["q"][..., :8]})


def test_a_causal_trace_computes_all_pairs_and_uses_half() -> None:
    keys, heads, depth, tile = 64, 2, 32, 32
    given = {"sequence": keys, "heads": heads, "head_dim": depth, "tile_queries": tile, "tile_keys": tile}
    trace, facts = lifted(NAME, given | {"causal": True})
    pairs = heads * keys * (keys + 1) // 2
    assert facts.useful_pairs == pairs
    assert facts.executed_flops == heads * keys * keys * 4 * depth
    assert facts.useful_flops == pairs * 4 * depth
    score, softmax, value = facts.launches
    matrix, operand = heads * keys * keys * 2, heads * keys * depth * 2
    assert score.written_bytes == {"scores": matrix}
    assert score.read_bytes == {"q": operand * 2, "k": operand * 2}
    assert softmax.read_bytes == {"scores": matrix}
    assert softmax.exps == heads * keys * keys
    assert softmax.written_bytes == {"probabilities": matrix, "lse": heads * keys * 4}
    assert value.read_bytes == {"probabilities": matrix, "v": operand * 2}
    assert value.written_bytes == {"o": operand}
    assert trace.max_error is not None
    assert trace.max_error < 2e-3


@settings(max_examples=6)
@given(
    st.fixed_dictionaries(
        {
            "sequence": st.integers(1, 40),
            "queries": st.integers(1, 40),
            "head_dim": st.integers(1, 20),
            "value_dim": st.integers(1, 20),
            "causal": st.booleans(),
            "kv_heads": st.sampled_from([1, 2]),
        }
    ),
    st.data(),
)
def test_every_trace_lifts(shape: dict[str, object], data: st.DataObject) -> None:
    if data.draw(st.booleans()):
        for name, padded in (("query_lengths", "queries"), ("key_lengths", "sequence")):
            size = int(str(shape[padded]))
            shape[name] = tuple(data.draw(st.lists(st.integers(0, size), min_size=2, max_size=2)))
    _, facts = lifted(NAME, SMALL | shape | {"batch": 2, "precision": "fp32"})
    depths = int(str(shape["head_dim"])) + int(str(shape["value_dim"]))
    assert facts.useful_flops == 2 * depths * facts.useful_pairs <= facts.executed_flops
