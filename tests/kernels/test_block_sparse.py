"""Block-sparse attention: its reference, its cascade over gathered blocks, traced tiles equal to the lists."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from dse.errors import TraceError, WorkloadError
from dse.workloads.cascade_file import load_cascade
from dse.workloads.numeric import execute
from dse.workloads.sizes import partition_inputs
from tests.kernels import agreement

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from dse.kernels.block_sparse import block_sparse  # noqa: E402

SMALL: dict[str, object] = {"heads": 2, "head_dim": 16, "tile_queries": 16, "tile_keys": 16, "kept": 2}
CASES: dict[str, dict[str, object]] = {
    "even": {"sequence": 64},
    "odd causal": {"sequence": 61, "queries": 77, "batch": 2, "kv_heads": 1, "causal": True, "tile_keys": 32},
    "every block": {"sequence": 50, "kept": 99, "value_dim": 24},
    "one of each": {"sequence": 1},
    "one query": {"sequence": 40, "queries": 1, "causal": True},
}


def lists(*blocks: list[list[int]]) -> dict[str, Any]:
    """Arguments for explicit lists of key blocks, one per query block of each head."""
    starts = [np.cumsum([0, *map(len, head)]) for head in blocks]
    ends = np.cumsum([0, *(int(each[-1]) for each in starts)])
    offsets = [start + end for start, end in zip(starts, ends, strict=False)]
    columns = [block for head in blocks for row in head for block in row]
    return {
        "offsets": torch.from_numpy(np.array(offsets, dtype=np.int32))[None],
        "columns": torch.tensor(columns, dtype=torch.int32),
    }


@pytest.mark.parametrize("precision", agreement.TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_naive_reference(case: str, precision: str) -> None:
    found = agreement.error("block_sparse", SMALL | CASES[case] | {"precision": precision})
    assert found < agreement.TOLERANCE[precision]


def test_lists_may_be_empty_shared_and_in_any_order() -> None:
    arguments = agreement.inputs("block_sparse", SMALL | {"sequence": 64, "queries": 48, "precision": "fp32"})
    arguments |= lists([[3, 0, 1], [], [2]])
    o, lse = agreement.outputs("block_sparse", arguments)
    assert agreement.difference((o, lse), agreement.references("block_sparse", arguments)) < 1e-5
    assert not o[:, :, 16:32].any()
    assert torch.isinf(lse[:, :, 16:32]).all()


def test_large_logits_neither_overflow_nor_lose_the_maximum() -> None:
    arguments = agreement.inputs("block_sparse", SMALL | CASES["odd causal"] | {"precision": "fp32"})
    arguments["q"] = arguments["q"] * 300
    o, wanted = (run("block_sparse", arguments)[0] for run in (agreement.outputs, agreement.references))
    assert float((o - wanted).abs().max()) < 1e-3


def test_each_query_block_equals_the_cascade_over_its_listed_blocks() -> None:
    """The flash cascade with the listed blocks as its key tiles, in their order."""
    arguments = agreement.inputs("block_sparse", SMALL | {"sequence": 64, "precision": "fp32"})
    o = agreement.outputs("block_sparse", arguments)[0][0, 0].double().numpy()
    q, k, v = agreement.float_heads(arguments, "q", "k", "v")
    offsets, columns = arguments["offsets"][0, 0].tolist(), arguments["columns"].numpy()
    cascade = load_cascade("softmax_flash")
    for block, (start, stop) in enumerate(itertools.pairwise(offsets)):
        rows = slice(16 * block, 16 * block + 16)
        keys = (columns[start:stop, None] * 16 + np.arange(16)).reshape(-1)
        sizes = {"e": 16, "f": 16, "p": 16, "m1": stop - start, "m0": 16}
        whole = {"Q": q[rows].T / 4.0, "K": k[keys].T, "V": v[keys]}
        result = execute(cascade, sizes, partition_inputs(cascade, sizes, whole))["AV"]
        assert np.abs(result.T - o[rows]).max() < 1e-5


@pytest.mark.parametrize("case", ["even", "odd causal"])
def test_traced_key_blocks_are_those_of_the_lists(case: str) -> None:
    parameters = SMALL | CASES[case]
    trace, found = agreement.lifted("block_sparse", parameters)
    arguments = agreement.inputs("block_sparse", parameters)
    offsets, columns = arguments["offsets"][0].tolist(), arguments["columns"].tolist()
    visited = agreement.visited_tiles(trace.launches[0])
    for (block, head, _), tiles in visited.items():
        assert tiles == columns[offsets[head][block] : offsets[head][block + 1]]
    assert found.launches[0].steps == {"keys": len(columns) * found.ranks["b"]}
    assert trace.launches[0].tensors["columns"].values == tuple(columns)


def test_counts_in_closed_form() -> None:
    """4 query blocks of 2 heads visit 2 of 4 key blocks each."""
    _, found = agreement.lifted("block_sparse", SMALL | {"sequence": 64})
    tiles = 2 * 4 * 2
    assert found.launches[0].steps == {"keys": tiles}
    assert found.tiles_full == found.tiles_skipped == tiles
    assert found.useful_pairs == found.executed_pairs == tiles * 256
    assert found.executed_flops == tiles * 4 * 16**3
    assert found.executed_exps == tiles * (256 + 16)
    assert found.read_bytes["K"] == found.read_bytes["V"] == tiles * 512
    assert found.read_bytes["Q"] == found.written_bytes["AV"] == 2 * 64 * 16 * 2


def test_what_does_not_fit_is_refused() -> None:
    arguments = agreement.inputs("block_sparse", SMALL | {"sequence": 48, "heads": 1})
    for wrong, message in (
        (lists([[0], [3], [1]]), "columns must lie from 0 to 2, not 0 to 3"),
        (lists([[0], [1, 1], [2]]), "a key block is listed twice"),
        (lists([[0], [1]]), r"offsets must be int32 of shape \('any', 'any', 4\)"),
        (lists([[0], [1], [2]], [[0], [1], [2]]), "offsets hold lists for"),
        ({"offsets": torch.tensor([[[0, 2, 1, 3]]], dtype=torch.int32)}, "offsets must not decrease"),
    ):
        with pytest.raises(WorkloadError, match=message):
            block_sparse(**arguments | lists([[0], [1], [2]]) | wrong)
    with pytest.raises(TraceError, match="bf16 arithmetic is wrong"):
        block_sparse(**agreement.inputs("block_sparse", SMALL | {"sequence": 16, "precision": "bf16"}))
