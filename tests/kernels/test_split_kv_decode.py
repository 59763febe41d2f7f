"""Split-KV decode equals its reference and its cascade; its trace has the counts of the closed form."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import TraceError, WorkloadError

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from tests.kernels.agreement import TOLERANCE, difference, error, float64, inputs, lifted, outputs, references  # noqa: E402
from tests.workloads.reference import run  # noqa: E402

NAME = "split_kv_decode"
SMALL: dict[str, object] = {"heads": 4, "kv_heads": 2, "head_dim": 16, "tile_keys": 16, "splits": 3}
CASES: dict[str, dict[str, object]] = {
    "even": {"sequence": 96},
    "odd length": {"sequence": 77, "head_dim": 40, "value_dim": 24},
    "a group fills its tile": {"sequence": 70, "heads": 32},
    "a group larger than 16": {"sequence": 40, "heads": 40},
    "more splits than tiles": {"sequence": 20, "splits": 5},
    "one split": {"sequence": 50, "splits": 1},
    "one key": {"sequence": 1},
    "ragged": {"batch": 4, "sequence": 70, "key_lengths": (70, 1, 0, 33)},
}


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_naive_reference(case: str, precision: str) -> None:
    assert error(NAME, SMALL | CASES[case] | {"precision": precision}) < TOLERANCE[precision]


def test_large_logits_neither_overflow_nor_lose_the_maximum() -> None:
    arguments = inputs(NAME, SMALL | {"sequence": 60, "precision": "fp32"})
    arguments["q"] *= 300
    o, lse = outputs(NAME, arguments)
    wanted, wanted_lse = references(NAME, arguments)
    assert float(wanted_lse.abs().max()) > 200
    assert float(((lse - wanted_lse) / wanted_lse).abs().max()) < 1e-5
    assert difference([o], [wanted]) < 1e-3


def test_equals_its_cascade() -> None:
    """Every split has as many tiles in the cascade, so the keys fill them."""
    arguments = inputs(NAME, SMALL | {"heads": 2, "kv_heads": 1, "sequence": 96, "precision": "fp32"})
    o, lse = outputs(NAME, arguments)
    q, k, v = (float64(arguments[name])[0] for name in ("q", "k", "v"))
    whole = {"Q": q.T * 16**-0.5, "K": k[0].T, "V": v[0]}
    result = run("softmax_split_flash", {"e": 16, "f": 16, "p": 2, "m2": 3, "m1": 2, "m0": 16}, whole)
    assert np.abs(result["AV"].T - float64(o[0])).max() < 1e-5
    assert np.abs(result["L"] - float64(lse[0])).max() < 1e-5


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"heads": 3, "kv_heads": 2}, "3 heads are no multiple of 2 kv heads"),
        ({"tile_keys": 48}, "tile_keys is 48: it must be a power of two from 16 up"),
        ({"batch": 2, "key_lengths": (16, 17)}, "key_lengths must hold 2 lengths from 0 to 16"),
    ],
)
def test_what_does_not_fit_is_refused(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        outputs(NAME, inputs(NAME, SMALL | {"sequence": 16} | parameters))


def test_problems_of_shapes_are_reported_together() -> None:
    arguments = inputs(NAME, SMALL | {"sequence": 16})
    with pytest.raises(WorkloadError) as caught:
        outputs(NAME, arguments | {"k": arguments["k"][..., :8], "q": arguments["q"].float()})
    assert len(caught.value.problems) == 2
    with pytest.raises(WorkloadError, match="splits is 0: there must be at least 1"):
        outputs(NAME, arguments | {"splits": 0})
    with pytest.raises(WorkloadError, match="q has 4 dimensions, not 3"):
        outputs(NAME, arguments | {"q": arguments["q"][None]})
    with pytest.raises(TraceError, match="bf16 arithmetic is wrong"):
        outputs(NAME, {key: x.bfloat16() if key in "qkv" else x for key, x in arguments.items()})


@pytest.mark.parametrize("kv_heads", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_padding_of_the_group_costs_four_times_the_useful_work(kv_heads: int) -> None:
    """4 queries of a group in 16 rows, 8,000 keys of depth 128 in 63 tiles of 128: 4 x 8,064 / 8,000."""
    trace, facts = lifted(NAME, {"sequence": 8000, "heads": 4 * kv_heads, "kv_heads": kv_heads})
    assert facts.executed_flops * 8 == 528_482_304 * kv_heads
    assert facts.useful_flops * 8 == 131_072_000 * kv_heads
    assert facts.executed_flops == 63 * 128 * kv_heads * 16 * 4 * 128
    assert round(facts.executed_flops / facts.useful_flops, 2) == 4.03
    assert facts.read_bytes["K"] == facts.unique_read_bytes["K"] == 8000 * kv_heads * 128 * 2
    assert facts.read_bytes["Q"] == 8 * facts.unique_read_bytes["Q"] == 8 * 4 * kv_heads * 128 * 2
    split, combine = facts.launches
    assert (split.programs, combine.programs) == (8 * kv_heads, 4 * kv_heads)
    assert split.steps == {"keys": 63 * kv_heads}
    assert split.exps == 63 * kv_heads * 16 * (128 + 1)
    assert combine.exps == 4 * kv_heads * 8
    assert combine.read_bytes == {"partial": 4 * kv_heads * 8 * 128 * 4, "partial_lse": 4 * kv_heads * 8 * 4}
    assert trace.max_error is not None
    assert trace.max_error < 2e-3


@settings(max_examples=8)
@given(
    st.fixed_dictionaries(
        {
            "sequence": st.integers(1, 60),
            "head_dim": st.integers(1, 20),
            "value_dim": st.integers(1, 20),
            "heads": st.sampled_from([2, 6, 32]),
            "splits": st.integers(1, 4),
        }
    ),
    st.data(),
)
def test_every_trace_lifts(shape: dict[str, object], data: st.DataObject) -> None:
    length = int(str(shape["sequence"]))
    ends = tuple(data.draw(st.lists(st.integers(0, length), min_size=2, max_size=2)))
    given = shape | {"batch": 2, "kv_heads": 2, "tile_keys": 16, "precision": "fp32", "key_lengths": ends}
    trace, facts = lifted(NAME, given)
    assert facts.useful_pairs == int(str(shape["heads"])) * sum(ends)
    assert facts.launches[0].steps["keys"] == 2 * sum(ceil(end / 16) for end in ends)
    assert trace.max_error is not None
    assert trace.max_error < 1e-5
