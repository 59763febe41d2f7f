"""Plain DRAM traffic: the closed form against the command scheduler, and against the peak of the device."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.arch.memories.dram import load_dram
from dse.errors import DseError
from dse.simulator.dram import BOUNDS, busy, streaming_share
from dse.simulator.dram_reads import Addresses, schedule_reads

DEVICES = ("hbm2", "hbm3_4800", "hbm3_5200", "hbm3_6400", "gddr6_aim")


@pytest.mark.parametrize("name", DEVICES)
def test_streaming_reaches_the_peak_less_refresh(name: str) -> None:
    dram = load_dram(name)
    assert 0.90 <= streaming_share(dram)[0] <= 0.99
    addresses = Addresses.of_bytes(dram, np.arange(12_000) * dram.access_bytes[0])
    run = schedule_reads(dram, addresses)
    closed = busy(dram, run.hits, run.activations)
    assert closed.cycles[0] == pytest.approx(run.cycles, rel=0.005)
    assert closed.refreshes[0] == run.refreshes
    assert (
        0.90
        <= closed.bytes[0] / closed.seconds[0] / dram.byte_per_s[0] * dram.pseudo_channel_count[0]
        <= 0.99
    )


@pytest.mark.parametrize("name", ["hbm2", "hbm3_5200"])
@pytest.mark.parametrize("banks", [1, 4, 32])
def test_random_rows_are_bound_by_banks_or_activations(name: str, banks: int) -> None:
    dram, draw = load_dram(name), np.random.default_rng(banks)
    place = draw.integers(0, banks, 1200) * (int(dram.banks_each[0]) // banks)
    run = schedule_reads(dram, Addresses(place, draw.integers(0, 1000, 1200)))
    closed = busy(dram, run.hits, run.activations, banks=banks)
    assert closed.cycles[0] == pytest.approx(run.cycles, rel=0.1)
    assert BOUNDS[int(closed.bound[0])] == ("activations" if banks == 32 else "banks")


def test_one_bank_group_reads_at_half_the_rate() -> None:
    dram = load_dram("hbm3_5200")
    near = Addresses.of(dram, 0, np.arange(2048) // 32 % 4, np.arange(2048) // 128)
    run = schedule_reads(dram, near, refresh=False)
    assert run.cycles / 2048 == pytest.approx(4.0, rel=0.02)
    closed = busy(dram, run.hits, run.activations, same_group=1.0)
    assert closed.bound[0] == BOUNDS.index("bus")


def test_window_of_four_activations() -> None:
    """Rows of one rank opened back to back: four in each window, whatever their spacing allows."""
    dram = load_dram("hbm3_5200")
    bank = np.arange(16) * 4 % 16 + np.arange(16) // 4
    run = schedule_reads(dram, Addresses(bank, np.zeros(16, dtype=np.int64)), refresh=False)
    timing = dram.timing
    last = 1 + 3 * timing.faw[0] + 3 * timing.rrd_s[0] + timing.rcd[0] + timing.cl[0] + timing.burst[0]
    assert run.cycles == last


def test_first_read_takes_the_latencies() -> None:
    dram = load_dram("hbm2")
    run = schedule_reads(dram, Addresses.of(dram, 0, 0, 0))
    assert run.cycles - 1 == busy(dram, 0, 1).cycles[0] == 14 + 14 + 2
    assert busy(dram, 0, 0).cycles[0] == 0


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 32))
def test_more_traffic_is_never_faster(hits: int, misses: int, banks: int) -> None:
    dram = load_dram("hbm3_5200")
    found = busy(dram, hits, misses, banks)
    for more in (busy(dram, hits + 1, misses, banks), busy(dram, hits, misses + 1, banks)):
        assert more.cycles[0] >= found.cycles[0]
        assert more.joules[0] > found.joules[0]
    spread = busy(dram, [hits, 5], [misses, 7], banks)
    assert spread.cycles[0] == found.cycles[0]


def test_energy_of_a_read() -> None:
    dram = load_dram("hbm3_5200")
    found = busy(dram, 31, 1)
    assert found.joules[0] == pytest.approx(0.909e-9 + 32 * 0.89088e-9)


def test_wrong_traffic_is_refused() -> None:
    dram = load_dram("hbm2")
    with pytest.raises(DseError, match="counts of at least 0"):
        busy(dram, -1, 0)
    with pytest.raises(DseError, match="all of its banks"):
        busy(dram, 1, 1, banks=33)
    with pytest.raises(DseError, match="from 0 to 1"):
        busy(dram, 1, 1, same_group=2)
    with pytest.raises(DseError, match="each bank must be one"):
        Addresses.of(dram, 0, 4, 0)
