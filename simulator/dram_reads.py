"""Reads at given addresses of one pseudo channel, command by command: the witness of the closed form of plain reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.errors import DseError
from dse.simulator.dram_channel import OPEN, READ, REFRESH, Request, Rules
from dse.simulator.dram_schedule import schedule

if TYPE_CHECKING:
    from dse.arch.memories.dram import Dram

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Addresses:
    """Bank (of all of a pseudo channel: rank, bank group, bank, the last varying fastest) and row of each access."""

    bank: Indices
    row: Indices

    @classmethod
    def of(
        cls, dram: Dram, bank_group: ArrayLike, bank: ArrayLike, row: ArrayLike, rank: ArrayLike = 0
    ) -> Addresses:
        """Accesses by rank, bank group, bank of the group, and row.

        Raises
        ------
        DseError
            An index the device does not have.
        """
        parts = np.broadcast_arrays(*(np.atleast_1d(np.asarray(p)) for p in (rank, bank_group, bank, row)))
        limits = (dram.ranks, dram.bank_groups, dram.banks, dram.rows)
        for name, part, limit in zip(("rank", "bank group", "bank", "row"), parts, limits, strict=True):
            if part.ndim != 1 or bool(((part < 0) | (part >= limit)).any()):
                raise DseError(f"each {name} must be one of the device's {limit[0]:.0f}, in one dimension")
        groups, banks = int(dram.bank_groups[0]), int(dram.banks[0])
        place = (parts[0] * groups + parts[1]) * banks + parts[2]
        return cls(place.astype(np.int64), parts[3].astype(np.int64))

    @classmethod
    def of_bytes(cls, dram: Dram, addresses: ArrayLike) -> Addresses:
        """Accesses at byte addresses of the pseudo channel: bank groups vary fastest, then columns, banks, ranks,
        rows.

        Raises
        ------
        DseError
            An address beyond the pseudo channel.
        """
        number = np.atleast_1d(np.asarray(addresses, dtype=np.int64)) // int(dram.access_bytes[0])
        parts = []
        for extent in (dram.bank_groups, dram.columns, dram.banks, dram.ranks):
            parts.append(number % int(extent[0]))
            number //= int(extent[0])
        return cls.of(dram, parts[0], parts[2], number, parts[3])


@dataclass(frozen=True)
class ReadRun:
    """What the reads took: cycle of the last data, and of the data of each; activations, hits, refreshes."""

    cycles: int
    finish: Indices
    activations: int
    hits: int
    refreshes: int


def schedule_reads(dram: Dram, addresses: Addresses, window: int = 32, *, refresh: bool = True) -> ReadRun:
    """Reads of one pseudo channel in the order given, ``window`` of them in view at once."""
    pairs = zip(addresses.bank.tolist(), addresses.row.tolist(), strict=True)
    stream = [Request(READ, bank, row) for bank, row in pairs]
    found = schedule(dram, Rules(view=window, refresh=refresh), stream)
    finish = np.array([found.reads[number] for number in range(len(stream))], dtype=np.int64)
    opened = found.commands.get(OPEN, 0)
    return ReadRun(
        cycles=int(finish.max(initial=0)),
        finish=finish,
        activations=opened,
        hits=max(len(stream) - opened, 0),
        refreshes=found.commands.get(REFRESH, 0),
    )
