"""Estimate, select, attend with both estimators: references, cascades, selected and traced blocks."""

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

from dse.kernels.select_attend import select_attend  # noqa: E402
from dse.kernels.select_attend_naive import pooled, selected  # noqa: E402
from dse.kernels.select_low_bit import quantised, select_low_bit  # noqa: E402
from dse.kernels.select_low_bit_naive import low_bit  # noqa: E402

KERNELS = ("select_attend", "select_low_bit")
SMALL: dict[str, object] = {"heads": 2, "head_dim": 16, "tile_queries": 16, "tile_keys": 16}
CASES: dict[str, dict[str, object]] = {
    "even": {"sequence": 64},
    "odd causal": {"sequence": 61, "queries": 77, "batch": 2, "kv_heads": 1, "causal": True, "tile_keys": 32},
    "every block": {"sequence": 50, "keep": 99, "value_dim": 24},
    "one of each": {"sequence": 1},
    "one query": {"sequence": 40, "queries": 1, "causal": True, "keep": 1},
}


@pytest.mark.parametrize("precision", agreement.TOLERANCE)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_equals_the_naive_reference(kernel: str, case: str, precision: str) -> None:
    found = agreement.error(kernel, SMALL | CASES[case] | {"precision": precision})
    assert found < agreement.TOLERANCE[precision]


@pytest.mark.parametrize("kernel", KERNELS)
def test_large_logits_neither_overflow_nor_lose_the_maximum(kernel: str) -> None:
    arguments = agreement.inputs(kernel, SMALL | CASES["odd causal"] | {"precision": "fp32"})
    arguments["q"] = arguments["q"] * 300
    o, wanted = (run(kernel, arguments)[0] for run in (agreement.outputs, agreement.references))
    assert float((o - wanted).abs().max()) < 1e-3


@pytest.mark.parametrize("kernel", KERNELS)
def test_equals_its_cascade(kernel: str) -> None:
    arguments = agreement.inputs(kernel, SMALL | {"sequence": 64, "precision": "fp32"})
    o = agreement.outputs(kernel, arguments)[0][0, 0].double().numpy()
    q, k, v = agreement.float_heads(arguments, "q", "k", "v")
    cascade = load_cascade({"select_attend": "select_pooled"}.get(kernel, kernel))
    sizes = {"e": 16, "f": 16, "p1": 4, "p0": 16, "m1": 4, "m0": 16}
    whole = {"Q": q.T / 4.0, "K": k.T, "V": v}
    if kernel == "select_low_bit":
        codes = {name: quantised(torch.from_numpy(tensor), 4) for name, tensor in (("Q", q), ("K", k))}
        whole |= {f"C{name}": code.numpy().T.astype(float) for name, (code, _) in codes.items()}
        whole |= {f"S{name}": scale.double().numpy() for name, (_, scale) in codes.items()}
    values = execute(cascade, sizes, partition_inputs(cascade, sizes, whole), {"keep": arguments["keep"]})
    assert (values["SEL"].sum(axis=0) == arguments["keep"]).all()
    assert np.abs(values["AV"].reshape(16, 64).T - o).max() < 1e-5


@pytest.mark.parametrize("case", ["even", "odd causal"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_traced_key_blocks_are_the_best_estimates(kernel: str, case: str) -> None:
    parameters = SMALL | CASES[case]
    trace, found = agreement.lifted(kernel, parameters)
    arguments = agreement.inputs(kernel, parameters)
    tiles = arguments["tile_queries"], arguments["tile_keys"]
    q, k, keep = arguments["q"], arguments["k"], arguments["keep"]
    scores = pooled(q, k, *tiles) if kernel == "select_attend" else low_bit(q, k, arguments["bits"], *tiles)
    rows, keys = q.shape[2], k.shape[2]
    last = np.minimum(rows, (np.arange(scores.shape[2]) + 1) * tiles[0]) - 1 + keys - rows
    seen = np.arange(scores.shape[3]) * tiles[1] <= last[:, None]
    candidates = torch.from_numpy(seen if arguments["causal"] else np.ones_like(seen))
    chosen = selected(scores, keep, candidates)
    for (block, head, sequence), visited in agreement.visited_tiles(trace.launches[-1]).items():
        assert sorted(visited) == torch.nonzero(chosen[sequence, head, block])[:, 0].tolist()
        estimates = scores[sequence, head, block][visited].tolist()
        assert estimates == sorted(estimates, reverse=True)
    assert found.launches[-1].steps["keys"] == found.launches[-2].steps["rounds"] == int(chosen.sum())


def test_counts_of_pooled_selection_in_closed_form() -> None:
    """4 query and 4 key blocks of 2 heads; each query block keeps 2."""
    _, found = agreement.lifted("select_attend", SMALL | {"sequence": 64})
    pool_queries, pool_keys, estimate, select, attend = found.launches
    assert pool_queries.read_bytes == pool_keys.read_bytes == {"rows_in": 2 * 64 * 16 * 2}
    assert pool_queries.written_bytes == {"means": 2 * 4 * 16 * 4}
    assert sum(estimate.flops.values()) == 2 * 2 * 16**3
    assert select.steps == {"rounds": 2 * 4 * 2}
    assert sum(attend.flops.values()) == 2 * 4 * 2 * 4 * 16**3
    assert found.useful_flops == 2 * 4 * 2 * 4 * 16**3 + 2 * 2 * 4 * 4 * 16
    assert found.useful_pairs == 2 * 4 * 2 * 256


def test_counts_of_low_bit_selection_in_closed_form() -> None:
    _, found = agreement.lifted("select_low_bit", SMALL | {"sequence": 64, "head_dim": 32})
    estimate = found.launches[0]
    assert estimate.steps == {"blocks": 2 * 4 * 4}
    assert sum(estimate.flops.values()) == 2 * 2 * 64 * 64 * 32
    # A code takes one byte; keys and their scales are read again by every query block.
    assert estimate.read_bytes["q_codes"] == 2 * 64 * 32
    assert estimate.read_bytes["k_codes"] == 4 * 2 * 64 * 32
    assert estimate.read_bytes["k_scales"] == 4 * 2 * 64 * 4


def test_codes_stand_for_values_within_half_a_step() -> None:
    values = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    values[1] = 0.0
    codes, scales = quantised(values, 4)
    assert int(codes.abs().max()) == 7
    assert bool(((codes * scales[:, None] - values).abs() <= scales[:, None] * 0.5001).all())


def test_what_does_not_fit_is_refused() -> None:
    arguments = agreement.inputs("select_attend", SMALL | {"sequence": 16})
    with pytest.raises(WorkloadError, match="keep 0 must be 1 or more"):
        select_attend(**arguments | {"keep": 0})
    with pytest.raises(WorkloadError, match="bits 9 must lie from 2 to 8"):
        select_low_bit(**arguments | {"bits": 9})
