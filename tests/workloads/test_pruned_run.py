"""Streams of pruned runs: what is committed is whole, and becomes head rows of what survived."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dse import spec
from dse.errors import TraceError, WorkloadError
from dse.workloads.pruned_run import ROOM, content_hash, find_run, load_run, run_rows, write_run
from dse.workloads.pruning import kept, load_schedule

SHIPPED = sorted(spec.shipped(ROOM, ".parquet"))
PEERS = ["minilm_alice_64_a3", "minilm_alice_64_mnnfast"]
PRUNED = [name for name in SHIPPED if name not in PEERS]
LARGEST_BYTES = 2_000_000


def test_all_files_together_are_small() -> None:
    assert SHIPPED
    assert sum(path.stat().st_size for path in spec.shipped(ROOM, ".parquet").values()) < LARGEST_BYTES


@pytest.mark.parametrize("name", PRUNED)
def test_rows_have_the_counts_of_the_schedule(name: str) -> None:
    run = load_run(name)
    schedule = load_schedule(run.schedule)
    rows = run_rows(run, 32)
    heads = schedule.heads or (run.head_count,) * run.layers
    for layer, share in enumerate(schedule.tokens):
        here, alive = rows.layer == layer, kept(share, run.length)
        assert here.sum() == heads[layer] * alive
        assert set(rows.keys[here]) == {alive}
        assert set(rows.values[here]) == {kept(schedule.values, alive)}
    assert rows.bits == schedule.bits
    assert schedule.threshold is not None or not rows.refetch.any()


@pytest.mark.parametrize("name", PRUNED)
def test_streams_are_probabilities_and_pruned_tokens_stay_pruned(name: str) -> None:
    run = load_run(name)
    alive = set(range(run.length))
    for head in run.heads:
        assert set(head.tokens.tolist()) <= alive
        alive = set(head.tokens.tolist())
        sums = head.streams.sum(axis=1, dtype=np.int64)
        # Rounding moves each of the keys by half a code at most, and 1 is the largest code.
        assert (np.abs(sums - 4096) <= len(head.tokens) / 2 + 1).all()


@pytest.mark.parametrize("name", PEERS)
def test_other_rules_fetch_all_and_compute_with_some(name: str, tmp_path: Path) -> None:
    run = load_run(name)
    rows = run_rows(run, 32)
    assert rows.selection is not None
    assert rows.streams is None
    assert set(rows.keys) == set(rows.values) == {64}
    assert (rows.weighted <= rows.scored).all()
    assert rows.weighted.min() >= 1
    assert 0.05 < rows.weighted.mean() / 64 < 0.5
    write_run(run, tmp_path / "run.parquet")
    assert content_hash(load_run(tmp_path / "run.parquet")) == content_hash(run)


def test_selections_that_do_not_fit_are_refused() -> None:
    rows = run_rows(load_run("minilm_alice_64_a3"), 32)
    assert rows.selection is not None
    for wrong in (
        dataclasses.replace(rows.selection, scored=rows.keys + 1),
        dataclasses.replace(rows.selection, weighted=rows.scored + 1),
        dataclasses.replace(rows.selection, iterations=rows.keys[1:]),
    ):
        with pytest.raises(WorkloadError, match="a selection"):
            dataclasses.replace(rows, selection=wrong)


def test_values_are_those_of_the_largest_codes() -> None:
    rows = run_rows(load_run("minilm_alice_64_quarter"), 32)
    assert rows.streams is not None
    assert rows.key_indices is not None
    assert rows.value_indices is not None
    for row in range(0, len(rows), 37):
        stream, keys = rows.streams[row], rows.key_indices[row]
        fetched = np.isin(keys, rows.value_indices[row])
        assert fetched.sum() == rows.values[row]
        assert stream[fetched].min() >= stream[~fetched].max()


def test_written_runs_come_back_and_damage_is_seen(tmp_path: Path) -> None:
    run, path = load_run("minilm_alice_64_quarter"), tmp_path / "run.parquet"
    write_run(run, path)
    assert content_hash(load_run(path)) == content_hash(run)
    assert find_run(str(path)) == path
    heads = (dataclasses.replace(run.heads[0], refetch=~run.heads[0].refetch), *run.heads[1:])
    assert content_hash(dataclasses.replace(run, heads=heads)) != content_hash(run)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(TraceError, match="not a readable file of streams"):
        load_run(path)


def test_other_files_are_no_streams(tmp_path: Path) -> None:
    (tmp_path / "junk.parquet").write_text("junk")
    assert find_run(str(tmp_path / "junk.parquet")) is None
    assert find_run(str(tmp_path / "none.parquet")) is None
    scores = spec.find("minilm_alice_16", "workloads/scores", ".parquet")
    assert find_run(str(scores)) is None
    assert find_run("minilm_alice_16") is None
    with pytest.raises(TraceError, match="not a readable file of streams"):
        load_run(Path(scores))
    with pytest.raises(TraceError, match="minilm_alice_64_half"):
        load_run("minilm_alice_64_halv")
