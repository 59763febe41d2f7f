"""Modified scores and the normaliser switch: references, cascades, closed forms of every shipped choice."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from dse.errors import TraceError, WorkloadError
from dse.workloads.annotation import load_annotation
from dse.workloads.cascade_file import load_cascade
from dse.workloads.numeric import execute
from dse.workloads.sizes import partition_inputs
from tests.kernels import agreement

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from dse.kernels.score_mod import MODIFICATIONS, NORMALISERS, alibi_slopes, score_mod  # noqa: E402

SHIPPED = ("score_mod", "score_mod_alibi", "score_mod_sigmoid")
CHOICES = list(itertools.product(MODIFICATIONS, NORMALISERS))
SMALL: dict[str, object] = {"heads": 2, "head_dim": 16, "tile_queries": 16, "tile_keys": 16}
CASES: dict[str, dict[str, object]] = {
    "even": {"sequence": 64},
    "odd causal": {"sequence": 45, "queries": 61, "batch": 2, "kv_heads": 1, "causal": True, "value_dim": 24},
    "one of each": {"sequence": 1},
}


@pytest.mark.parametrize("precision", agreement.TOLERANCE)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("modification", "normaliser"), CHOICES)
def test_equals_the_naive_reference(modification: str, normaliser: str, case: str, precision: str) -> None:
    arguments = agreement.inputs("score_mod", SMALL | CASES[case] | {"precision": precision, "cap": 1.5})
    arguments |= {"modification": modification, "normaliser": normaliser}
    found, wanted = (run("score_mod", arguments) for run in (agreement.outputs, agreement.references))
    assert len(found) == (2 if normaliser == "softmax" else 1)
    assert agreement.difference(found, wanted) < agreement.TOLERANCE[precision]


# An exponential that overflows to infinity gives the right limit, a weight of 0 or a score of the cap.
@pytest.mark.filterwarnings("ignore:overflow encountered in exp2")
@pytest.mark.parametrize(("modification", "normaliser"), CHOICES)
def test_large_logits_neither_overflow_nor_lose_the_maximum(modification: str, normaliser: str) -> None:
    arguments = agreement.inputs("score_mod", SMALL | CASES["odd causal"] | {"precision": "fp32"})
    arguments |= {"modification": modification, "normaliser": normaliser, "q": arguments["q"] * 300}
    o, wanted = (run("score_mod", arguments)[0] for run in (agreement.outputs, agreement.references))
    assert bool(torch.isfinite(o).all())
    assert float((o - wanted).abs().max()) < 1e-3


@pytest.mark.parametrize("kernel", SHIPPED)
def test_equals_its_cascade(kernel: str) -> None:
    arguments = agreement.inputs(kernel, SMALL | {"sequence": 64, "queries": 16, "precision": "fp32"})
    o = agreement.outputs(kernel, arguments)[0][0, 0].double().numpy()
    q, k, v = agreement.float_heads(arguments, "q", "k", "v")
    cascade = load_cascade(load_annotation(kernel).cascade)
    sizes = {"e": 16, "f": 16, "p": 16, "m1": 4, "m0": 16}
    whole = {"Q": q.T / 4.0, "K": k.T, "V": v}
    if kernel == "score_mod_alibi":
        whole["DIST"] = np.abs(np.arange(64.0)[:, None] - (np.arange(16.0) + 48.0))
        whole["SLOPE"] = np.float64(alibi_slopes(2)[0]) * math.log2(math.e)
    elif kernel == "score_mod_sigmoid":
        whole["BIAS"] = np.asarray(-np.log2(64.0))
    values = execute(cascade, sizes, partition_inputs(cascade, sizes, whole))
    assert np.abs(values["AV"].T - o).max() < 1e-5


def test_slopes_of_eight_heads_are_those_of_the_paper() -> None:
    assert alibi_slopes(8).tolist() == [2.0**-n for n in range(1, 9)]


# Exponentials and divisions of one pair, beyond those of a row.
OF_A_PAIR = {"score_mod": (2, 1), "score_mod_alibi": (1, 0), "score_mod_sigmoid": (1, 1)}


@pytest.mark.parametrize("kernel", SHIPPED)
def test_counts_in_closed_form(kernel: str) -> None:
    trace, found = agreement.lifted(kernel, SMALL | {"sequence": 64, "causal": True})
    tiles = 2 * 4 * 5 // 2
    exps, divisions = OF_A_PAIR[kernel]
    softmax = kernel != "score_mod_sigmoid"
    assert found.launches[0].steps == {"keys": tiles}
    assert found.useful_pairs == 2 * 64 * 65 // 2
    assert found.executed_flops == tiles * 4 * 16**3
    assert found.useful_flops == found.useful_pairs * 4 * 16
    assert found.executed_exps == tiles * (256 * exps + 16 * softmax)
    assert found.useful_exps == found.useful_pairs * exps
    traced = sum(
        event.elements * members.multiplicity
        for members in trace.launches[0].classes
        for event in members.events
        if event.operator == "fdiv"
    )
    assert traced == tiles * 256 * divisions + 2 * 64 * 16 * softmax
    assert ("lse" in found.written_bytes) == softmax


@pytest.mark.parametrize("kernel", SHIPPED)
def test_odd_sizes_lift(kernel: str) -> None:
    _, found = agreement.lifted(kernel, SMALL | CASES["odd causal"])
    # The last 45 of 61 rows see keys.
    assert found.useful_pairs == 2 * 2 * 45 * 46 // 2


def test_a_trace_does_not_lift_with_the_cascade_of_another_choice() -> None:
    with pytest.raises(TraceError, match="exponentials: traced"):
        agreement.lifted("score_mod", SMALL | {"sequence": 16}, "softmax_alibi")


def test_what_does_not_fit_is_refused() -> None:
    arguments = agreement.inputs("score_mod", SMALL | {"sequence": 16})
    for wrong in ({"modification": "softcaps"}, {"normaliser": "max"}, {"cap": 0.0}):
        with pytest.raises(WorkloadError, match="must be one of none, softcap, alibi"):
            score_mod(**arguments | wrong)
    with pytest.raises(WorkloadError, match="'alibi' is none of softcap"):
        agreement.inputs("score_mod", {"modification": "alibi"})
