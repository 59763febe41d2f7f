"""Committed traces of all kernels but flash attention; levels, sampling."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from dse.kernels.reference import kernel_hash
from dse.kernels.trace_kernel import trace_kernel
from dse.workloads.annotation import load_annotation
from dse.workloads.cascade_file import load_cascade
from dse.workloads.lift import LiftedTrace, lift
from dse.workloads.trace_file import load_trace

if TYPE_CHECKING:
    from dse.workloads.trace import Trace

LISTED = (
    "tile_list",
    "block_sparse",
    "threshold_skip",
    "select_attend",
    "select_low_bit",
    "quantised_decode",
)
AFFINE = (
    "linear_chunk",
    "linear_decode",
    "pooled_cross",
    "score_mod",
    "score_mod_alibi",
    "score_mod_sigmoid",
    "split_kv_decode",
    "mla_decode",
    "mla_prefill",
    "unfused",
    "importance",
)
# Further traces of a kernel, by the name of their file.
MORE = {"split_kv_decode_mha": "split_kv_decode"}
# Kernels whose scores go into a row maximum, where they can be kept.
SCORED = (
    *(*LISTED, "score_mod", "score_mod_alibi"),
    *("split_kv_decode", "mla_decode", "mla_prefill", "unfused"),
)


def lifted(trace: Trace) -> LiftedTrace:
    annotation = load_annotation(trace.kernel)
    return lift(trace, annotation, load_cascade(annotation.cascade))


def small(kernel: str) -> dict[str, object]:
    """Parameters of a problem of a few tiles, as far as the kernel has them."""
    given = {"heads": 2, "sequence": 48, "head_dim": 16, "tile_queries": 16, "tile_keys": 16, "chunk": 16}
    given |= {"kv_heads": 2, "splits": 1, "latent_dim": 32, "rope_dim": 16}
    given |= {"query_tile": 16, "key_tile": 16, "window": 20, "pool": 16}
    known = load_annotation(kernel).parameters
    return {name: value for name, value in given.items() if name in known}


@pytest.mark.parametrize("name", [*LISTED, *AFFINE, *MORE])
def test_committed_traces_are_of_the_kernel_as_it_is_and_lift(name: str) -> None:
    trace = load_trace(name)
    kernel = MORE.get(name, name)
    assert trace.kernel_hash == kernel_hash(kernel), "trace the kernel again, see workloads/traces/README.md"
    assert trace.max_error is not None
    assert trace.max_error < 2e-3
    assert not trace.sampled
    assert lifted(trace).executed_pairs >= lifted(trace).useful_pairs


@pytest.mark.parametrize(
    "kernel",
    [
        pytest.param(name, marks=[] if name in ("linear_decode", "select_attend") else pytest.mark.slow)
        for name in (*LISTED, *AFFINE)
    ],
)
def test_tracing_again_gives_the_committed_trace(kernel: str) -> None:
    committed = load_trace(kernel)
    again = trace_kernel(kernel, committed.parameters, committed.seed, committed.level)
    assert again.launches == committed.launches


@pytest.mark.parametrize("kernel", AFFINE)
def test_a_sampled_trace_lifts_to_the_same_facts(kernel: str) -> None:
    sampled = trace_kernel(kernel, small(kernel), level="counts", sample=True)
    assert sampled.sampled
    found, wanted = lifted(sampled), lifted(trace_kernel(kernel, small(kernel), level="counts"))
    for field in fields(LiftedTrace):
        if field.name != "trace_hash":
            assert getattr(found, field.name) == getattr(wanted, field.name), field.name


@pytest.mark.parametrize("kernel", LISTED)
def test_what_loaded_values_steer_is_traced_in_full(kernel: str) -> None:
    assert not trace_kernel(kernel, small(kernel), level="counts", sample=True).sampled


@pytest.mark.parametrize("kernel", SCORED)
def test_scores_can_be_kept(kernel: str) -> None:
    trace = trace_kernel(kernel, small(kernel), level="values")
    assert lifted(trace).useful_pairs > 0
