"""Quantised decode equals its reference and its cascade, fetches where it must, and moves the bytes it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import WorkloadError

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from dse.kernels.flash_forward_naive import flash_forward_naive  # noqa: E402
from dse.kernels.quantisation import from_planes, planes, quantise  # noqa: E402
from tests.kernels.agreement import TOLERANCE, difference, error, float64, inputs, lifted, outputs, references  # noqa: E402
from tests.workloads.reference import run  # noqa: E402

NAME = "quantised_decode"
SMALL: dict[str, object] = {"heads": 6, "kv_heads": 2, "head_dim": 16, "tile_keys": 16, "threshold": 0.2}
CASES: dict[str, dict[str, object]] = {
    "even": {"sequence": 64},
    "odd length": {"sequence": 37, "head_dim": 40, "value_dim": 6},
    "a group fills its tile": {"sequence": 30, "heads": 32},
    "one key": {"sequence": 1},
    "ragged": {"batch": 4, "sequence": 50, "key_lengths": (50, 1, 0, 33)},
}
KEYS = ("int8", "int4", "progressive")


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_naive_reference(case: str, keys: str, precision: str) -> None:
    given = SMALL | CASES[case] | {"key_format": keys, "precision": precision}
    assert error(NAME, given) < TOLERANCE[precision]


def test_values_of_four_bits() -> None:
    given = SMALL | {"sequence": 50, "key_format": "int4", "value_format": "int4"}
    assert error(NAME, given | {"precision": "fp32"}) < 1e-5


def test_large_logits_neither_overflow_nor_lose_the_maximum() -> None:
    arguments = inputs(NAME, SMALL | {"sequence": 60, "precision": "fp32", "key_format": "int8"})
    arguments["q"] *= 300
    o, lse, _ = outputs(NAME, arguments)
    wanted, wanted_lse, _ = references(NAME, arguments)
    assert float(wanted_lse.abs().max()) > 200
    assert float(((lse - wanted_lse) / wanted_lse).abs().max()) < 1e-5
    assert difference([o], [wanted]) < 2e-3


@pytest.mark.parametrize(("upper_only", "largest"), [(False, 0.02), (True, 0.4)])
def test_quantisation_stays_near_the_exact_attention(upper_only: bool, largest: float) -> None:
    """Errors of half a step of 127 or of 8 levels, against attention over keys that were never quantised."""
    generator = torch.Generator().manual_seed(1)
    q, k, v = (
        torch.randn(shape, generator=generator) for shape in ((1, 2, 64), (1, 2, 90, 64), (1, 2, 90, 64))
    )
    arguments: dict[str, object] = {"q": q, "tile_keys": 16}
    for name, tensor in (("k", k), ("v", v)):
        values, arguments[f"{name}_scale"] = quantise(tensor)
        arguments[f"{name}_upper"], arguments[f"{name}_lower"] = planes(values)
    if upper_only:
        arguments |= {"k_lower": None, "v_lower": None}
    exact, _ = flash_forward_naive(q[:, :, None], k, v)
    found = difference([outputs(NAME, arguments)[0]], [exact[:, :, 0]])
    assert largest / 10 < found < largest


def test_halves_put_together_are_the_values() -> None:
    values = torch.arange(-127, 127)[None]
    assert torch.equal(from_planes(*planes(values)), values.to(torch.int32))
    middle = from_planes(planes(values)[0], None)
    assert int((middle - values).abs().max()) == 8
    rows = torch.tensor([[0.0, 0.0], [-3.0, 1.5]])
    integers, scale = quantise(rows)
    assert integers.tolist() == [[0, 0], [-127, 64]]
    np.testing.assert_allclose(scale, [1 / 127, 3 / 127], rtol=1e-6)


@pytest.mark.parametrize(
    ("threshold", "fetched"), [(0.0, (False, False)), (0.5, (True, False)), (1.1, (True, True))]
)
def test_lower_halves_are_fetched_where_no_probability_is_large(
    threshold: float, fetched: tuple[bool, bool]
) -> None:
    """The second key head's queries are eight times as large, so its probabilities are peaked."""
    given = SMALL | {"heads": 2, "sequence": 64, "precision": "fp32", "head_dim": 64}
    arguments = inputs(NAME, given | {"threshold": threshold})
    o, lse, again = outputs(NAME, arguments)
    assert tuple(again[0].tolist()) == fetched
    for head, both in enumerate(fetched):
        changed = {"threshold": None} if both else {"threshold": None, "k_lower": None}
        alone = outputs(NAME, arguments | changed)
        assert torch.equal(o[:, head], alone[0][:, head])
        assert torch.equal(lse[:, head], alone[1][:, head])


