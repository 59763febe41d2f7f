"""Skipping of tiles by a threshold: its reference, its cascade, and a branch whose trips depend on values."""

from __future__ import annotations

import numpy as np
import pytest

from dse.errors import WorkloadError
from dse.workloads.cascade_file import load_cascade
from dse.workloads.numeric import execute
from dse.workloads.sizes import partition_inputs
from tests.kernels import agreement

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from dse.kernels.flash_forward_naive import flash_forward_naive  # noqa: E402
from dse.kernels.interpreter import session  # noqa: E402
from dse.kernels.threshold_skip import threshold_skip  # noqa: E402
from dse.kernels.tracer import Tracer  # noqa: E402

SMALL: dict[str, object] = {"heads": 2, "head_dim": 16, "tile_queries": 16, "tile_keys": 16}
CASES: dict[str, dict[str, object]] = {
    "even": {"sequence": 64},
    "odd causal": {"sequence": 61, "queries": 77, "batch": 2, "kv_heads": 1, "causal": True, "tile_keys": 32},
    "nothing above the largest": {"sequence": 64, "skip_bits": 1},
    "one of each": {"sequence": 1},
}


@pytest.mark.parametrize("precision", agreement.TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_naive_reference(case: str, precision: str) -> None:
    found = agreement.error("threshold_skip", SMALL | CASES[case] | {"precision": precision})
    assert found < agreement.TOLERANCE[precision]


def test_equals_its_cascade_tile_by_tile_of_queries() -> None:
    arguments = agreement.inputs("threshold_skip", SMALL | {"sequence": 64, "precision": "fp32"})
    o = agreement.outputs("threshold_skip", arguments)[0][0, 0].double().numpy()
    q, k, v = agreement.float_heads(arguments, "q", "k", "v")
    cascade = load_cascade("softmax_threshold")
    sizes = {"e": 16, "f": 16, "p": 16, "m1": 4, "m0": 16}
    skipped = 0
    for first in range(0, 64, 16):
        whole = {"Q": q[first : first + 16].T / 4.0, "K": k.T, "V": v}
        values = execute(cascade, sizes, partition_inputs(cascade, sizes, whole))
        assert np.abs(values["AV"].T - o[first : first + 16]).max() < 1e-5
        skipped += int((values["KEPT"] == 0).sum())
    assert skipped > 0


def test_many_bits_skip_nothing_and_few_bits_lose_little() -> None:
    arguments = agreement.inputs("threshold_skip", SMALL | {"sequence": 96, "precision": "fp32"})
    dense = flash_forward_naive(arguments["q"], arguments["k"], arguments["v"])
    exact = agreement.outputs("threshold_skip", arguments | {"skip_bits": 1000})
    assert agreement.difference(exact, dense) < 1e-5
    lse = agreement.outputs("threshold_skip", arguments | {"skip_bits": 10})[1]
    # At most 96 keys are lost, each with a weight below 2^-10 of the largest.
    assert float((dense[1] - lse).max()) < np.log1p(96 / 1024)
    assert float((dense[1] - lse).min()) > -1e-5


def test_the_trace_says_which_tiles_mattered() -> None:
    trace, found = agreement.lifted("threshold_skip", SMALL | {"sequence": 64})
    steps = found.launches[0].steps
    launch = trace.launches[0]
    assert steps["keys"] == 2 * 4 * 4
    assert 2 * 4 <= steps["kept"] < steps["keys"]
    values, keys = agreement.visited_tiles(launch, "v"), agreement.visited_tiles(launch)
    assert sum(map(len, values.values())) == steps["kept"]
    assert all(tiles == [0, 1, 2, 3] for tiles in keys.values())
    assert all(tiles[0] == 0 for tiles in values.values())
    assert found.executed_flops == (steps["keys"] + steps["kept"]) * 2 * 16**3
    assert found.executed_exps == steps["kept"] * (256 + 16)
    assert found.read_bytes["K"] == steps["keys"] * 512
    assert found.read_bytes["V"] == steps["kept"] * 512


def test_other_values_visit_other_tiles() -> None:
    """Control flow depends on values: with flat scores nothing is skipped."""
    arguments = agreement.inputs("threshold_skip", SMALL | {"sequence": 64, "precision": "fp32"})
    tracer = Tracer()
    with session(tracer):
        threshold_skip(**arguments | {"q": arguments["q"] * 0.0})
    assert all(tiles == [0, 1, 2, 3] for tiles in agreement.visited_tiles(tracer.launches[0], "v").values())


def test_what_does_not_fit_is_refused() -> None:
    arguments = agreement.inputs("threshold_skip", SMALL | {"sequence": 16})
    with pytest.raises(WorkloadError, match="skip_bits -1 must not be negative"):
        threshold_skip(**arguments | {"skip_bits": -1})
