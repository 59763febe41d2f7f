"""Launches of committed traces hold exactly the work, pairs and bytes that lifting the trace counts."""

from __future__ import annotations

import numpy as np
import pytest

from dse.spec import shipped
from dse.workloads.annotation import load_annotation
from dse.workloads.cascade_file import load_cascade
from dse.workloads.launches import FAMILIES
from dse.workloads.lift import lift
from dse.workloads.trace_file import load_trace
from dse.workloads.traced import load_traced

TRACES = {
    name: path for name, path in shipped("workloads/traces", ".parquet").items() if "values" not in name
}
FAMILY_OF = {
    "flash_forward": ["prefill"],
    "tile_list": ["prefill"],
    "block_sparse": ["prefill"],
    "mla_decode": ["decode"],
    "quantised_decode": ["decode", "decode"],
    "split_kv_decode": ["decode", "other"],
    "linear_chunk": ["linear"],
    "mla_prefill": ["gemm", "prefill"],
}


@pytest.mark.parametrize("name", sorted(TRACES))
def test_launches_hold_the_work_of_the_trace(name: str) -> None:
    trace = load_trace(TRACES[name])
    annotation = load_annotation(trace.kernel)
    lifted = lift(trace, annotation, load_cascade(annotation.cascade))
    workload = load_traced(TRACES[name])
    assert [launch.name for launch in workload.launches] == [launch.label for launch in lifted.launches]
    assert sum(launch.flops[0] for launch in workload.launches) == lifted.useful_flops
    for launch, told in zip(workload.launches, lifted.launches, strict=True):
        assert launch.family in FAMILIES
        assert launch.count[0] == told.programs
        flops = dict.fromkeys(told.flops, 0.0)
        for run in launch.blocks:
            for dtype, each in run.tile.flops.items():
                flops[dtype] += float(run.tiles[0] * each[0])
        assert flops == pytest.approx(told.flops)
        assert sum(float(run.tiles[0] * run.tile.exps[0]) for run in launch.blocks) == pytest.approx(
            told.exps
        )
        read = sum(
            float((run.tiles * run.tile.read_bytes + run.count * run.once.read_bytes)[0])
            for run in launch.blocks
        )
        assert read == pytest.approx(sum(told.read_bytes.values()))
        for traffic in launch.tensors.values():
            assert 0 < traffic.unique[0] <= traffic.total[0]


@pytest.mark.parametrize(("name", "families"), FAMILY_OF.items())
def test_families_of_launches(name: str, families: list[str]) -> None:
    assert [launch.family for launch in load_traced(TRACES[name]).launches] == families


def test_masked_tiles_are_those_of_the_trace() -> None:
    causal = load_traced(TRACES["flash_forward_causal"]).launches[0]
    assert sum(float(run.masked[0] * run.each[0]) for run in causal.blocks) == 16 * 4
    whole = load_traced(TRACES["flash_forward"]).launches[0]
    assert not np.any([run.masked for run in whole.blocks])


def test_resources_of_a_trace_that_was_not_compiled_are_estimated() -> None:
    """Triton 3.7.1 takes 57,344 B and 127 registers for sm_90; the estimate leaves out the query tile."""
    found = load_traced(TRACES["flash_forward_causal"]).launches[0].resources
    assert found.shared_bytes[0] == 3 * 2 * 64 * 64 * 2
    assert found.registers[0] == 136
    assert not load_traced(TRACES["flash_forward_causal"]).launches[0].compiled
