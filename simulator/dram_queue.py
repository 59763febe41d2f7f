"""Requests of one traffic class in order, and the few of them a channel's controller looks at.

First ready first served, then first come. Requests alike are one sort: what one of them waits for they all wait for,
so that a look costs as much as there are sorts in view. Barriers hold back all but row commands.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from dse.simulator.dram_channel import ACCESS, BARRIER, MOVE, READ, SIGNAL, Channel, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

NEVER = 1 << 60
Places = dict[int, deque[int]]


class Queue:
    """Requests in order; each sort in view with the numbers of its requests."""

    def __init__(self, requests: Sequence[Request], channel: Channel) -> None:
        self.channel, self.view = channel, channel.rules.view
        sorts: dict[Request, int] = {}
        self.stream = [sorts.setdefault(request, len(sorts)) for request in requests]
        self.requests = list(sorts)
        self.banks = [channel.reach(request) for request in self.requests]
        self.kinds = [request.kind for request in self.requests]
        self.reads = READ in self.kinds
        self.command: dict[int, int] = {}
        self.from_row: dict[int, int] = {}
        self.columns: Places = {}
        self.hits: Places = {}
        self.turns: Places = {}
        self.moves: Places = {}
        self.walls: deque[int] = deque()
        self.free: list[int] | None = None
        self.done = bytearray(len(self.stream) + 1)
        self.head = self.next = self.count = 0

    @property
    def length(self) -> int:
        """Requests but for barriers."""
        return sum(self.kinds[sort] != BARRIER for sort in self.stream)

    def fill(self) -> None:
        """Look at further requests as far as the view goes."""
        while self.count < self.view and self.next < len(self.stream):
            sort, number = self.stream[self.next], self.next
            self.next += 1
            self.count += 1
            kind = self.kinds[sort]
            if kind == BARRIER:
                self.walls.append(number)
                continue
            places = self.columns if kind <= ACCESS else self.moves
            if sort in places:
                places[sort].append(number)
            else:
                places[sort] = deque((number,))
                if kind <= ACCESS:
                    self._classify(sort)

    def _classify(self, sort: int) -> None:
        """Note which command a sort of reads or accesses needs next."""
        self.free = None
        request, banks = self.requests[sort], self.banks[sort]
        command = self.channel.wanted(request, banks)
        self.command[sort] = command
        if command <= ACCESS:
            self.hits[sort] = self.columns[sort]
            self.from_row[sort] = max(self.channel.column_from[banks])
        else:
            self.turns[sort] = self.columns[sort]

    def rows_changed(self) -> None:
        """Look again at what everything in view needs next."""
        self.hits.clear()
        self.turns.clear()
        for sort in self.columns:
            self._classify(sort)

    def best(self, now: int) -> tuple[int, int]:
        """The sort to serve, -1 for none; and a cycle before which none can be served."""
        self.pass_wall()
        limit = self.walls[0] if self.walls else NEVER
        best = self._best_hit(now, limit)
        if self.moves:
            best = self._best_move(now, limit, best)
        if self.turning:
            best = self._best_turn(now, NEVER if self.channel.rules.ahead else limit, best)
        return best[0], best[2]

    def _best_hit(self, now: int, limit: int) -> tuple[int, int, int]:
        """Oldest ready request for an open row."""
        found, first, soonest, channel = -1, NEVER, NEVER, self.channel
        if not self.hits:
            return found, first, soonest
        gate = channel.path if self.reads else channel.access
        if gate > now:
            return found, first, gate
        for sort, numbers in self.hits.items():
            number = numbers[0]
            if number < limit and number < first:
                cycle = self.from_row[sort]
                if self.reads:
                    cycle = max(cycle, channel.path_ready(self.requests[sort].place))
                if cycle <= now:
                    found, first = sort, number
                elif cycle < soonest:
                    soonest = cycle
        return found, first, soonest

    def _best_move(self, now: int, limit: int, best: tuple[int, int, int]) -> tuple[int, int, int]:
        """The better of ``best`` and the oldest ready move or signal."""
        found, first, soonest = best
        held = self._held() if self.channel.rules.published else ()
        for sort, numbers in self.moves.items():
            number = numbers[0]
            if number < limit and number < first:
                place = self.requests[sort].place
                cycle = 0 if self.kinds[sort] == SIGNAL else self.channel.path_ready(place)
                if cycle > now:
                    soonest = min(soonest, cycle)
                elif number == self.head or place not in held:
                    found, first = sort, number
        return found, first, soonest

    def _best_turn(self, now: int, limit: int, best: tuple[int, int, int]) -> tuple[int, int, int]:
        """The better of ``best`` and the oldest request whose row can be opened or closed."""
        found, first, soonest = best
        if self.channel.row_bus > now:
            return found, first, min(soonest, self.channel.row_bus)
        known: dict[int, int] = {}
        for sort in self._open_turns():
            number, place = self.turns[sort][0], self.requests[sort].place
            if number > limit:
                continue
            cycle = known.get(place)
            if cycle is None:
                request, banks = self.requests[sort], self.banks[sort]
                cycle = known[place] = self.channel.turn_ready(self.command[sort], request, banks)
            if cycle > now:
                soonest = min(soonest, cycle)
            elif number < first:
                found, first = sort, number
        return found, first, soonest

    def _open_turns(self) -> list[int]:
        """Sorts whose row may be opened or closed: no request in view is for the row their bank has open.

        The oldest request of all is held back by none.
        """
        if self.free is None:
            held = self._held()
            self.free = [sort for sort in self.turns if self.requests[sort].place not in held]
        head = self.stream[self.head] if self.count else -1
        if head in self.turns and head not in self.free:
            return [*self.free, head]
        return self.free

    def _held(self) -> set[int]:
        """Places with requests in view for the row that is open."""
        return {self.requests[sort].place for sort in self.hits}

    def pass_wall(self) -> None:
        """Drop a barrier that has come to the head."""
        if self.walls and self.walls[0] == self.head:
            self.done[self.walls.popleft()] = 1
            self.count -= 1
            self._advance()

    def _advance(self) -> None:
        while self.done[self.head]:
            self.head += 1

    def wants(self, sort: int) -> int:
        """Command a sort needs next."""
        return self.command.get(sort, MOVE)

    def take(self, sort: int) -> int:
        """Remove the oldest request of a sort; its number."""
        places = self.columns if self.kinds[sort] <= ACCESS else self.moves
        numbers = places[sort]
        number = numbers.popleft()
        if not numbers:
            del places[sort]
            self.hits.pop(sort, None)
            self.free = None
        self.done[number] = 1
        self.count -= 1
        self._advance()
        return number

    @property
    def turning(self) -> bool:
        """Whether anything in view may have a row opened or closed."""
        return bool(self.turns and self._open_turns())
