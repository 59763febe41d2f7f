"""Neighborhood attention by tile list: its reference, its cascade, its traced tiles, closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import TraceError, WorkloadError
from dse.workloads.cascade_file import load_cascade
from dse.workloads.neighborhood import Neighborhood
from dse.workloads.neighborhood import tile_list as listed_tiles
from dse.workloads.numeric import execute
from dse.workloads.sizes import partition_inputs
from tests.kernels import agreement

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from dse.kernels.tile_list import tile_list  # noqa: E402
from dse.kernels.tile_list_naive import visible  # noqa: E402

SMALL: dict[str, object] = {"heads": 1, "head_dim": 16, "query_tile": "16", "key_tile": "16"}
PLANE = {"query_tile": "4,4", "key_tile": "4,4", "sequence": 64, "axes": "8,8"}
CASES: dict[str, dict[str, object]] = {
    "window": {"sequence": 64, "window": "16", "heads": 2, "kv_heads": 1},
    "causal window with sinks": {"sequence": 77, "window": "9", "causal": True, "sinks": "3"},
    "strided": {"sequence": 70, "window": "10", "stride": "7", "key_tile": "32"},
    "blocked": {"sequence": 61, "window": "12", "stride": "12"},
    "dilated": {"sequence": 61, "window": "7", "dilation": "3"},
    "everything": {"sequence": 33, "window": "full", "batch": 2},
    "one token": {"sequence": 1, "window": "1"},
    "plane": PLANE | {"window": "3,5"},
    "ragged plane": PLANE
    | {"sequence": 63, "axes": "7,9", "window": "3,5", "key_tile": "2,8", "causal": True},
    "volume": {
        "sequence": 60,
        "axes": "3,4,5",
        "window": "3,3,3",
        "stride": "1,2,1",
        "query_tile": "2,2,4",
        "key_tile": "2,4,4",
        "value_dim": 20,
    },
}


@pytest.mark.parametrize("precision", agreement.TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_naive_reference(case: str, precision: str) -> None:
    found = agreement.error("tile_list", SMALL | CASES[case] | {"precision": precision})
    assert found < agreement.TOLERANCE[precision]


@settings(max_examples=40)
@given(st.integers(1, 30), st.booleans(), st.data())
def test_list_and_reference_agree_about_who_sees_whom(length: int, causal: bool, data: st.DataObject) -> None:
    """Two definitions written apart: by formulas, and by walking along a dilation class."""
    dilation = data.draw(st.integers(1, length))
    window = data.draw(st.integers(1, length // dilation))
    stride = data.draw(st.integers(1, window))
    sinks = data.draw(st.integers(0, length))
    mask = Neighborhood((length,), (window,), (stride,), (dilation,), causal, sinks)
    wanted = visible(mask.axes, mask.window, mask.stride, mask.dilation, causal, sinks)
    np.testing.assert_array_equal(mask.visible(0, np.arange(length)), wanted.numpy())


def test_large_logits_neither_overflow_nor_lose_the_maximum() -> None:
    arguments = agreement.inputs("tile_list", SMALL | CASES["dilated"] | {"precision": "fp32"})
    arguments["q"] = arguments["q"] * 300
    (o, lse), (wanted, wanted_lse) = (
        run("tile_list", arguments) for run in (agreement.outputs, agreement.references)
    )
    assert float(wanted_lse.abs().max()) > 200
    assert float(((lse - wanted_lse) / wanted_lse).abs().max()) < 1e-5
    assert float((o - wanted).abs().max()) < 1e-3


@pytest.mark.parametrize("case", ["causal window with sinks", "strided", "plane"])
def test_each_query_tile_equals_the_masked_cascade_over_its_listed_tiles(case: str) -> None:
    arguments = agreement.inputs("tile_list", SMALL | CASES[case] | {"precision": "fp32"})
    o = np.asarray(agreement.outputs("tile_list", arguments)[0], dtype=np.float64)[0, 0]
    q, k, v = agreement.float_heads(arguments, "q", "k", "v")
    names = ("axes", "window", "stride", "dilation", "causal", "sinks")
    mask = Neighborhood(*(arguments[name] for name in names))
    listed = listed_tiles(mask, arguments["query_tile"], arguments["key_tile"])
    cascade = load_cascade("softmax_flash_masked")
    _, rows, keys = listed.table.shape
    q, k, v = (np.vstack([tensor, np.zeros((1, tensor.shape[1]))]) for tensor in (q, k, v))
    for tile, (start, masked, stop) in enumerate(listed.bounds):
        queries = listed.query_order[tile * rows : (tile + 1) * rows]
        entries = np.arange(start, stop)
        tokens = listed.key_order.reshape(-1, keys)[listed.tiles[entries]].reshape(-1)
        weights = listed.table[listed.masks[entries]]
        weights[entries < masked] = 1
        inside = queries >= 0
        sizes = {"e": 16, "f": v.shape[1], "p": int(inside.sum()), "m1": len(entries), "m0": keys}
        whole = {"Q": q[queries[inside]].T / 4.0, "K": k[tokens].T, "V": v[tokens]}
        whole["W"] = weights.transpose(0, 2, 1).reshape(-1, rows)[:, inside].astype(np.float64)
        result = execute(cascade, sizes, partition_inputs(cascade, sizes, whole))["AV"]
        assert np.abs(result.T - o[queries[inside]]).max() < 1e-5


@pytest.mark.parametrize("case", ["window", "causal window with sinks", "plane", "volume"])
def test_traced_key_tiles_are_those_of_the_list(case: str) -> None:
    parameters = SMALL | CASES[case]
    trace, found = agreement.lifted("tile_list", parameters)
    arguments = agreement.inputs("tile_list", parameters)
    mask = Neighborhood(
        *(arguments[name] for name in ("axes", "window", "stride", "dilation", "causal", "sinks"))
    )
    listed = listed_tiles(mask, arguments["query_tile"], arguments["key_tile"])
    for (tile, *_), tiles in agreement.visited_tiles(trace.launches[0]).items():
        start, _, stop = listed.bounds[tile]
        assert tiles == listed.tiles[start:stop].tolist()
    outer = found.ranks["b"] * found.ranks["h"]
    assert found.launches[0].steps == {"keys": outer * listed.visited}
    assert found.tiles_masked == outer * listed.masked
    names = ("axes", "window", "stride", "dilation", "causal", "sinks")
    pairs = int(visible(*(arguments[name] for name in names)).sum())
    assert found.useful_pairs == outer * pairs


def test_counts_of_a_sliding_window_in_closed_form() -> None:
    """Window 32 over 128 tokens, tiles of 16: three tiles per row tile, two at both ends."""
    _, found = agreement.lifted("tile_list", SMALL | {"sequence": 128, "window": "32", "heads": 2})
    tiles = 2 * (8 * 3 - 2)
    assert found.useful_pairs == 2 * 128 * 32
    assert found.executed_pairs == 256 * found.launches[0].steps["keys"]
    assert found.launches[0].steps["keys"] == tiles
    assert found.executed_flops == tiles * 4 * 16**3
    assert found.useful_flops == 2 * 128 * 32 * 4 * 16
    assert found.executed_exps == tiles * (16 * 16 + 16)
    assert found.read_bytes["K"] == found.read_bytes["V"] == tiles * 16 * 16 * 2
    assert found.unique_read_bytes["K"] == 2 * 128 * 16 * 2


def test_a_trace_lifts_with_the_masked_cascade_too() -> None:
    _, found = agreement.lifted("tile_list", SMALL | CASES["plane"], "softmax_flash_masked")
    assert found.family == "softmax_masked"


def test_what_does_not_fit_is_refused() -> None:
    arguments = agreement.inputs("tile_list", SMALL | {"sequence": 16, "window": "4"})
    with pytest.raises(WorkloadError, match=r"axes \(15,\) hold 15 tokens; q has 16"):
        tile_list(**arguments | {"axes": (15,)})
    with pytest.raises(WorkloadError, match="powers of two from 16 up"):
        tile_list(**arguments | {"key_tile": (8,)})
    with pytest.raises(WorkloadError, match=r"axes \(4, 5\) hold 20 tokens, sequence is 16"):
        agreement.inputs("tile_list", {"sequence": 16, "axes": "4,5"})
    with pytest.raises(TraceError, match="bf16 arithmetic is wrong"):
        tile_list(
            **agreement.inputs("tile_list", SMALL | {"sequence": 16, "window": "4", "precision": "bf16"})
        )
