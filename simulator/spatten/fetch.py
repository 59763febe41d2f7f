"""Fetching vectors that survived: lanes that wait for each other, channels that some survivors load more than others.

Modelled: the channels that the pieces of each vector lie in, a beat of one vector a lane that leaves when all its
lanes have their data, response FIFOs that let lanes run ahead by so many beats. Vectors of two heads whose bits do not
fill a piece are fetched together. Not modelled: priorities between lanes, banks and rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from dse.simulator.spatten.chip import Chip

    Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Layout:
    """How vectors lie in memory: ``pieces`` of one interleave for ``fused`` heads."""

    pieces: int
    fused: int

    @property
    def name(self) -> str:
        """The layout in words."""
        return f"{self.pieces} pieces for {self.fused} heads"


def layout_of(chip: Chip, bits: int) -> Layout:
    """Layout of vectors with so many bits an element; two heads share pieces that one does not fill."""
    piece = int(chip.number("dram", "interleave_bytes"))
    size = chip.depth * bits / 8.0
    fused = 1 if size % piece == 0 else 2
    return Layout(int(np.ceil(fused * size / piece)), fused)


def fetch_cycles(chip: Chip, indices: Ints, bits: int) -> float:
    """Cycles one head's share of fetching the vectors at these positions takes."""
    layout = layout_of(chip, bits)
    loads = channel_loads(chip, indices, layout)
    channels = int(chip.number("dram", "channels"))
    each = chip.number("dram", "interleave_bytes") * channels / chip.dram_bytes_per_cycle
    ahead = max(1, int(chip.number("fetcher", "response_entries")) // layout.pieces)
    return beats_through(loads * each, ahead) / layout.fused


def channel_loads(chip: Chip, indices: Ints, layout: Layout) -> npt.NDArray[np.float64]:
    """Pieces that each beat takes from each channel, shape (beats, channels)."""
    lanes, channels = int(chip.number("fetcher", "lanes")), int(chip.number("dram", "channels"))
    pieces = indices[:, None] * layout.pieces + np.arange(layout.pieces)
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
