"""Workloads from committed traces: those machines can run, and clear refusals of the others."""

from __future__ import annotations

import pytest

from dse.errors import WorkloadError
from dse.spec import shipped
from dse.workloads.traced import load_traced

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
        ("block_sparse", "machines do not take lists of tiles yet"),
        ("linear_chunk", "has no rank m: machines run attention of queries to keys"),
        ("linear_decode", "has no rank p, m"),
    ],
)
def test_what_no_machine_would_run_as_it_ran_is_refused(name: str, message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        load_traced(TRACES[name])


def test_decode_rows_are_the_query_heads_of_a_group() -> None:
    workload = load_traced(TRACES["split_kv_decode"])
    sizes = {rank: int(size[0]) for rank, size in workload.sizes.items()}
    assert sizes == {"b": 1, "h": 8, "g": 4, "p": 1, "m": 1024, "e": 128, "f": 128}
