"""Fetching vectors that survived: lanes that wait for each other, channels and rows that some survivors load more.

Modelled: the channels that the pieces of each vector lie in, a beat of one vector a lane that leaves when all its
lanes have their data, response FIFOs that let lanes run ahead by so many beats; rows that the pieces open in each half
channel, and refresh. Vectors of two heads whose bits do not fill a piece are fetched together. Not modelled: priorities
between lanes, rows left open by other heads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.dram import busy

if TYPE_CHECKING:
    import numpy.typing as npt

    from dse.arch.memories.dram import Dram as Device
    from dse.simulator.spatten.chip import Chip

    Ints = npt.NDArray[np.int64]

# HBM2 in pseudo-channel mode: a channel is two halves with accesses half as long.
HALVES = 2


@dataclass(frozen=True, slots=True)
class Layout:
    """How vectors lie in memory: ``pieces`` of one interleave for ``fused`` heads."""

    pieces: int
    fused: int


def layout_of(chip: Chip, bits: int) -> Layout:
    """Layout of vectors with so many bits an element; two heads share pieces that one does not fill."""
    piece = int(chip.number("dram", "interleave_bytes"))
    size = chip.depth * bits / 8.0
    fused = 1 if size % piece == 0 else 2
    return Layout(int(np.ceil(fused * size / piece)), fused)


def fetch_cycles(chip: Chip, indices: Ints, bits: int) -> float:
    """Cycles that one head's share of fetching the vectors at these positions takes, after the first access."""
    layout = layout_of(chip, bits)
    channels = int(chip.number("dram", "channels"))
    each = chip.number("dram", "interleave_bytes") * channels / chip.dram_bytes_per_cycle
    ahead = max(1, int(chip.number("fetcher", "response_entries")) // layout.pieces)
    beats = beats_through(channel_loads(chip, indices, layout) * each, ahead)
    return max(beats, opening_cycles(chip, indices, layout)) * refreshing(chip) / layout.fused


def latency_cycles(chip: Chip) -> float:
    """Cycles of the first access: its row is opened, the column read, the data sent."""
    timing = chip.machine.dram.device.timing
    return float((timing.rcd + timing.cl + timing.burst)[0]) * _clocks(chip)


def refreshing(chip: Chip) -> float:
    """How much longer everything takes for refreshes, in the mean."""
    timing = chip.machine.dram.device.timing
    cost = timing.rtp_l + timing.rp + timing.rfc + timing.rcd
    return float((timing.refi / (timing.refi - cost))[0])


def channel_loads(chip: Chip, indices: Ints, layout: Layout) -> npt.NDArray[np.float64]:
    """Pieces that each beat takes from each channel, shape (beats, channels)."""
    lanes, channels = int(chip.number("fetcher", "lanes")), int(chip.number("dram", "channels"))
    pieces = _pieces(indices, layout)
    beat = np.arange(len(indices))[:, None] // lanes
    beats = -(-len(indices) // lanes)
    found = np.bincount((beat * channels + pieces % channels).ravel(), minlength=beats * channels)
    return found.reshape(beats, channels).astype(np.float64)


def beats_through(cycles: npt.NDArray[np.float64], ahead: int) -> float:
    """When the last beat leaves: channels serve beats in turn, at most ``ahead`` beats before one that waits."""
    free, left = np.zeros(cycles.shape[1]), np.zeros(len(cycles))
    for beat, load in enumerate(cycles):
        room = left[beat - ahead] if beat >= ahead else 0.0
        free = np.where(load > 0, np.maximum(free, room) + load, free)
        done = max(float(free[load > 0].max(initial=0.0)), room)
        left[beat] = max(done, (left[beat - 1] if beat else 0.0) + 1.0)
    return float(left[-1])


def opening_cycles(chip: Chip, indices: Ints, layout: Layout) -> float:
    """Cycles the slowest half channel needs for its accesses and the rows they open, after the first access.

    Consecutive bytes of a channel fill a row before the next, which lies in another bank.
    """
    channels = int(chip.number("dram", "channels"))
    half = half_channel(chip.machine.dram.device)
    columns = int(half.columns[0])
    pieces = np.unique(_pieces(indices, layout))
    place = pieces // channels
    where = (pieces % channels) * HALVES + place % HALVES
    rows = np.unique(np.stack([where, place // HALVES // columns]), axis=1)
    accesses = np.bincount(where, minlength=channels * HALVES).astype(np.float64)
    misses = np.bincount(rows[0], minlength=channels * HALVES).astype(np.float64)
    banks = np.clip(misses, 1.0, half.banks_each)
    load = busy(half, accesses - misses, misses, banks=banks)
    timing = half.timing
    first = timing.rcd + timing.cl + timing.burst - np.maximum(timing.burst, timing.ccd_s)
    return float((load.cycles - first).max()) * _clocks(chip)


def _pieces(indices: Ints, layout: Layout) -> Ints:
    found: Ints = indices[:, None] * layout.pieces + np.arange(layout.pieces)
    return found


def half_channel(device: Device) -> Device:
    """The device with channels halved: accesses half as long, rows of as many bytes."""
    return replace(
        device,
        channels=device.channels * HALVES,
        access_bytes=device.access_bytes / HALVES,
        columns=device.columns * HALVES,
    )


def _clocks(chip: Chip) -> float:
    """Cycles of the chip in one of the memory's command clock."""
    return float((chip.machine.clock_hz / chip.machine.dram.device.clock_hz)[0])
