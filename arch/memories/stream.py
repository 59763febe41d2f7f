"""Share of a stack's peak that DRAM timing leaves a long stream, read over the pins or by all banks in lock-step.

Modelled: over the pins, accesses that go around all banks of a pseudo channel before they return to one, so that all
rows change together: a command bus shared by the pseudo channels of a channel, activations four to a window and rank,
refresh with the rows opened again. In lock-step, one row after another: precharge and activation before the next one,
refresh. Not modelled: anything but the stream; `dse.simulator.dram` has plain reads by row, which lose less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dse.arch.machine import Array
    from dse.arch.memories.dram import Dram

# Commands of a row besides its accesses: open and close.
_ROW_COMMANDS = 2.0
_WINDOW = 4.0


def pins_share(dram: Dram, refresh_s: float) -> Array:
    """Share of the peak that reads over the pins reach when they go around all banks."""
    timing, banks = dram.timing, dram.banks_each
    slots = dram.pseudo_channels * (dram.columns + _ROW_COMMANDS)
    row = np.maximum(dram.columns * timing.burst, slots)
    order = np.arange(float(banks[0]))
    opened = timing.faw * np.floor(order / (_WINDOW * dram.ranks))
    arrives = timing.burst * order
    turn = timing.rtp_s + timing.rp + timing.rcd
    late = np.max(np.maximum(turn + np.maximum(opened, arrives) - banks * timing.burst - arrives, 0.0))
    again = np.max(np.maximum(opened - arrives, 0.0))
    ideal = banks * dram.columns * timing.burst
    lost = turn + refresh_s * dram.clock_hz + again
    share: Array = ideal / (banks * row + late) * (1.0 - lost / timing.refi)
    return share


def lock_step_share(dram: Dram, refresh_s: float) -> Array:
    """Share of the accesses that banks reading in lock-step make, one every long column spacing, row after row."""
    timing = dram.timing
    turn = timing.rtp_s + timing.rp + timing.rcd
    row = dram.columns * timing.ccd_l
    share: Array = (
        row / (row + turn - timing.ccd_l) * (1.0 - (turn + refresh_s * dram.clock_hz) / timing.refi)
    )
    return share
