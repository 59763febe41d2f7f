"""Operations of a stream in an order in which each one's times follow from earlier ones, whatever the durations.

What an operation waits for (its item, its server, its place, other items, its group) does not depend on times, so that
the order is found once and then evaluated on arrays of design points. If there is none, the stream locks up.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dse.errors import DseError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from dse.simulator.arrays import Array
    from dse.simulator.stream import Stream

NONE = -1
_MOST_PLANS = 256
_PLANS: dict[Hashable, Plan] = {}


class DeadlockError(DseError):
    """No operation of a stream can go on."""


class Operation(NamedTuple):
    """One item at one stage: numbers of the operations whose times it waits for.

    ``starts``: those that must have left; ``data``: those whose latency must have passed, too; ``previous``: of several
    servers, the one that starts and leaves before; ``place``: the one whose start makes room to leave into. Operations
    are numbered stage by stage; -1 is none.
    """

    stage: int
    item: int
    before: int
    through: bool
    starts: tuple[int, ...]
    data: tuple[int, ...]
    previous: int
    place: int
    group: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Operations of a stream, and an order of their starts (2 n), ends (2 n + 1) and of the gates of groups (after).

    ``members`` are the operations of each group, ``stages`` the first operation of each stage and of the next.
    """

    operations: tuple[Operation, ...]
    order: tuple[int, ...]
    members: tuple[tuple[int, ...], ...]
    stages: tuple[tuple[int, int], ...]

    def length(self, busy: Sequence[Array], latency: Sequence[Array], points: int) -> Array:
        """Cycles until the last item is through, shape (points,)."""
        _, end = self.times(busy, latency, points)
        found: Array = np.zeros(points)
        for stage, (first, after) in enumerate(self.stages):
            if first < after:
                found = np.maximum(found, end[first:after].max(axis=0) + latency[stage])
        return found

    def times(self, busy: Sequence[Array], latency: Sequence[Array], points: int) -> tuple[Array, Array]:
        """Starts and ends of the operations, shape (operations, points)."""
        operations, gates = self.operations, 2 * len(self.operations)
        start, end = (np.empty((len(operations), points)) for _ in range(2))
        opened: list[Array] = [np.zeros(points)] * len(self.members)
        for node in self.order:
            if node >= gates:
                group = node - gates
                opened[group] = self._through(self.members[group - 1], opened[group - 1], end, latency)
                continue
            number, leaving = divmod(node, 2)
            op = operations[number]
            if leaving:
                end[number] = _leaving(op, number, start, end, busy, latency, operations)
            else:
                start[number] = _starting(op, start, end, latency, operations, opened)
        return start, end

    def _through(self, members: tuple[int, ...], since: Array, end: Array, latency: Sequence[Array]) -> Array:
        """When all items of a group and of those before it are through."""
        found = since
        for number in members:
            found = np.maximum(found, end[number] + latency[self.operations[number].stage])
        return found


def _starting(
    op: Operation,
    start: Array,
    end: Array,
    latency: Sequence[Array],
    operations: Sequence[Operation],
    opened: Sequence[Array],
) -> Array:
    if op.before == NONE:
        time = opened[op.group]
    else:
        since = start if op.through else end
        time = since[op.before] + latency[operations[op.before].stage]
    for other in op.starts:
        time = np.maximum(time, end[other])
    for other in op.data:
        time = np.maximum(time, end[other] + latency[operations[other].stage])
    found: Array = np.maximum(time, start[op.previous]) if op.previous != NONE else time
    return found


def _leaving(
    op: Operation,
    number: int,
    start: Array,
    end: Array,
    busy: Sequence[Array],
    latency: Sequence[Array],
    operations: Sequence[Operation],
) -> Array:
    time = start[number] + busy[op.stage][:, op.item]
    if op.through and op.before != NONE:
        time = np.maximum(time, end[op.before] + latency[operations[op.before].stage])
    if op.place != NONE:
        time = np.maximum(time, start[op.place])
    found: Array = np.maximum(time, end[op.previous]) if op.previous != NONE else time
    return found


def plan_of_stream(stream: Stream, servers: tuple[int, ...], queues: tuple[float, ...]) -> Plan:
    """Plan of a stream with so many servers (units by name) and places in the queues (stages in order).

    Streams of one structure, whatever their durations, share a plan.

    Raises
    ------
    DeadlockError
        Some operation would wait for itself.
    """
    key = (_structure(stream), servers, queues)
    if key not in _PLANS:
        if len(_PLANS) >= _MOST_PLANS:
            _PLANS.clear()
        _PLANS[key] = _planned(stream, servers, queues)
    return _PLANS[key]


def _structure(stream: Stream) -> Hashable:
    """Everything of a stream that its plan depends on."""
    stages = tuple(
        (
            s.name,
            s.unit,
            s.through,
            np.isnan(s.busy[0]).tobytes(),
            None if s.order is None else s.order.tobytes(),
        )
        for s in stream.stages
    )
    waits = tuple((w.target, w.source, w.arrival, np.asarray(w.items).tobytes()) for w in stream.waits)
    groups = None if stream.groups is None else stream.groups.tobytes()
    return (stages, waits, groups, tuple(sorted(stream.turns.items())))


def _planned(stream: Stream, servers: tuple[int, ...], queues: tuple[float, ...]) -> Plan:
    operations = _operations(stream, dict(zip(sorted(stream.units), servers, strict=True)), queues)
    groups = sorted({op.group for op in operations})
    numbered = {group: number for number, group in enumerate(groups)}
    operations = [op._replace(group=numbered[op.group]) for op in operations]
    members: list[list[int]] = [[] for _ in groups]
    bounds = [0] * (len(stream.stages) + 1)
    for number, op in enumerate(operations):
        members[op.group].append(number)
        bounds[op.stage + 1] = number + 1
    bounds = list(accumulate(bounds, max))
    closing = tuple(tuple(group) for group in members)
    order = tuple(_ordered(operations, closing, stream))
    return Plan(tuple(operations), order, closing, tuple(pairwise(bounds)))


