"""Shapes of the shipped language models: weights as published, heads, latents, experts, requests and windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dse.errors import WorkloadError
from dse.workloads.load import load_workload

if TYPE_CHECKING:
    from dse.workloads.workload import Workload

# Published parameter counts in billions; embeddings, which the workloads leave out, are up to 3% of them.
PUBLISHED = {
    "gpt3_175b": 175, "llama_65b": 65.2, "mt_nlg_530b": 530, "opt_66b": 66, "llama3_70b": 70.6,
    "mixtral_8x7b": 46.7, "glam_143b": 143, "grok1": 314, "deepseek_v3": 671,
}  # fmt: skip
DECODE = {"phase": "decode", "sequence": "1K", "batch": 4}


def weights(work: Workload) -> float:
    layers = float(work.layers[0])
    found = sum(float((g.n * g.k)[0]) for g in work.linear) * layers
    if work.experts is not None:
        e = work.experts
        found += float((e.weights * (e.count + e.shared) * e.layers)[0])
        found += sum(float((g.n * g.k * e.dense_layers)[0]) for g in e.dense)
    return found


@pytest.mark.parametrize(("name", "billions"), PUBLISHED.items())
def test_weights_are_those_of_the_published_model(name: str, billions: float) -> None:
    work = load_workload(name, DECODE | {"scope": "model"})
    assert weights(work) / 1e9 == pytest.approx(billions, rel=0.032)


def sizes(work: Workload) -> dict[str, int]:
    return {rank: int(size[0]) for rank, size in work.sizes.items()}


def test_latent_attention_is_absorbed_in_decode_and_expanded_in_prefill() -> None:
    absorbed = load_workload("deepseek_v3", DECODE)
    assert sizes(absorbed) == {"b": 4, "h": 1, "g": 128, "p": 1, "m": 1024, "e": 576, "f": 512}
    assert absorbed.family == "mla"
    assert float(absorbed.stored_values[0]) == 576
    expanded = load_workload("deepseek_v3", {"sequence": "1K"})
    assert sizes(expanded) == {"b": 1, "h": 128, "g": 1, "p": 1024, "m": 1024, "e": 192, "f": 128}
    assert expanded.family == "softmax"


def test_requests_of_different_lengths_share_a_batch() -> None:
    work = load_workload("llama3_70b", {"phase": "decode", "lengths": "4K*3,512/512", "scope": "layer"})
    assert [(int(r.count[0]), int(r.keys[0]), int(r.queries[0])) for r in work.requests] == [
        (3, 4096, 1), (1, 512, 512),
    ]  # fmt: skip
    assert sizes(work) | {"b": 4, "m": 4096, "p": 512} == sizes(work)
    assert {int(gemm.m[0]) for gemm in work.linear} == {515}
    assert work.extras == ("requests",)


def test_one_query_sees_a_window_as_if_there_were_no_other_keys() -> None:
    short = load_workload("llama3_70b", DECODE | {"window": 256})
    assert sizes(short)["m"] == 256
    assert short.extras == ()
    prefill = load_workload("llama3_70b", {"sequence": "1K", "window": 256})
    assert prefill.extras == ("window",)
    pairs = sum(min(row, 256) for row in range(1, 1025))
    assert float(prefill.useful_pairs[0]) == pairs


@pytest.mark.parametrize("keys", [1, 3, 8, 20])
@pytest.mark.parametrize("window", [1, 5, 8, 30])
def test_pairs_of_a_window_are_counted_one_by_one(keys: int, window: int) -> None:
    for queries in range(1, keys + 1):
        work = load_workload(
            "attention", {"sequence": keys, "queries": queries, "causal": "true", "window": window}
        )
        counted = sum(min(keys - queries + row, window) for row in range(1, queries + 1))
        assert float(work.useful_pairs[0]) == counted


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"lengths": "4K", "sequence": "4K"}, "given by -p lengths"),
        ({"lengths": "4K*"}, "is not keys"),
        ({"lengths": "512/1K"}, "queries at most keys"),
        ({"lengths": "512*0"}, "counts must be positive"),
        ({"sequence": "1K", "experts": "8"}, "no parameter 'experts'"),
        ({"sequence": "1K", "routing": "skewed", "scope": "layer"}, "neither one of"),
    ],
)
def test_wrong_parameters_are_said(given: dict[str, str], said: str) -> None:
    with pytest.raises(WorkloadError, match=said.replace("*", r"\*")):
        load_workload("mixtral_8x7b", given)
