"""Two-stage attention through agents: its reference, its cascade, closed forms of the three launches."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dse.errors import WorkloadError
from dse.workloads.cascade_file import load_cascade
from dse.workloads.numeric import execute
from dse.workloads.sizes import partition_inputs
from tests.kernels import agreement

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from dse.kernels.pooled_cross import pooled_cross  # noqa: E402

SMALL: dict[str, object] = {"heads": 2, "head_dim": 16, "tile_queries": 16, "tile_keys": 16, "pool": 4}
CASES: dict[str, dict[str, object]] = {
    "even": {"sequence": 64},
    "odd": {"sequence": 45, "queries": 77, "batch": 2, "value_dim": 24, "pool": 20, "tile_keys": 32},
    "one agent": {"sequence": 33, "queries": 17, "pool": 64},
    "an agent for each query": {"sequence": 20, "queries": 5, "pool": 1},
    "one of each": {"sequence": 1},
}


@pytest.mark.parametrize("precision", agreement.TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_naive_reference(case: str, precision: str) -> None:
    found = agreement.error("pooled_cross", SMALL | CASES[case] | {"precision": precision})
    assert found < agreement.TOLERANCE[precision]


def test_learned_agents_replace_pooled_ones() -> None:
    arguments = agreement.inputs("pooled_cross", SMALL | {"sequence": 40, "precision": "fp32"})
    arguments["agents"] = torch.randn(1, 2, 6, 16, generator=torch.Generator().manual_seed(1))
    found, wanted = (run("pooled_cross", arguments) for run in (agreement.outputs, agreement.references))
    assert agreement.difference(found, wanted) < 1e-5


def test_large_logits_neither_overflow_nor_lose_the_maximum() -> None:
    arguments = agreement.inputs("pooled_cross", SMALL | {"sequence": 64, "precision": "fp32"})
    arguments["q"] = arguments["q"] * 100
    o, wanted = (run("pooled_cross", arguments)[0] for run in (agreement.outputs, agreement.references))
    assert float((o - wanted).abs().max()) < 1e-3


def test_equals_its_cascade() -> None:
    arguments = agreement.inputs("pooled_cross", SMALL | {"sequence": 48, "queries": 64, "precision": "fp32"})
    o = agreement.outputs("pooled_cross", arguments)[0][0, 0].double().numpy()
    q, k, v = agreement.float_heads(arguments, "q", "k", "v")
    sizes = {"e": 16, "f": 16, "p": 64, "m1": 3, "m0": 16, "a1": 2, "a0": 8}
    whole = {"Q": q.T, "K": k.T, "V": v, "ROWS": np.full(16, 4.0)}
    whole["POOL"] = np.kron(np.eye(16), np.ones((4, 1)))
    cascade = load_cascade("pooled_cross")
    scale = {"scale": math.log2(math.e) / 4.0}
    values = execute(cascade, sizes, partition_inputs(cascade, sizes, whole), scale)
    np.testing.assert_allclose(values["A"].reshape(16, 16).T, q.reshape(16, 4, 16).mean(axis=1))
    assert np.abs(values["AV"].T - o).max() < 1e-5


def test_counts_in_closed_form() -> None:
    """64 queries, 16 agents, 96 keys, 2 heads: one tile of agents, 6 of keys, 4 of queries."""
    _, found = agreement.lifted("pooled_cross", SMALL | {"sequence": 96, "queries": 64})
    pool, gather, spread = found.launches
    assert [launch.steps for launch in found.launches] == [
        {"rows": 2 * 16},
        {"keys": 2 * 6},
        {"agents": 2 * 4},
    ]
    assert sum(gather.flops.values()) == 2 * 6 * 4 * 16**3
    assert sum(spread.flops.values()) == 2 * 4 * 4 * 16**3
    assert found.executed_flops == found.useful_flops == 2 * 16 * (96 + 64) * 4 * 16
    assert found.executed_exps == 2 * (6 + 4) * (256 + 16)
    assert pool.read_bytes == {"rows_in": 2 * 64 * 16 * 2}
    assert pool.written_bytes == {"means": 2 * 16 * 16 * 4}
    # Far fewer pairs than 64 queries and 96 keys have.
    assert found.useful_pairs == 2 * 16 * 96


def test_odd_sizes_lift() -> None:
    _, found = agreement.lifted("pooled_cross", SMALL | CASES["odd"])
    assert found.ranks["a"] == 4
    assert found.useful_pairs == 2 * 2 * 4 * 45


def test_what_does_not_fit_is_refused() -> None:
    arguments = agreement.inputs("pooled_cross", SMALL | {"sequence": 16})
    with pytest.raises(WorkloadError, match="pool 0 must be 1 or more"):
        pooled_cross(**arguments | {"pool": 0})
    with pytest.raises(WorkloadError, match="score depths must agree"):
        pooled_cross(**arguments | {"agents": torch.zeros(1, 2, 3, 8, dtype=torch.float16)})
