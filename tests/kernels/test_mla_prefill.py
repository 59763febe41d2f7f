"""Expanded latent attention equals its reference and its cascade; its trace has the closed form's counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import WorkloadError

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from tests.kernels.agreement import TOLERANCE, difference, error, float64, inputs, lifted, outputs, references  # noqa: E402
from tests.workloads.reference import run  # noqa: E402

NAME = "mla_prefill"
SMALL: dict[str, object] = {
    "heads": 2, "latent_dim": 24, "head_dim": 16, "rope_dim": 8, "value_dim": 16, "tile_queries": 16,
    "tile_keys": 16,
}  # fmt: skip
CASES: dict[str, dict[str, object]] = {
    "depths of DeepSeek": {
        "sequence": 70, "queries": 20, "latent_dim": 512, "head_dim": 128, "rope_dim": 64, "value_dim": 128,
        "tile_keys": 64, "tile_queries": 32,
    },
    "even": {"sequence": 48},
    "causal": {"sequence": 50, "causal": True},
    "odd everything": {"sequence": 37, "queries": 21, "latent_dim": 70, "head_dim": 9, "rope_dim": 5},
    "one query": {"sequence": 30, "queries": 1, "causal": True},
    "one key": {"sequence": 1, "queries": 5},
    "rows without keys": {"sequence": 9, "queries": 40, "causal": True},
    "ragged": {
        "batch": 4, "sequence": 40, "queries": 30, "query_lengths": (30, 1, 0, 9), "key_lengths": (40, 17, 3, 0),
    },
    "ragged causal": {
        "batch": 3, "sequence": 40, "queries": 30, "causal": True, "query_lengths": (30, 1, 20),
        "key_lengths": (40, 17, 3),
    },
}  # fmt: skip


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_naive_reference(case: str, precision: str) -> None:
    assert error(NAME, SMALL | CASES[case] | {"precision": precision}) < TOLERANCE[precision]


def test_large_logits_neither_overflow_nor_lose_the_maximum() -> None:
    arguments = inputs(NAME, SMALL | {"sequence": 40, "precision": "fp32", "causal": True})
    arguments["q"] *= 300
    o, lse = outputs(NAME, arguments)
    wanted, wanted_lse = references(NAME, arguments)
    assert float(wanted_lse.abs().max()) > 200
    assert float(((lse - wanted_lse) / wanted_lse).abs().max()) < 1e-5
    assert difference([o], [wanted]) < 1e-3


def test_equals_its_cascade() -> None:
    arguments = inputs(NAME, SMALL | {"sequence": 48, "queries": 20, "precision": "fp32"})
    o, _ = outputs(NAME, arguments)
    plain = {name: float64(arguments[name])[0] for name in ("latents", "rope_keys")}
    for head in range(2):
        parts = {name: float64(arguments[name])[0, head] for name in ("q", "q_rope")}
        whole = {"Q": parts["q"].T, "QR": parts["q_rope"].T, "C": plain["latents"].T}
        whole |= {"KR": plain["rope_keys"].T, "WK": float64(arguments["key_weights"][head])}
        whole["WV"] = float64(arguments["value_weights"][head])
        sizes = {"r": 24, "e": 16, "u": 8, "f": 16, "p": 20, "m1": 3, "m0": 16}
        result = run("mla_expanded", sizes, whole, scale=24**-0.5 * math.log2(math.e))
        assert np.abs(result["AV"].T - float64(o[0, head])).max() < 1e-5


def test_absorbed_and_expanded_forms_are_the_same_attention() -> None:
    """The query times the key weights, against latents, then times the value weights."""
    arguments = inputs(NAME, SMALL | {"sequence": 40, "queries": 1, "precision": "fp32"})
    o, lse = outputs(NAME, arguments)
    q_latent = torch.einsum("bhpe,hre->bhr", arguments["q"], arguments["key_weights"])
    absorbed = inputs(
        "mla_decode", {"heads": 2, "latent_dim": 24, "rope_dim": 8, "scale_dim": 24, "sequence": 1}
    )
    absorbed |= {"q_latent": q_latent, "q_rope": arguments["q_rope"][:, :, 0]}
    absorbed |= {name: arguments[name] for name in ("latents", "rope_keys")}
    weighted, absorbed_lse = outputs("mla_decode", absorbed)
    again = torch.einsum("bhr,hrf->bhf", weighted, arguments["value_weights"])
    assert difference([again, absorbed_lse], [o[:, :, 0], lse[:, :, 0]]) < 1e-5


def test_what_does_not_fit_is_refused() -> None:
    arguments = inputs(NAME, SMALL | {"sequence": 16})
    with pytest.raises(WorkloadError) as caught:
        outputs(
            NAME,
            arguments | {"key_weights": arguments["key_weights"][:1], "q_rope": arguments["q_rope"][:, :1]},
        )
    assert len(caught.value.problems) == 2
    with pytest.raises(
        WorkloadError, match="query_lengths is missing: give query_lengths and key_lengths together"
    ):
        outputs(NAME, arguments | {"key_lengths": torch.tensor([3], dtype=torch.int32)})


def test_a_small_causal_trace_equals_its_closed_form() -> None:
    """Depths 192 and 128: no product is padded, and the rotary keys are stored once for all heads."""
    keys, heads, tile = 64, 2, 32
    given = {"sequence": keys, "heads": heads, "causal": True, "tile_queries": tile, "tile_keys": tile}
    trace, facts = lifted(NAME, given)
    expand, attend = facts.launches
    assert expand.flops == {"fp16": heads * keys * 512 * 2 * (128 + 128)}
    assert expand.steps == {"chunks": heads * (keys // tile) * (512 // 64)}
    assert expand.written_bytes == dict.fromkeys(("k", "v"), heads * keys * 128 * 2)
    tiles = heads * 3
    assert attend.flops == {"fp16": tiles * tile * tile * 2 * (128 + 64 + 128)}
    assert attend.exps == tiles * tile * (tile + 1)
    assert facts.useful_pairs == heads * keys * (keys + 1) // 2
    assert facts.useful_flops == expand.flops["fp16"] + 2 * facts.useful_pairs * (192 + 128)
    assert facts.unique_read_bytes["KR"] == keys * 64 * 2
    assert trace.max_error is not None
    assert trace.max_error < 2e-3


@settings(max_examples=6)
@given(
    st.fixed_dictionaries(
        {
            "sequence": st.integers(1, 40),
            "queries": st.integers(1, 40),
            "latent_dim": st.integers(1, 70),
            "head_dim": st.integers(1, 20),
            "rope_dim": st.integers(1, 20),
            "value_dim": st.integers(1, 20),
            "causal": st.booleans(),
        }
    ),
    st.data(),
)
def test_every_trace_lifts(shape: dict[str, object], data: st.DataObject) -> None:
    if data.draw(st.booleans()):
        for name, padded in (("query_lengths", "queries"), ("key_lengths", "sequence")):
            size = int(str(shape[padded]))
            # Without any key at all, the weights would not be read.
            shape[name] = (data.draw(st.integers(1, size)), data.draw(st.integers(0, size)))
    trace, facts = lifted(NAME, SMALL | shape | {"batch": 2, "precision": "fp32"})
    assert facts.useful_pairs <= facts.executed_pairs
    assert trace.max_error is not None
    assert trace.max_error < 1e-5
