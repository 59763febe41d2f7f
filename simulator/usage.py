"""Where the cycles go: what bounds them, what each unit does in them, and the path that takes them.

All of it follows the lower bound. In a loop body a unit is *busy* for its steps, *idle* from the start
until its first step can start and after its last has ended (fill and drain), and *stalled* for the rest, by
what bounds the body. In a node where it has no work it is idle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ZERO, total
from dse.simulator.bounds import chosen, costs, leaf_terms, lower, own_work, repeats, shared_work
from dse.simulator.program import Body, Choose, Leaf, Loop, Par, Seq, Sub, leaf_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from dse.simulator.arrays import Array
    from dse.simulator.points import Points
    from dse.simulator.program import Node

NOT_OVERLAPPED = "not overlapped"


@dataclass(frozen=True, slots=True)
class UnitTime:
    """Server-cycles of one unit: busy, stalled by cause, idle; their sum is its servers times the cycles."""

    servers: Array
    busy: Array
    stall: dict[str, Array]
    idle: Array

    @property
    def stalled(self) -> Array:
        """Server-cycles stalled for any cause."""
        return total([np.zeros_like(self.busy), *self.stall.values()])

    def map(self, change: Callable[[Array], Array]) -> UnitTime:
        """The same with every time changed alike."""
        stall = {cause: change(cycles) for cause, cycles in self.stall.items()}
        return UnitTime(self.servers, change(self.busy), stall, change(self.idle))


def shares(node: Node, points: Points) -> dict[str, Array]:
    """Cycles of a node by what bounds them; they sum to its lower bound."""
    if isinstance(node, Sub):
        ratio = points.ratio(node)
        inner = shares(node.program.root, points.inside(node))
        return {f"{node.name}/{name}": part * ratio for name, part in inner.items()}
    if isinstance(node, Leaf):
        return leaf_shares(node, points)
    if isinstance(node, Loop | Body):
        if leaf_body(node) is not None:
            cycles, code = costs(node, points).bound
            names = costs(node, points).plan.names
            return {name: np.where(code == number, cycles, 0.0) for number, name in enumerate(names)}
        assert isinstance(node, Loop)
        return {name: repeats(node, points) * part for name, part in shares(node.body, points).items()}
    parts = [shares(child, points) for child in node.children]
    if isinstance(node, Par):
        return _par_shares(node, parts, points)
    if isinstance(node, Choose):
        parts = [_masked(part, chosen(node, points) == number) for number, part in enumerate(parts)]
    return _summed(parts)


def leaf_shares(node: Leaf, points: Points) -> dict[str, Array]:
    """Cycles of a leaf under the first of its largest terms."""
    cycles, found = lower(node, points), {}
    left = np.ones(cycles.shape, dtype=np.bool_)
    for name, term in leaf_terms(node, points).items():
        here = left & (term == cycles)
        left = left & ~here
        found[name] = np.where(here, cycles, 0.0)
    return found


def _masked(parts: dict[str, Array], mask: np.ndarray) -> dict[str, Array]:
    return {name: np.where(mask, part, 0.0) for name, part in parts.items()}


def _summed(parts: list[dict[str, Array]]) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for part in parts:
        for name, cycles in part.items():
            found[name] = found[name] + cycles if name in found else cycles
    return found


def longest_of(node: Par, points: Points) -> tuple[list[Array], list[str], Array]:
    """Candidates for the length of a fully overlapped Par, their names, and the index of the first longest.

    The candidates are its children, then the units that several of them share.
    """
    shared = shared_work(node, points)
    spans = [*(lower(child, points) for child in node.children), *shared.values()]
    best, which = spans[0], ZERO
    for number, span in enumerate(spans[1:], start=1):
        longer = span > best
        best, which = np.maximum(best, span), np.where(longer, float(number), which)
    return spans, [*(child.name for child in node.children), *shared], which


def _par_shares(node: Par, parts: list[dict[str, Array]], points: Points) -> dict[str, Array]:
    spans, names, which = longest_of(node, points)
    attained = [_masked(part, which == number) for number, part in enumerate(parts)]
    attained += [
        {names[number]: np.where(which == number, spans[number], 0.0)}
        for number in range(len(parts), len(spans))
    ]
    overlap = points.at(node.overlap)
    together = {name: overlap * cycles for name, cycles in _summed(attained).items()}
    apart = {name: (1.0 - overlap) * cycles for name, cycles in _summed(parts).items()}
    return _summed([together, apart])


def unit_times(node: Node, points: Points) -> dict[str, UnitTime]:
    """Busy, stall and idle server-cycles of every unit that a node may use, inner clock domains included."""
    if isinstance(node, Sub):
        ratio = points.ratio(node)
        inner = unit_times(node.program.root, points.inside(node))
        return {f"{node.name}/{name}": time.map(lambda t: t * ratio) for name, time in inner.items()}
    if isinstance(node, Leaf):
        return _leaf_times(node, points)
    if isinstance(node, Loop | Body):
        if leaf_body(node) is not None:
            return _loop_times(node, points)
        assert isinstance(node, Loop)
        count = repeats(node, points)
        return {name: time.map(lambda t: t * count) for name, time in unit_times(node.body, points).items()}
    parts = [unit_times(child, points) for child in node.children]
    names = list(dict.fromkeys(name for part in parts for name in part))
    return {name: _together(name, node, parts, points) for name in names}


def _leaf_times(node: Leaf, points: Points) -> dict[str, UnitTime]:
    """A unit of a leaf is busy for its work and stalled by what bounds the leaf for the rest."""
    cycles, shares_of = lower(node, points), leaf_shares(node, points)
    found = {}
    for name, busy in own_work(node, points).items():
        servers = points.at(points.program.units[name].count)
        rest = np.maximum(servers * cycles - busy, 0.0)
        stall = {cause: np.where(share > 0, rest, 0.0) for cause, share in shares_of.items() if cause != name}
        found[name] = UnitTime(servers, busy, stall, rest - total([rest * 0.0, *stall.values()]))
    return found


def _loop_times(node: Loop | Body, points: Points) -> dict[str, UnitTime]:
    loop = costs(node, points)
    cycles, code = loop.bound
    found = {}
    for unit in loop.plan.units:
        servers, busy, term = loop.servers[unit.name], loop.work(unit), loop.unit_term(unit)
        waiting = np.maximum(servers * (cycles - term.before - term.after) - busy, 0.0)
        stall = {
            name: np.where(code == number, waiting, 0.0)
            for number, name in enumerate(loop.plan.names)
            if name != unit.name
        }
        idle = servers * cycles - busy - total(stall.values())
        found[unit.name] = UnitTime(servers, busy, stall, np.maximum(idle, 0.0))
    return found


def _together(
    name: str, node: Seq | Par | Choose, parts: list[dict[str, UnitTime]], points: Points
) -> UnitTime:
    """Times of one unit in a node with children: added, chosen, or fitted into the cycles of a Par."""
    servers = next(part[name].servers for part in parts if name in part)
    busy, idle = ZERO, ZERO
    stall: dict[str, Array] = {}
    for number, (child, part) in enumerate(zip(node.children, parts, strict=True)):
        time = part.get(name) or UnitTime(servers, ZERO, {}, servers * lower(child, points))
        if isinstance(node, Choose):
            taken = chosen(node, points) == number
            time = time.map(lambda t, taken=taken: np.where(taken, t, 0.0))  # type: ignore[misc]
        busy, idle = busy + time.busy, idle + time.idle
        stall = _summed([stall, time.stall])
    if isinstance(node, Par):
        room = np.maximum(servers * lower(node, points) - busy, 0.0)
        wanted = total(stall.values())
        fitting = np.where(wanted > room, room / np.where(wanted > room, wanted, 1.0), 1.0)
        stall = {cause: cycles * fitting for cause, cycles in stall.items()}
        idle = np.maximum(room - total(stall.values()), 0.0)
    return UnitTime(servers, busy, stall, idle)


def critical_path(node: Node, points: Points, prefix: str = "") -> list[tuple[str, Array]]:
    """Labelled parts of the cycles of a node, in the order in which they pass; they sum to its bound."""
    path = prefix + node.name
    if isinstance(node, Sub):
        ratio = points.ratio(node)
        inner = critical_path(node.program.root, points.inside(node), path + "/")
        return [(label, part * ratio) for label, part in inner]
    if isinstance(node, Leaf):
        return [(f"{path}: {name}", part) for name, part in leaf_shares(node, points).items()]
    if isinstance(node, Loop | Body):
        if leaf_body(node) is not None:
            return _loop_path(node, points, path)
        assert isinstance(node, Loop)
        inner = critical_path(node.body, points, path + "/")
        return [(label, repeats(node, points) * part) for label, part in inner]
    parts = [critical_path(child, points, path + "/") for child in node.children]
    if isinstance(node, Par):
        return _par_path(node, parts, points, path)
    if isinstance(node, Choose):
        which = chosen(node, points)
        parts = [
            [(label, np.where(which == number, part, 0.0)) for label, part in inner]
            for number, inner in enumerate(parts)
        ]
    return [entry for inner in parts for entry in inner]


def _loop_path(node: Loop | Body, points: Points, path: str) -> list[tuple[str, Array]]:
    loop = costs(node, points)
    cycles, _ = loop.bound
    left = cycles > 0
    found = []
    for number, term in zip(loop.plan.codes, loop.terms(), strict=True):
        name = loop.plan.names[number]
        here = left & (term.cycles == cycles)
        left = left & ~here
        parts = (
            (f"fill before {name}", term.before),
            (name, term.middle),
            (f"drain after {name}", term.after),
        )
        found += [
            (f"{path}: {label}", np.where(here, part, 0.0)) for label, part in parts if part is not ZERO
        ]
    return found


def _par_path(
    node: Par, parts: list[list[tuple[str, Array]]], points: Points, path: str
) -> list[tuple[str, Array]]:
    spans, names, which = longest_of(node, points)
    found = []
    for number, inner in enumerate(parts):
        found += [(label, np.where(which == number, part, 0.0)) for label, part in inner]
    found += [
        (f"{path}: {names[number]}", np.where(which == number, spans[number], 0.0))
        for number in range(len(parts), len(spans))
    ]
    longest = spans[0]
    for span in spans[1:]:
        longest = np.maximum(longest, span)
    return [*found, (f"{path}: {NOT_OVERLAPPED}", lower(node, points) - longest)]