@pytest.mark.parametrize("threshold", [0.0, 1.1])
def test_equals_its_cascade(threshold: float) -> None:
    given = SMALL | {"heads": 3, "kv_heads": 1, "sequence": 48, "precision": "fp32", "threshold": threshold}
    arguments = inputs(NAME, given)
    o, _, again = outputs(NAME, arguments)
    lower = {name: from_planes(arguments[f"{name}_upper"], arguments[f"{name}_lower"]) + 128 for name in "kv"}
    whole = {"Q": float64(arguments["q"][0]).T}
    for name, prefix in (("k", "K"), ("v", "V")):
        halves = float64(lower[name][0, 0] // 16), float64(lower[name][0, 0] % 16)
        whole[f"{prefix}U"], whole[f"{prefix}L"] = (half.T if name == "k" else half for half in halves)
        whole[f"{prefix}S"] = float64(arguments[f"{name}_scale"][0, 0])
    sizes = {"e": 16, "f": 16, "p": 3, "m1": 3, "m0": 16}
    scale = 16**-0.5 * math.log2(math.e)
    result = run("progressive_quantisation", sizes, whole, scale=scale, threshold=threshold)
    assert bool(result["AGAIN"]) == bool(again[0, 0]) == (threshold > 1)
    assert np.abs(result["AV"].T - float64(o[0])).max() < 1e-5


def test_what_does_not_fit_is_refused() -> None:
    arguments = inputs(NAME, SMALL | {"sequence": 16})
    with pytest.raises(WorkloadError) as caught:
        outputs(
            NAME,
            arguments | {"k_scale": arguments["k_scale"][..., :8], "v_upper": arguments["v_upper"].int()},
        )
    assert len(caught.value.problems) == 2
    with pytest.raises(WorkloadError, match="a threshold needs k_lower"):
        outputs(NAME, arguments | {"k_lower": None})
    with pytest.raises(WorkloadError, match="a depth of 7 is odd"):
        outputs(NAME, inputs(NAME, SMALL | {"sequence": 16, "head_dim": 7, "value_dim": 6}))


def test_bytes_of_each_format() -> None:
    """4 bits of a key first; the lower half of its bytes only for the groups fetched again."""
    keys, depth, kv_heads = 64, 64, 4
    sizes = {"sequence": keys, "head_dim": depth, "heads": 16, "kv_heads": kv_heads, "threshold": 0.25}
    half = keys * depth // 2
    plain = {
        key: lifted(NAME, sizes | {"key_format": key, "value_format": key})[1] for key in ("int8", "int4")
    }
    for name in ("KU", "VU"):
        assert plain["int8"].read_bytes[name] == plain["int4"].read_bytes[name] == kv_heads * half
    assert plain["int8"].read_bytes["KL"] == kv_heads * half
    assert "KL" not in plain["int4"].read_bytes
    trace, facts = lifted(NAME, sizes)
    upper, full = facts.launches
    assert upper.read_bytes["k_upper"] == kv_heads * half
    assert full.read_bytes["k_lower"] == full.read_bytes["k_upper"] == 2 * half
    assert full.steps == {"keys": 2 * keys // 64}
    assert facts.read_bytes["KU"] == 6 * half
    assert upper.flops == {"fp16": kv_heads * 16 * keys * 4 * depth}
    assert facts.useful_flops == (16 + 8) * keys * 4 * depth
    assert facts.precisions["KU"] == "uint8"
    assert trace.max_error is not None
    assert trace.max_error < 2e-3


@settings(max_examples=8)
@given(st.sampled_from(KEYS), st.sampled_from(["int8", "int4"]), st.integers(1, 40), st.integers(0, 40))
def test_every_trace_lifts(keys: str, values: str, length: int, end: int) -> None:
    given = SMALL | {"batch": 2, "sequence": length, "key_lengths": (length, min(end, length))}
    _, facts = lifted(NAME, given | {"key_format": keys, "value_format": values, "precision": "fp32"})
    assert facts.useful_pairs == 6 * (length + min(end, length))
