"""Whole cascades: graph, lookup, rank sizes, operation counts, inputs of an execution."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from dse import spec
from dse.errors import WorkloadError
from dse.workloads.cascade_file import load_cascade, parse_cascade
from dse.workloads.numeric import execute
from dse.workloads.sizes import complete_sizes, partition_inputs
from tests.workloads.reference import GOOD, Counting, draw

NAMES = sorted(spec.shipped("workloads/cascades"))


def test_graph_of_the_one_pass_cascade() -> None:
    graph = load_cascade("softmax_1pass").graph()
    assert {name for name, kind in graph.nodes(data="kind") if str(kind) == "input"} == {"Q", "K", "V"}
    assert graph.edges["RM", "RM"]["distances"] == (1,)
    assert graph.edges["RM", "PRM"]["distances"] == (0, 1)
    assert graph.edges["RM", "SLN"]["distances"] == (0,)
    assert graph.edges["RNV", "AV"]["last"]
    assert graph.nodes["QK"]["einsum"].name == "QK"
    assert set(graph.predecessors("SLNV")) == {"SLN", "V"}


def test_lookup_names_the_nearest() -> None:
    cascade = load_cascade("softmax_1pass")
    assert cascade.einsum("SLNV").ranks == ("m1", "f", "p", "m0")
    assert cascade.outputs == ("AV",)
    assert cascade.tensors["RNV"] == ("m1", "f", "p")
    with pytest.raises(WorkloadError, match="no Einsum 'SLNW'; did you mean 'SLN"):
        cascade.einsum("SLNW")
    assert pickle.loads(pickle.dumps(cascade)) == cascade


def test_counts_of_the_one_pass_cascade_on_arrays_of_design_points() -> None:
    cascade = load_cascade("softmax_1pass")
    sizes = complete_sizes(cascade, {"e": 64, "f": 64, "p": 1e6, "m": [1024, 2.0**20], "m0": 256})
    counts = cascade.operation_counts(sizes)
    scores = np.array([1024, 2.0**20]) * 1e6
    np.testing.assert_array_equal(counts["QK"]["multiply"], scores * 64)
    np.testing.assert_array_equal(counts["QK"]["add"], scores * 64)
    np.testing.assert_array_equal(counts["SLN"]["exp"], scores)
    np.testing.assert_array_equal(counts["PRM"]["exp"], scores / 256)
    np.testing.assert_array_equal(counts["AV"]["divide"], [64e6])


@pytest.mark.parametrize("name", NAMES)
def test_counts_equal_those_of_an_instrumented_execution(name: str) -> None:
    cascade = load_cascade(name)
    given_sizes = {"e": 3, "f": 2, "p": 3, "p0": 3, "m": 6, "m0": 2, "k": 5, "n": 4}
    given_sizes |= {"a": 4, "a0": 2, "c": 2, "i": 3, "j": 2, "r": 4, "u": 2, "h": 3, "m2": 3}
    known = {rank: size for rank, size in given_sizes.items() if rank in (*cascade.ranks, *cascade.partition)}
    full = complete_sizes(cascade, known)
    counts = cascade.operation_counts(full)
    for einsum in cascade.einsums:
        counted = Counting(einsum, {rank: int(size[0]) for rank, size in full.items()}).counts
        assert {key: float(value[0]) for key, value in counts[einsum.name].items()} == dict(counted)


def test_an_operator_runs_over_the_ranks_of_its_own_operands() -> None:
    text = GOOD.replace("scale * (Q[e,p] * K[e,m])", "exp(scale * Q[e,p]) * K[e,m] + exp(K[e,m])")
    einsum = parse_cascade(text).einsum("S")
    assert [(operation.operator, operation.ranks) for operation in einsum.operations] == [
        ("multiply", ("p", "e")),
        ("exp", ("p", "e")),
        ("multiply", ("m", "p", "e")),
        ("exp", ("m", "e")),
        ("add", ("m", "p", "e")),
        ("add", ("m", "p", "e")),
    ]


def test_sizes_are_completed_and_checked() -> None:
    cascade = load_cascade("softmax_1pass")
    rest = {"e": 2, "f": 2, "p": 2}
    assert complete_sizes(cascade, {**rest, "m": 12, "m0": 4})["m1"] == 3
    assert complete_sizes(cascade, {**rest, "m1": 3, "m0": 4})["m"] == 12
    for sizes, message in (
        ({**rest, "m": 12}, "needs the size of: m1, m0"),
        ({**rest, "m": 13, "m0": 4}, "'m' does not split into whole tiles"),
        ({**rest, "m": 13, "m0": 4, "m1": 3}, "do not multiply to that of 'm'"),
        ({**rest, "m": 12, "m0": 4, "mm": 1}, "unknown rank 'mm'; did you mean 'm"),
        ({**rest, "m": 12, "m0": 0}, "'m0' must be a positive whole number"),
        ({**rest, "m": 12.5, "m0": 1}, "'m' must be a positive whole number"),
    ):
        with pytest.raises(WorkloadError, match=message):
            complete_sizes(cascade, sizes)


def test_wrong_inputs_and_constants_of_an_execution() -> None:
    cascade = load_cascade("topk_threshold")
    sizes = {"e": 2, "f": 2, "p": 2, "m": 4}
    inputs = draw(cascade, sizes, seed=0)
    for wrong, constants, message in (
        ({**inputs, "K": inputs["K"].T}, {"keep": 2.0}, r"input 'K' has shape \(4, 2\), expected \(2, 4\)"),
        ({"Q": inputs["Q"], "K": inputs["K"]}, {"keep": 2.0}, "input 'V' is missing"),
        (inputs, {"keep": 5.0}, ":kth.*needs a whole number from 1 to 4, not 5"),
        (inputs, {"keep": 1.5}, "not 1.5"),
        (inputs, {"kep": 1.0}, "no constant 'kep'; did you mean 'keep'"),
    ):
        with pytest.raises(WorkloadError, match=message):
            execute(cascade, sizes, wrong, constants)
    with pytest.raises(WorkloadError, match="rank 'p' needs one size here, not 2"):
        execute(cascade, {**sizes, "p": [2, 3]}, inputs)
    tiled = load_cascade("softmax_1pass")
    with pytest.raises(WorkloadError, match="input 'K' is missing"):
        partition_inputs(tiled, {**sizes, "m0": 2}, {"Q": inputs["Q"]})
