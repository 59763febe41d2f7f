"""Workloads from committed traces: those machines with tiles of their own can run, and clear refusals of the others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dse.errors import WorkloadError
from dse.kernels.trace_kernel import trace_kernel
from dse.spec import shipped
from dse.studies.batch import Request
from dse.studies.record import evaluate_one, record
from dse.workloads.trace_file import write_trace
from dse.workloads.traced import load_traced

if TYPE_CHECKING:
    from pathlib import Path

TRACES = shipped("workloads/traces", ".parquet")


@pytest.mark.parametrize("name", ["flash_forward", "flash_forward_causal", "score_mod", "score_mod_sigmoid"])
def test_whole_and_causal_masks_become_workloads(name: str) -> None:
    workload = load_traced(TRACES[name])
    assert workload.causal == (name != "flash_forward")
    heads = 4 if name.startswith("flash") else 2
    assert [float(workload.sizes[rank][0]) for rank in "bhg"] == [1, heads, 1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tile_list", "computes 25,088 query-key pairs, no mask leaves 131,072"),
        ("block_sparse", "machines other than GPUs do not take lists of tiles"),
        ("linear_chunk", "has no rank m: machines run attention of queries to keys"),
        ("linear_decode", "has no rank p, m"),
    ],
)
def test_what_other_machines_would_not_run_as_it_ran_is_refused(name: str, message: str) -> None:
    assert load_traced(TRACES[name]).launches
    with pytest.raises(WorkloadError, match=message):
        evaluate_one(Request("fusemax", f"traces/{name}"))


def test_decode_rows_are_the_query_heads_of_a_group() -> None:
    workload = load_traced(TRACES["split_kv_decode"])
    sizes = {rank: int(size[0]) for rank, size in workload.sizes.items()}
    assert sizes == {"b": 1, "h": 8, "g": 4, "p": 1, "m": 1024, "e": 128, "f": 128}


def totals(workload: str, accounting: str, **parameters: object) -> dict[str, Any]:
    """What ``dse run fusemax`` reports of a workload, apart from its name and parameters; NaN as text."""
    request = Request("fusemax", workload, tuple(parameters.items()), accounting=accounting)
    found = json.loads(json.dumps(record(request, evaluate_one(request))), parse_constant=str)
    return {key: value for key, value in found.items() if key not in ("workload", "parameters")}


@pytest.mark.parametrize("accounting", ["physical", "paper"])
@pytest.mark.parametrize("causal", [False, True])
def test_a_machine_does_the_same_for_a_trace_and_for_a_model_of_its_shape(
    causal: bool, accounting: str
) -> None:
    traced = totals("flash_forward_causal" if causal else "flash_forward", accounting)
    model = totals("attention", accounting, heads=4, score_dim=64, sequence=1024, causal=causal)
    pairs = 4 * (1024 * 1025 // 2 if causal else 1024 * 1024)
    assert traced["flops"] == 2 * (64 + 64) * pairs
    for name in ("executed_flops", "vector_ops", "dram_bytes", "cycles", "energy_j"):
        assert traced[name], name
    assert traced == model


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"kv_heads": 4, "value_heads": 2},
            "has 4 key heads and 2 value heads: machines run attention whose",
        ),
        ({"kv_heads": 1, "value_heads": 2}, "has 1 key heads and 2 value heads"),
        ({"key_lengths": (16, 16, 16, 9)}, "mixes sequences or heads of different lengths"),
    ],
)
def test_heads_that_no_machine_tells_apart_are_refused(
    parameters: dict[str, object], message: str, tmp_path: Path
) -> None:
    for package in ("torch", "triton"):
        pytest.importorskip(package)
    write_trace(
        trace_kernel("flash_forward", {"sequence": 16, "head_dim": 16} | parameters), tmp_path / "t.parquet"
    )
    with pytest.raises(WorkloadError, match=message):
        evaluate_one(Request("fusemax", str(tmp_path / "t.parquet")))
    assert evaluate_one(Request("h200", str(tmp_path / "t.parquet"))).evaluation.cycles[0] > 0
