"""Plain reads of a DRAM channel in closed form: what rows, banks, bus and refresh leave of the peak.

One pseudo channel; a read takes the data bus for a burst, or waits for its bank group; a miss opens a row, and
activations are limited by their spacing and by the window of four in each rank; a bank cannot open rows faster than
its cycle allows. The largest of these bounds the time, first access latency and refreshes come on top. Not modelled:
writes, the order of accesses beyond the share that stays in one bank group. ``dram_schedule`` issues command by
command instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import DseError
from dse.simulator.arrays import ZERO, Array, Codes, Values, as_array

if TYPE_CHECKING:
    from dse.arch.memories.dram import Dram

BOUNDS = ("bus", "activations", "banks")
# Rows of a long sequential read: enough that the first access does not show.
LONG = 1e6


@dataclass(frozen=True)
class Load:
    """What reads cost a pseudo channel; arrays over design points, ``bound`` indexes ``BOUNDS``."""

    cycles: Array
    seconds: Array
    bytes: Array
    joules: Array
    activations: Array
    refreshes: Array
    bound: Codes


def busy(
    dram: Dram, hits: Values, misses: Values, banks: Values | None = None, same_group: Values = 0.0
) -> Load:
    """Cycles one pseudo channel is busy with reads, refreshes included.

    ``hits`` and ``misses`` count accesses that find their row open, or not; misses are spread evenly over ``banks``,
    all of the pseudo channel by default; ``same_group`` is the share of accesses that follow one of the same bank
    group.

    Raises
    ------
    DseError
        Negative counts, no banks or more than there are, a share above 1.
    """
    hit, miss, share = as_array(hits), as_array(misses), as_array(same_group)
    used = dram.banks_each if banks is None else as_array(banks)
    if bool((hit < 0).any() or (miss < 0).any() or (used < 1).any() or (used > dram.banks_each).any()):
        raise DseError("reads of a channel need counts of at least 0, and from 1 to all of its banks")
    if bool(((share < 0) | (share > 1)).any()):
        raise DseError("the share of accesses that stay in one bank group is from 0 to 1")
    timing = dram.timing
    accesses = hit + miss
    near = np.maximum(timing.burst, timing.ccd_l)
    bus = accesses * (np.maximum(timing.burst, timing.ccd_s) * (1.0 - share) + near * share)
    ranks = np.minimum(dram.ranks, used)
    each = accesses / np.maximum(miss, 1.0)
    ends = np.maximum(each, 1.0) * np.maximum(timing.burst, timing.ccd_s)
    opened = np.maximum(miss / ranks - 1.0, 0.0) * np.maximum(timing.rrd_s, timing.faw / 4.0) + ends
    visit = np.maximum(timing.rc, timing.rcd + (each - 1.0) * near + timing.rtp_l + timing.rp)
    held = np.maximum(miss / used - 1.0, 0.0) * visit + ends
    longest = np.maximum(np.maximum(bus, opened), held)
    spacing = np.maximum(timing.burst, timing.ccd_s)
    first = np.where(miss > 0.0, timing.rcd, 0.0) + timing.cl + timing.burst - spacing
    cycles, refreshes = _refreshed(dram, np.where(accesses > 0.0, longest + first, 0.0))
    energy = dram.energy
    moved = accesses * dram.access_bytes
    return Load(
        cycles=cycles,
        seconds=cycles / dram.clock_hz,
        bytes=moved,
        joules=miss * energy.activate_j + moved * energy.read_j_per_byte,
        activations=miss,
        refreshes=refreshes,
        bound=np.argmax(np.broadcast_arrays(bus, opened, held), axis=0).astype(np.int16),
    )


def _refreshed(dram: Dram, cycles: Array) -> tuple[Array, Array]:
    """Cycles with refreshes, and their number: one each interval while there is work.

    All rows are closed before, and the next access waits for one to be opened.
    """
    timing = dram.timing
    cost = timing.rtp_l + timing.rp + timing.rfc + timing.rcd - np.maximum(timing.burst, timing.ccd_s)
    count = np.maximum(np.ceil((cycles - cost) / (timing.refi - cost)) - 1.0, ZERO)
    return cycles + count * cost, count


def streaming_share(dram: Dram) -> Array:
    """Share of the peak that a long sequential read reaches, row by row over all banks."""
    rows = LONG * dram.banks_each
    load = busy(dram, rows * (dram.columns - 1.0), rows)
    share: Array = load.bytes / load.seconds / (dram.byte_per_s / dram.pseudo_channel_count)
    return share
