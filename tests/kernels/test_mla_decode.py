"""Absorbed latent attention equals its reference and its cascade; its intensity is the closed form's."""

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

NAME = "mla_decode"
SMALL: dict[str, object] = {"heads": 16, "latent_dim": 32, "rope_dim": 16, "scale_dim": 24, "tile_keys": 16}
CASES: dict[str, dict[str, object]] = {
    "depths of DeepSeek": {
        "sequence": 70,
        "latent_dim": 512,
        "rope_dim": 64,
        "scale_dim": 192,
        "tile_keys": 64,
    },
    "even": {"sequence": 64},
    "odd everything": {"sequence": 37, "heads": 21, "latent_dim": 40, "rope_dim": 5},
    "few heads": {"sequence": 20, "heads": 3},
    "one key": {"sequence": 1, "heads": 1},
    "ragged": {"batch": 4, "sequence": 50, "heads": 20, "key_lengths": (50, 1, 0, 17)},
    "large tiles": {"sequence": 70, "heads": 40, "tile_heads": 32, "tile_keys": 32},
}


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_naive_reference(case: str, precision: str) -> None:
    assert error(NAME, SMALL | CASES[case] | {"precision": precision}) < TOLERANCE[precision]


def test_large_logits_neither_overflow_nor_lose_the_maximum() -> None:
    arguments = inputs(NAME, SMALL | {"sequence": 60, "precision": "fp32"})
    arguments["q_latent"] *= 300
    o, lse = outputs(NAME, arguments)
    wanted, wanted_lse = references(NAME, arguments)
    assert float(wanted_lse.abs().max()) > 200
    assert float(((lse - wanted_lse) / wanted_lse).abs().max()) < 1e-5
    assert difference([o], [wanted]) < 1e-3


def test_equals_its_cascade() -> None:
    arguments = inputs(NAME, SMALL | {"sequence": 48, "precision": "fp32"})
    o, _ = outputs(NAME, arguments)
    names = {"QL": "q_latent", "QR": "q_rope", "C": "latents", "KR": "rope_keys"}
    whole = {tensor: float64(arguments[name][0]).T for tensor, name in names.items()}
    sizes = {"r": 32, "u": 16, "h": 16, "m1": 3, "m0": 16}
    result = run("mla_absorbed", sizes, whole, scale=24**-0.5 * math.log2(math.e))
    assert np.abs(result["AC"].T - float64(o[0])).max() < 1e-5


def test_shapes_that_disagree_are_reported_together() -> None:
    arguments = inputs(NAME, SMALL | {"sequence": 16})
    with pytest.raises(WorkloadError) as caught:
        outputs(
            NAME, arguments | {"latents": arguments["latents"][:, :9], "q_rope": arguments["q_rope"][:, :9]}
        )
    assert len(caught.value.problems) == 2
    with pytest.raises(WorkloadError, match="tile_heads is 8"):
        outputs(NAME, arguments | {"tile_heads": 8})


def test_intensity_of_the_absorbed_form() -> None:
    """128 heads share one latent of 512 + 64 elements per key: 241.8 operations for each byte of the cache."""
    keys = 64
    _, facts = lifted(NAME, {"sequence": keys})
    assert facts.executed_flops == facts.useful_flops == 128 * keys * 2 * (512 + 64 + 512)
    cache = facts.unique_read_bytes["C"] + facts.unique_read_bytes["KR"]
    assert cache == keys * (512 + 64) * 2
    assert round(facts.useful_flops / cache, 1) == 241.8
    # Each tile of 16 heads reads the cache again, but the latents once, as keys and values.
    assert facts.read_bytes["C"] == 8 * facts.unique_read_bytes["C"]


def test_one_tile_of_all_heads_reads_the_cache_once() -> None:
    _, facts = lifted(NAME, {"sequence": 32, "tile_heads": 128})
    assert facts.read_bytes["C"] == facts.unique_read_bytes["C"]
    assert facts.read_bytes["KR"] == facts.unique_read_bytes["KR"]


@settings(max_examples=6)
@given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 40), st.integers(1, 20), st.integers(0, 40))
def test_every_trace_lifts(keys: int, heads: int, latent: int, rope: int, end: int) -> None:
    end = min(end, keys)
    given = {"batch": 2, "sequence": keys, "heads": heads, "latent_dim": latent, "rope_dim": rope}
    _, facts = lifted(NAME, given | {"tile_keys": 16, "precision": "fp32", "key_lengths": (keys, end)})
    assert facts.useful_pairs == heads * (keys + end)
