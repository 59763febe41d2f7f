"""One DRAM channel: which rows are open, when each command may come, and what it keeps waiting.

Modelled: the constraints of ``Timing`` between commands of banks, bank groups, ranks and the channel; accesses of a
set of banks in lock-step at a spacing of their own; moves of data between banks and buffer die on the data path that
reads use. Not modelled: writes, per-bank refresh. Pseudo channels work in lock-step, or one of them is looked at
alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from dse.arch.memories.dram import Dram

READ, ACCESS, MOVE, SIGNAL, BARRIER, OPEN, CLOSE, REFRESH = range(8)
ROW_COMMANDS = frozenset({OPEN, CLOSE, REFRESH})
CLOSED = -1
LONG_AGO = -(1 << 40)
ROW_COMMAND_CYCLES = 2
# Refreshes that may be put off, as JEDEC allows them to be.
PUT_OFF = 8


class Request(NamedTuple):
    """What a queue asks for: a read of a bank, an access of a set of banks, a move at a bank, a signal, a barrier.

    A signal takes the data path without waiting for it.
    """

    kind: int
    place: int = 0
    row: int = 0


@dataclass(frozen=True, slots=True)
class Rules:
    """How a channel is driven.

    ``sets`` of banks, bank b in set b mod ``sets``, are accessed every ``spacing`` cycles, ``opening`` later than one
    bank would be; with ``power_window`` their activations obey the window of four, as those of reads do. A queue is
    looked at ``view`` requests deep; rows are opened and closed ``ahead`` of barriers; a row and a column command may
    come ``paired`` in one cycle. ``published`` follows the controller of the public AttAcc simulator where it is
    laxer than the device: a refresh does not wait for the precharge, nor, with several sets, for rows to be restored,
    and takes a command for each pseudo channel; nothing is issued beside the precharge of one of several sets; moves
    at the bank that leads a set with accesses waiting in its open row are not taken out of turn.
    """

    sets: int = 1
    spacing: int = 1
    opening: int = 0
    view: int = 33
    ahead: bool = True
    paired: bool = True
    refresh: bool = True
    published: bool = False
    power_window: bool = False


class Spans(NamedTuple):
    """Constraints in whole cycles."""

    burst: int
    cl: int
    rcd: int
    rp: int
    ras: int
    rc: int
    ccd_s: int
    ccd_l: int
    rrd_s: int
    rrd_l: int
    faw: int
    rtp_l: int
    rfc: int
    refi: int


class Channel:
    """State of one channel, and the cycle from which each command may be issued."""

    def __init__(self, dram: Dram, rules: Rules) -> None:
        self.rules = rules
        self.spans = Spans(*(int(getattr(dram.timing, name)[0]) for name in Spans._fields))
        self.banks = int(dram.banks_each[0])
        per_group = int(dram.banks[0])
        per_rank = per_group * int(dram.bank_groups[0])
        self.rank = [bank // per_rank for bank in range(self.banks)]
        self.group = [bank // per_group for bank in range(self.banks)]
        self.refresh_commands = int(dram.pseudo_channels[0]) if rules.published else 1
        self.row = [CLOSED] * self.banks
        self.open_from = [0] * self.banks
        self.column_from = [0] * self.banks
        self.close_from = [0] * self.banks
        self.set_used = [0] * rules.sets
        self.row_bus = self.path = self.access = self.refresh_from = self.refreshed = 0
        self.rank_path = [0] * (self.rank[-1] + 1)
        self.group_path = [0] * (self.group[-1] + 1)
        self.open_rank = list(self.rank_path)
        self.open_group = list(self.group_path)
        self.recent = [[LONG_AGO] * 4 for _ in self.rank_path]

    def reach(self, request: Request) -> slice:
        """Banks a request needs."""
        if request.kind == ACCESS:
            return slice(request.place, None, self.rules.sets)
        return slice(request.place, request.place + 1)

    def wanted(self, request: Request, banks: slice) -> int:
        """Command that a read or an access needs next."""
        rows = self.row[banks]
        if rows.count(request.row) == len(rows):
            return request.kind
        return OPEN if rows.count(CLOSED) == len(rows) else CLOSE

    def turn_ready(self, command: int, request: Request, banks: slice) -> int:
        """Cycle from which the rows of a request may be opened or closed."""
        if command == CLOSE:
            used = self.set_used[request.place % self.rules.sets]
            restored = max(self.close_from[banks])
            return max(self.row_bus, used, restored)
        closed = max(self.open_from[banks])
        found = max(self.row_bus, closed)
        if request.kind == ACCESS and not self.rules.power_window:
            return found
        rank = self.rank[request.place]
        first = self.recent[rank][0] + self.spans.faw
        return max(found, self.open_rank[rank], self.open_group[self.group[request.place]], first)

    def path_ready(self, place: int) -> int:
        """Cycle from which a bank may use the data path."""
        return max(self.path, self.rank_path[self.rank[place]], self.group_path[self.group[place]])

    def transfer(self, request: Request, now: int) -> None:
        """Issue a read, a move or a signal."""
        place, spans = request.place, self.spans
        self.path = now + spans.burst
        self.rank_path[self.rank[place]] = now + spans.ccd_s
        self.group_path[self.group[place]] = now + spans.ccd_l
        if request.kind == READ:
            self.close_from[place] = max(self.close_from[place], now + spans.rtp_l)

    def use(self, place: int, now: int) -> None:
        """Issue an access of a set of banks."""
        self.access = now + self.rules.spacing
        self.set_used[place] = now + self.spans.rtp_l

    def open(self, request: Request, banks: slice, now: int) -> None:
        """Open the rows a request needs."""
        spans, count = self.spans, len(self.row[banks])
        self.row[banks] = [request.row] * count
        self.open_from[banks] = [now + spans.rc] * count
        late = self.rules.opening if request.kind == ACCESS else 0
        self.column_from[banks] = [now + spans.rcd + late] * count
        self.close_from[banks] = [now + spans.ras] * count
        self.row_bus = now + ROW_COMMAND_CYCLES
        if request.kind == READ or self.rules.power_window:
            rank = self.rank[request.place]
            self.open_rank[rank] = now + spans.rrd_s
            self.open_group[self.group[request.place]] = now + spans.rrd_l
            self.recent[rank] = [*self.recent[rank][1:], now]

    def close(self, banks: slice, now: int) -> None:
        """Close rows."""
        until = now + self.spans.rp
        self.row[banks] = [CLOSED] * len(self.row[banks])
        self.open_from[banks] = [max(until, cycle) for cycle in self.open_from[banks]]

    def refresh_ready(self) -> int:
        """Cycle from which the next command of a refresh may be issued: closing all rows, or the refresh itself."""
        lax = self.rules.published
        if self._closed:
            beside = self.refreshed % self.refresh_commands > 0
            return self.row_bus if beside else max(self.row_bus, self.refresh_from)
        if lax and self.rules.sets > 1:
            return self.row_bus
        return max(self.row_bus, *self.close_from, *self.set_used)

    @property
    def _closed(self) -> bool:
        return self.row.count(CLOSED) == self.banks

    def refresh(self, now: int) -> bool:
        """Issue the next command of a refresh; whether it was the refresh itself."""
        if not self._closed:
            self.close(slice(None), now)
            self.refresh_from = now if self.rules.published else now + self.spans.rp
            return False
        # Of commands for several pseudo channels in lock-step, the first is the one that is waited for.
        if self.refreshed % self.refresh_commands == 0:
            until = now + self.spans.rfc
            self.open_from = [max(until, cycle) for cycle in self.open_from]
            self.refresh_from = until
        self.refreshed += 1
        return True
