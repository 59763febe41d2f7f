"""Fetching survivors: balanced channels take the ideal time, scattered ones more; rows as commands have it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.arch.machine import load_machine
from dse.simulator.dram_reads import Addresses, schedule_reads
from dse.simulator.spatten.chip import Chip, chip_of
from dse.simulator.spatten.fetch import (
    HALVES,
    Layout,
    beats_through,
    channel_loads,
    fetch_cycles,
    half_channel,
    latency_cycles,
    layout_of,
    opening_cycles,
    refreshing,
)


def chip(**changes: str) -> Chip:
    machine: Any = load_machine("spatten", {name.replace("__", "."): text for name, text in changes.items()})
    return chip_of(machine, 64)


def drawn(count: int, among: int = 1024, seed: int = 0) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.sort(np.random.default_rng(seed).choice(among, count, replace=False))


def test_vectors_lie_in_whole_pieces_of_one_or_two_heads() -> None:
    assert layout_of(chip(), 8) == Layout(2, 1)
    assert layout_of(chip(), 6) == Layout(3, 2)
    assert layout_of(chip(), 4) == Layout(1, 1)


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_everything_in_a_row_takes_the_bandwidth(bits: int) -> None:
    ideal = 1024 * 64 * bits / 8 / 512
    assert fetch_cycles(chip(), np.arange(1024), bits) == pytest.approx(ideal * refreshing(chip()))


def test_few_survivors_load_channels_unevenly() -> None:
    for count, bits, least in ((921, 6, 1.0), (204, 6, 1.15), (102, 6, 1.5)):
        straight, scattered = (fetch_cycles(chip(), idx, bits) for idx in (np.arange(count), drawn(count)))
        assert scattered >= least * straight


@given(st.integers(1, 200), st.sampled_from([4, 6, 8]), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_loads_hold_every_piece_once(count: int, bits: int, seed: int) -> None:
    at, indices = chip(), drawn(count, 400, seed)
    layout = layout_of(at, bits)
    loads = channel_loads(at, indices, layout)
    assert loads.sum() == count * layout.pieces
    assert loads.shape == (-(-count // 32), 16)
    ideal = count * layout.pieces / 16
    assert (
        ideal <= beats_through(loads, 64) <= beats_through(loads, 1) <= loads.max(axis=1).sum() + len(loads)
    )


def test_short_response_fifos_make_lanes_wait() -> None:
    indices = drawn(500)
    deep, shallow = (fetch_cycles(chip(fetcher__response_entries=n), indices, 8) for n in ("64", "2"))
    assert shallow > 1.1 * deep


@pytest.mark.parametrize(("count", "bits"), [(1024, 8), (921, 6), (204, 6), (102, 6), (40, 6)])
def test_opened_rows_cost_what_the_command_scheduler_says(count: int, bits: int) -> None:
    at, indices = chip(), drawn(count)
    layout, device = layout_of(at, bits), half_channel(at.machine.dram.device)
    pieces = (indices[:, None] * layout.pieces + np.arange(layout.pieces)).ravel()
    channel, place = pieces % 16, pieces // 16
    longest = 0
    for number in range(16 * HALVES):
        mine = place[(channel == number // HALVES) & (place % HALVES == number % HALVES)]
        row = mine // HALVES // int(device.columns[0])
        if len(row):
            addresses = Addresses.of(device, row % 4, row // 4 % 4, np.zeros_like(row))
            longest = max(longest, schedule_reads(device, addresses, window=16, refresh=False).cycles)
    assert opening_cycles(at, indices, layout) == pytest.approx(longest - latency_cycles(at) + 2, abs=1.0)
