"""Schedule of a channel's requests, command by command.

Every cycle takes the best command and, where it is a row command and the next best one a column command or the other
way round, that one too. Refreshes come first, but column commands may go beside them and so put them off, eight at
most. Cycles in which nothing can be issued are skipped to the next one in which something can.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dse.simulator.dram_channel import (
    ACCESS,
    CLOSE,
    OPEN,
    PUT_OFF,
    READ,
    REFRESH,
    ROW_COMMANDS,
    Channel,
    Request,
    Rules,
)
from dse.simulator.dram_queue import NEVER, Queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.arch.memories.dram import Dram


@dataclass
class Schedule:
    """What a channel did: cycle of its last command, of the last data of each read, commands by kind."""

    cycles: int = 0
    reads: dict[int, int] = field(default_factory=dict)
    commands: dict[int, int] = field(default_factory=dict)

    @property
    def issued(self) -> int:
        """Commands issued."""
        return sum(self.commands.values())


class Scheduler:
    """Serves queues in order of priority on one channel."""

    def __init__(self, dram: Dram, rules: Rules, streams: Sequence[Sequence[Request]]) -> None:
        self.channel = Channel(dram, rules)
        self.queues = [Queue(stream, self.channel) for stream in streams]
        self.found = Schedule()
        self.pending = 0
        self.left = sum(queue.length for queue in self.queues)
        self.due = self.channel.spans.refi if rules.refresh else NEVER
        self.alone = CLOSE if rules.published and rules.sets > 1 else -1

    def run(self) -> Schedule:
        """Issue everything."""
        now, queues = 1, self.queues
        for queue in queues:
            queue.fill()
        while self.pending or self.left:
            if now >= self.due:
                self.due += self.channel.spans.refi
                self.pending += self.channel.refresh_commands
            soonest = self._cycle(now)
            now = max(now + 1, soonest if self.pending else min(soonest, self.due))
        return self.found

    def _cycle(self, now: int) -> int:
        """One cycle: what is issued in it; a cycle before which nothing else can be."""
        if self.pending:
            soonest = self.channel.refresh_ready()
            issued = soonest <= now
            if issued:
                self._refresh(now)
            beside = NEVER if self.pending > PUT_OFF else self._beside(REFRESH, now)
            issued, soonest = issued or beside == now, min(soonest, beside)
        else:
            queue, sort, soonest = self._best(now)
            issued = queue is not None
            if queue is not None:
                self._beside(self._serve(queue, sort, now), now)
        if not issued:
            return soonest
        for queue in self.queues:
            queue.fill()
        self.found.cycles = now
        return now + 1

    def _best(self, now: int) -> tuple[Queue | None, int, int]:
        """The queue and the sort of request to serve, and a cycle before which none can be."""
        soonest = NEVER
        for queue in self.queues:
            sort, cycle = queue.best(now)
            if sort >= 0:
                return queue, sort, now
            soonest = min(soonest, cycle)
        return None, -1, soonest

    def _beside(self, first: int, now: int) -> int:
        """A second command of the other type if it is the next best one; ``now`` if there was one, else later."""
        is_row = first in ROW_COMMANDS
        alone = not is_row and not any(queue.turning for queue in self.queues)
        if alone or not self.channel.rules.paired:
            for each in self.queues:
                each.pass_wall()
            return now + 1
        queue, sort, soonest = self._best(now)
        if queue is None:
            return max(soonest, now + 1)
        command = queue.wants(sort)
        if (command in ROW_COMMANDS) == is_row or self.alone in (first, command):
            return now + 1
        self._serve(queue, sort, now)
        return now

    def _serve(self, queue: Queue, sort: int, now: int) -> int:
        """Issue the command a sort of request needs next; which one it was."""
        channel, request, command = self.channel, queue.requests[sort], queue.wants(sort)
        self.found.commands[command] = self.found.commands.get(command, 0) + 1
        if command == ACCESS:
            channel.use(request.place, now)
            queue.take(sort)
            self.left -= 1
        elif command not in ROW_COMMANDS:
            channel.transfer(request, now)
            number = queue.take(sort)
            self.left -= 1
            if command == READ:
                self.found.reads[number] = now + channel.spans.cl + channel.spans.burst
        else:
            if command == OPEN:
                channel.open(request, queue.banks[sort], now)
            else:
                channel.close(queue.banks[sort], now)
            self._rows_changed()
        return command

    def _rows_changed(self) -> None:
        for queue in self.queues:
            queue.rows_changed()

    def _refresh(self, now: int) -> None:
        """Issue the next command of a refresh."""
        if self.channel.refresh(now):
            self.pending -= 1
            self.found.commands[REFRESH] = self.found.commands.get(REFRESH, 0) + 1
        self._rows_changed()


def schedule(dram: Dram, rules: Rules, *streams: Sequence[Request]) -> Schedule:
    """Commands of one channel for streams of requests, the first stream before the others."""
    return Scheduler(dram, rules, streams).run()
