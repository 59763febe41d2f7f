"""Compiled resources of launch parameters: taken where there is a row, estimated elsewhere."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from dse import spec
from dse.studies.batch import Request
from dse.studies.record import evaluate_one
from dse.workloads.compiled_resources import ROOM, compiled
from dse.workloads.launches import Resources

ESTIMATE = Resources(np.array([1.0]), np.array([2.0]), np.array([4.0]), np.array([3.0]))
KERNELS = ("flash_forward", "split_kv_decode")


def rows(kernel: str) -> list[dict[str, str]]:
    with Path(spec.shipped(ROOM, ".csv")[kernel]).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_row_is_found(kernel: str) -> None:
    table = [row for row in rows(kernel) if row["target"] == "sm_90"]
    names = ("head_dim", "causal", "tile_queries", "tile_keys", "warps", "stages")
    flags = {"": 0.0, "false": 0.0, "true": 1.0}
    shape = {n: np.array([flags[r[n]] if r[n] in flags else float(r[n]) for r in table]) for n in names}
    found = compiled(kernel, "sm_90", ESTIMATE, **shape)
    assert found.shared_bytes.tolist() == [float(row["shared_bytes"]) for row in table]
    assert found.registers.tolist() == [float(row["registers"]) for row in table]


def test_what_was_not_compiled_keeps_its_estimate() -> None:
    shape = {"head_dim": np.array([64.0, 80.0]), "tile_keys": np.array([64.0]), "warps": np.array([4.0])}
    found = compiled("split_kv_decode", "sm_90", ESTIMATE, stages=np.array([3.0]), **shape)
    assert found.registers[0] > 16
    assert found.registers[1] == 2.0
    assert compiled("split_kv_decode", "sm_70", ESTIMATE, **shape) is ESTIMATE
    assert compiled("mla_decode", "sm_90", ESTIMATE, **shape) is ESTIMATE


def test_compiled_shared_memory_limits_a_gpu() -> None:
    """Four stages of 128 keys at depth 128 ask for 294,912 bytes: more than a thread block of an H200 may have."""
    wanted = (("tile_queries", "128"), ("tile_keys", "128"), ("num_warps", "8"), ("num_stages", "4"))
    shape = (("sequence", "4K"), ("heads", "32"), ("score_dim", "128"))
    group = evaluate_one(Request("h200", "attention", shape, options=wanted))
    why = group.evaluation.infeasible(0)
    assert why is not None
    assert why.constraint.startswith("shared memory of a thread block")
    asked = [
        float(row["shared_bytes"])
        for row in rows("flash_forward")
        if (row["target"], row["head_dim"], row["causal"], row["tile_queries"], row["tile_keys"])
        == ("sm_90", "128", "false", "128", "128")
        and (row["warps"], row["stages"]) == ("8", "4")
    ]
    assert [why.demand] == asked
