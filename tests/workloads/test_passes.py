"""Pass analysis: published classification, live sets and their sizes, tile level, carried direction."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse.errors import WorkloadError
from dse.workloads.cascade_file import load_cascade, parse_cascade
from dse.workloads.passes import analyse_passes, rank_groups
from dse.workloads.sizes import complete_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

LINES = Path(__file__).with_name("pass_counts.csv").read_text().splitlines()
ROWS = list(csv.DictReader(line for line in LINES if not line.startswith("#")))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['cascade']}-{row['group']}")
def test_pass_counts(row: dict[str, str]) -> None:
    found = analyse_passes(load_cascade(row["cascade"]), row["group"])
    live = {f"{b.after}:{item.tensor}": item.reread for b in found.barriers for item in b.live}
    assert found.passes == int(row["passes"])
    assert {key for key, reread in live.items() if not reread} == set(row["live"].split())
    assert {key for key, reread in live.items() if reread} == set(row["reread"].split())
    assert set(found.summaries) == set(row["summaries"].split())


def test_group_by_whole_name_and_by_parts_agree() -> None:
    cascade = load_cascade("softmax_1pass")
    assert analyse_passes(cascade, "m") == analyse_passes(cascade, ("m1", "m0"))
    assert rank_groups(cascade) == (("m1", "m0"), ("m0",), ("e",), ("f",), ("p",))


def test_live_bytes_of_the_whole_fiber_and_of_one_tile() -> None:
    sizes: dict[str, Sequence[float]] = {"e": [64], "f": [64], "p": [256], "m": [1024, 65536]}
    whole = load_cascade("softmax_3pass")
    (first, second) = analyse_passes(whole, "m").barriers
    full = complete_sizes(whole, sizes)
    np.testing.assert_array_equal(first.live_bytes(full, 2), [1024 * 256 * 2, 65536 * 256 * 2])
    np.testing.assert_array_equal(second.live_bytes(full, {"SN": 4}), [1024 * 256 * 4, 65536 * 256 * 4])
    tiled = load_cascade("softmax_1pass")
    (tile,) = analyse_passes(tiled, "m0").barriers
    full = complete_sizes(tiled, {**sizes, "m0": [256]})
    # The on-chip need of the one-pass cascade does not grow with the sequence.
    np.testing.assert_array_equal(tile.live_bytes(full, 2), [256 * 256 * 2])
    (toy,) = analyse_passes(load_cascade("dot_then_scale"), "k").barriers
    np.testing.assert_array_equal(toy.reread_bytes({"k": np.array([10.0])}, 2), [20.0])
    np.testing.assert_array_equal(toy.live_bytes({"k": np.array([10.0])}, 2), [0.0])


HEAD = "assumes: [test]\nsource: test\nfamily: test\ntitle: test\n"


def test_reading_the_final_value_is_a_barrier_and_the_running_one_is_not() -> None:
    text = HEAD + (
        "ranks: {m: steps}\ninputs: {X: [m]}\ncarried: {R: {rank: m, initial: -inf}}\n"
        "einsums:\n  - 'R[m+1] = max(R[m], X[m])'\n  - 'Y[m] = X[m] - R[%s]'\n"
    )
    running, previous, final = (parse_cascade(text % read) for read in ("m+1", "m", "last"))
    assert [analyse_passes(cascade, "m").passes for cascade in (running, previous, final)] == [1, 1, 2]
    (barrier,) = analyse_passes(final, "m").barriers
    assert [(item.tensor, item.reread) for item in barrier.live] == [("X", True)]


def test_a_tile_that_waits_for_the_tile_before_it_is_no_extra_pass() -> None:
    text = HEAD + (
        "ranks: {m1: tiles, m0: in a tile}\npartition: {m: [m1, m0]}\ninputs: {X: [m1, m0]}\n"
        "carried: {R: {rank: m1, initial: 0}}\neinsums:\n"
        "  - 'Y[m1,m0] = X[m1,m0] - R[m1]'\n  - 'S[m1] = Y[m1,m0]'\n  - 'R[m1+1] = R[m1] + S[m1]'\n"
    )
    cascade = parse_cascade(text)
    assert analyse_passes(cascade, "m").passes == 1
    assert analyse_passes(cascade, "m0").passes == 1


def test_a_value_over_the_inner_rank_alone_is_a_barrier() -> None:
    text = HEAD + (
        "ranks: {m1: tiles, m0: in a tile}\npartition: {m: [m1, m0]}\ninputs: {X: [m1, m0]}\n"
        "einsums:\n  - 'S[m0] = X[m1,m0] :sum(m1)'\n  - 'Y[m1,m0] = X[m1,m0] - S[m0]'\n"
    )
    assert analyse_passes(parse_cascade(text), "m").passes == 2


def test_result_is_plain_enough_for_json() -> None:
    found = analyse_passes(load_cascade("softmax_2pass"), "m")
    assert json.loads(json.dumps(dataclasses.asdict(found)))["passes"] == 2


def test_unknown_rank_names_the_nearest() -> None:
    with pytest.raises(WorkloadError, match="no rank 'm2'; did you mean 'm"):
        analyse_passes(load_cascade("softmax_1pass"), "m2")
