"""What is traced of a kernel, and what a description and a trace of the same kernel predict."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from dse.arch.calibration.constants import load_calibration
from dse.arch.gpu import Gpu
from dse.arch.machine import load_machine
from dse.simulator.gpu.law import predict
from dse.spec import shipped
from dse.studies.latency.own import own_alternatives
from dse.workloads.annotation import load_annotation
from dse.workloads.trace_file import read_trace
from dse.workloads.trace_part import Part, launches_of, part_of


def part(kernel: str, **given: object) -> Part:
    annotation = load_annotation(kernel)
    return part_of(annotation, annotation.resolve(given))


def test_kernels_that_can_be_sampled_are_traced_whole() -> None:
    for kernel in ("unfused", "importance", "mla_prefill", "pooled_cross", "flash_forward"):
        found = part(kernel, batch=4, heads=16)
        assert (found.sequences, found.heads) == (1, 1)
        assert found.values["heads"] == 16


def test_of_others_two_key_heads_of_one_sequence_are_traced() -> None:
    found = part("quantised_decode", batch=4, heads=32, kv_heads=8)
    assert (found.sequences, found.heads) == (4, 4)
    assert [found.values[name] for name in ("batch", "heads", "kv_heads")] == [1, 8, 2]
    found = part("threshold_skip", batch=3, heads=16)
    assert (found.sequences, found.heads) == (3, 8)
    assert found.values["kv_heads"] == 2


def test_what_does_not_repeat_is_traced_as_it_is() -> None:
    odd = part("select_attend", heads=9, kv_heads=3)
    assert (odd.heads, odd.values["heads"]) == (1, 9)
    ragged = part("quantised_decode", batch=2, heads=32, kv_heads=8, sequence=64, key_lengths="64,32")
    assert (ragged.sequences, ragged.heads, ragged.values["batch"]) == (1, 4, 2)


@pytest.mark.parametrize("name", ["flash_forward", "flash_forward_causal"])
def test_a_trace_predicts_what_the_closed_form_does(name: str) -> None:
    trace = read_trace(shipped("workloads/traces", ".parquet")[name])
    gpu = load_machine("h200")
    assert isinstance(gpu, Gpu)
    compiled = {"grid": [], "registers": 128, "shared_bytes": 40960, "warps": 4, "stages": 3}
    texts = {key: str(value).lower() for key, value in trace.parameters.items()}
    row = texts | {
        "class": "dense",
        "kernel": "flash_forward",
        "cache": "hot",
        "launches": json.dumps([compiled]),
    }
    ((_, told),) = own_alternatives(pd.DataFrame([row]), gpu)
    (run,) = launches_of(trace, load_annotation("flash_forward"), Part(trace.parameters))
    (known,) = told.launches
    constants = load_calibration("h200_published")
    traced = predict([replace(run, resources=known.resources, compiled={})], gpu, constants).seconds
    assert traced[0] == pytest.approx(predict(told.launches, gpu, constants).seconds[0], rel=0.01)
