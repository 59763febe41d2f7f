"""Committed scores are whole and agree with themselves; damaged files are refused; keep-lists nest."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dse import spec
from dse.errors import TraceError, WorkloadError
from dse.workloads.keep import keep_lists, linear_ratios
from dse.workloads.score_trace import ROOM, load_scores, write_scores

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = sorted(spec.shipped(ROOM, ".parquet"))
LARGEST_BYTES = 4_000_000


@pytest.mark.parametrize("name", SHIPPED)
def test_committed_scores_agree_with_themselves(name: str) -> None:
    trace = load_scores(name)
    assert (trace.layers, trace.head_count, len(trace.heads)) == (6, 12, 72)
    assert name == f"minilm_{trace.passage}_{trace.length}"
    assert (trace.pieces[0], trace.pieces[-1]) == ("[CLS]", "[SEP]")
    rows = list(trace.rows)
    for head in trace.heads:
        scores = head.scores()
        assert np.abs(scores.max(axis=1) - head.row_max[rows]).max() <= head.step * 0.501
        sums = np.exp(scores - head.row_max[rows, None]).sum(axis=1)
        assert np.abs(np.log(sums / head.row_sum[rows])).max() <= head.step * 0.501
        assert head.importance.sum() == pytest.approx(trace.length, rel=1e-5)
    assert trace.token_importance().sum(axis=1) == pytest.approx(12 * trace.length, rel=1e-5)
    assert trace.head_importance().shape == (6, 12)
    for share, lists in trace.keep.items():
        assert [one.tolist() for one in trace.keep_lists(float(share))] == [list(one) for one in lists]


def test_all_lengths_are_there_and_small() -> None:
    lengths = {load_scores(name).length for name in SHIPPED}
    assert lengths == {16, 64, 128, 256, 512}
    assert sum(path.stat().st_size for path in spec.shipped(ROOM, ".parquet").values()) < LARGEST_BYTES


def test_real_scores_are_not_flat() -> None:
    """The eighth of the keys with most probability has far more than random scores would give it."""
    trace = load_scores("minilm_alice_128")
    weights = np.stack([np.exp(head.scores()) for head in trace.heads])
    weights /= weights.sum(axis=-1, keepdims=True)
    assert np.sort(weights, axis=-1)[..., -16:].sum(axis=-1).mean() > 0.65


def test_reading_needs_neither_torch_nor_the_model() -> None:
    code = (
        "import sys; from dse.workloads.score_trace import load_scores; load_scores('minilm_alice_16')\n"
        "heavy = {'torch', 'triton', 'safetensors', 'tokenizers', 'pandas', 'scipy'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = spec.find("minilm_alice_16", ROOM, ".parquet").read_bytes()
    path = tmp_path / "scores.parquet"
    path.write_bytes(whole[:-100])
    with pytest.raises(TraceError, match="not a readable file of scores"):
        load_scores(path)
    trace = load_scores("minilm_alice_16")
    short = dataclasses.replace(trace, heads=trace.heads[:-1])
    write_scores(short, path)
    with pytest.raises(TraceError, match="does not fit its hash"):
        load_scores(path)
    write_scores(dataclasses.replace(trace, rows=trace.rows[:-1]), path)
    with pytest.raises(TraceError, match=r"damaged scores \(ValueError"):
        load_scores(path)
    with pytest.raises(TraceError, match="but not scores of dse"):
        load_scores(spec.find("flash_forward", "workloads/traces", ".parquet"))
    with pytest.raises(TraceError, match="no score trace 'minilm_alise_16'; did you mean 'minilm_alice_16'"):
        load_scores("minilm_alise_16")


@given(
    arrays.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 30)), elements=st.integers(0, 5)),
    st.floats(0.05, 1.0),
)
def test_survivors_nest_and_outweigh_the_pruned(importance: np.ndarray, last: float) -> None:
    layers, items = importance.shape
    alive = set(range(items))
    for layer, kept in enumerate(keep_lists(importance, linear_ratios(layers, last))):
        total = importance[: layer + 1].sum(axis=0)
        share = 1 - (1 - last) * (layer + 1) / layers
        assert len(kept) == int(np.ceil(round(share * items, 9)))
        assert set(kept) <= alive
        pruned = alive - set(kept)
        for one in pruned:
            assert all((total[other], -other) > (total[one], -one) for other in kept)
        alive = set(kept)


def test_wrong_ratios_are_refused() -> None:
    for ratios in ([0.5], [0.5, 0.6], [0.5, 0.0], [1.5, 0.5]):
        with pytest.raises(WorkloadError, match="2 layers need as many falling ratios"):
            keep_lists(np.ones((2, 4)), ratios)