def _operations(stream: Stream, counts: dict[str, int], queues: tuple[float, ...]) -> list[Operation]:
    numbers, sequences = _numbered(stream)
    before, waits = _before(stream, numbers), _waits(stream, numbers)
    places = _places(stream, numbers, before, queues)
    server: dict[int, int] = {}
    previous: dict[int, int] = {}
    for unit, sequence in sequences.items():
        turn, count = [numbers[key] for key in stream.turns.get(unit, sequence)], counts[unit]
        server |= {number: turn[place - count] for place, number in enumerate(turn) if place >= count}
        if count > 1:
            previous |= {number: turn[place - 1] for place, number in enumerate(turn) if place}
    found = []
    for (stage, item), number in numbers.items():
        plain, data = waits.get(number, ((), ()))
        mine = (server[number], *plain) if number in server else plain
        group = 0 if stream.groups is None else int(stream.groups[item])
        links = (before.get(number, NONE), stream.stages[stage].through, mine, data)
        rest = (previous.get(number, NONE), places.get(number, NONE), group)
        found.append(Operation(stage, item, *links, *rest))
    return found


def _numbered(stream: Stream) -> tuple[dict[tuple[int, int], int], dict[str, list[tuple[int, int]]]]:
    """Numbers of all (stage, item), and those of each unit in order where it serves one stage."""
    numbers: dict[tuple[int, int], int] = {}
    sequences: dict[str, list[tuple[int, int]]] = {}
    for number, stage in enumerate(stream.stages):
        visited = ~np.isnan(stage.busy[0])
        order = range(stream.items) if stage.order is None else stage.order
        for item in (int(i) for i in order if visited[i]):
            numbers[number, item] = len(numbers)
            sequences.setdefault(stage.unit, []).append((number, item))
    return numbers, sequences


def _before(stream: Stream, numbers: dict[tuple[int, int], int]) -> dict[int, int]:
    """The operation of the same item in the stage it visited before."""
    found: dict[int, int] = {}
    last: dict[int, int] = {}
    for stage in range(len(stream.stages)):
        here = [(item, number) for (of, item), number in numbers.items() if of == stage]
        found |= {number: last[item] for item, number in here if item in last}
        last |= dict(here)
    return found


def _places(
    stream: Stream, numbers: dict[tuple[int, int], int], before: dict[int, int], queues: tuple[float, ...]
) -> dict[int, int]:
    """For each operation, the one whose start makes room in the queue it leaves into."""
    found: dict[int, int] = {}
    for stage, queue in enumerate(queues):
        serving = [number for (of, _), number in numbers.items() if of == stage]
        if np.isinf(queue) or stream.stages[stage].through:
            continue
        arriving = sorted(before[number] for number in serving if number in before)
        for place, number in enumerate(arriving):
            if place >= queue:
                found[number] = serving[place - int(queue)]
    return found


def _waits(
    stream: Stream, numbers: dict[tuple[int, int], int]
) -> dict[int, tuple[tuple[int, ...], tuple[int, ...]]]:
    """For each operation those it waits for: for their place, and for their data."""
    stages = {stage.name: number for number, stage in enumerate(stream.stages)}
    found: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for wait in stream.waits:
        target, source = stages[wait.target], stages[wait.source]
        for item, other in enumerate(int(i) for i in wait.items):
            if other != NONE and (target, item) in numbers and (source, other) in numbers:
                plain, data = found.get(numbers[target, item], ((), ()))
                one = (numbers[source, other],)
                pair = (plain, data + one) if wait.arrival else (plain + one, data)
                found[numbers[target, item]] = pair
    return found


def _ordered(
    operations: Sequence[Operation], closing: tuple[tuple[int, ...], ...], stream: Stream
) -> Iterator[int]:
    """Starts, ends and gates, each after what it waits for."""
    needs = [list(_needs(op, n, leaving)) for n, op in enumerate(operations) for leaving in (False, True)]
    gates = len(needs)
    for group in range(len(closing)):
        before = [gates + group - 1, *(2 * n + 1 for n in closing[group - 1])] if group else []
        needs.append(before)
    for number, op in enumerate(operations):
        if op.before == NONE:
            needs[2 * number].append(gates + op.group)
    waiting = [len(need) for need in needs]
    after: list[list[int]] = [[] for _ in needs]
    for node, need in enumerate(needs):
        for other in need:
            after[other].append(node)
    ready, done = [node for node, count in enumerate(waiting) if not count], 0
    while ready:
        node = ready.pop()
        done += 1
        if node != gates:  # the first group is open from the start
            yield node
        for other in after[node]:
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    if done < len(needs):
        stuck = next(operations[n // 2] for n, count in enumerate(waiting) if count)
        name = stream.stages[stuck.stage].name
        raise DeadlockError(f"locks up: item {stuck.item} can never pass stage {name!r}; deepen its queues")


def _needs(op: Operation, number: int, leaving: bool) -> Iterator[int]:
    """Starts and ends that a start or an end waits for."""
    if leaving:
        yield 2 * number
        if op.through and op.before != NONE:
            yield 2 * op.before + 1
        if op.place != NONE:
            yield 2 * op.place
        if op.previous != NONE:
            yield 2 * op.previous + 1
        return
    if op.before != NONE:
        yield 2 * op.before + (0 if op.through else 1)
    yield from (2 * other + 1 for other in (*op.starts, *op.data))
    if op.previous != NONE:
        yield 2 * op.previous
