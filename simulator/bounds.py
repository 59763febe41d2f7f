"""Bounds on the cycles of every node, its energy and its choices, on arrays of design points.

The lower bound holds for any schedule, the upper bound for any schedule that keeps no server idle while a
step waits for it. Neither rises when a step is busy for less time, a unit has more servers, or a hold has
more capacity; the exception is the upper bound of a Choose on cycles, where the choice itself may change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dse.simulator.arrays import ONE, ZERO, add_to, total
from dse.simulator.chains import chains_of
from dse.simulator.loops import LoopCosts
from dse.simulator.program import (
    Body,
    Choose,
    Leaf,
    Loop,
    Par,
    Seq,
    Sub,
    children_of,
    leaf_body,
    nodes_of,
    units_of,
)
from dse.simulator.structure import LATENCY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dse.simulator.arrays import Array
    from dse.simulator.points import Points
    from dse.simulator.program import Action, Branch, Node


def costs(node: Loop | Body, points: Points) -> LoopCosts:
    """Costs of a Body or of a Loop over one."""
    return points.once("costs", node, lambda: LoopCosts(node, points))


def lower(node: Node, points: Points) -> Array:
    """Lower bound on the cycles of a node."""
    if isinstance(node, Leaf):
        return points.once("lower", node, lambda: _longest(node, points))
    return points.once("lower", node, lambda: _lower(node, points))


def _longest(node: Leaf, points: Points) -> Array:
    longest: Array = np.maximum.reduce(np.broadcast_arrays(*leaf_terms(node, points).values()))
    return longest


def expected(node: Node, points: Points) -> Array:
    """Cycles to expect of a node: the lower bound, but for leaves that know better."""
    if isinstance(node, Leaf):
        found = points.once("expected", node, lambda: node.expected(points))
        return lower(node, points) if found is None else found
    if not any(isinstance(inner, Leaf | Sub) for inner in nodes_of(node)):
        return lower(node, points)
    return points.once("expected", node, lambda: _lower(node, points, expected))


def _lower(node: Branch, points: Points, of: Callable[[Node, Points], Array] = lower) -> Array:
    """Cycles of a node from those of the nodes below it."""
    if isinstance(node, Sub):
        return of(node.program.root, points.inside(node)) * points.ratio(node)
    if isinstance(node, Loop | Body):
        if leaf_body(node) is not None:
            return costs(node, points).bound[0]
        assert isinstance(node, Loop)
        return repeats(node, points) * of(node.body, points)
    spans = [of(child, points) for child in node.children]
    if isinstance(node, Seq):
        return total(spans)
    if isinstance(node, Choose):
        return select(spans, chosen(node, points))
    longest = spans[0]
    for span in [*spans[1:], *shared_work(node, points).values()]:
        longest = np.maximum(longest, span)
    return overlapped(longest, total(spans), node, points)


def leaf_terms(node: Leaf, points: Points) -> dict[str, Array]:
    """What can bound a leaf, in cycles."""
    return points.once("terms", node, lambda: node.terms(points))


def repeats(node: Loop, points: Points) -> Array:
    """Iterations of a loop."""
    return points.checked(node.count, "count", node.name)


def overlapped(together: Array, apart: Array, node: Par, points: Points) -> Array:
    """Cycles of children side by side, given those with full overlap and those one after another."""
    if node.overlap is ONE:
        return together
    overlap = points.at(node.overlap)
    return overlap * together + (1.0 - overlap) * np.maximum(apart, together)


def select(values: list[Array], choice: Array) -> Array:
    """Value of the chosen child at each point."""
    found = values[0]
    for number, value in enumerate(values[1:], start=1):
        found = np.where(choice == number, value, found)
    return found


def chosen(node: Choose, points: Points) -> Array:
    """Index of the child with the least lower bound on cycles, or the least joules; the first of equals."""

    def work() -> Array:
        value = lower if node.objective == "cycles" else joules
        best = value(node.children[0], points)
        found = ZERO
        for number, child in enumerate(node.children[1:], start=1):
            candidate = value(child, points)
            better = candidate < best
            best = np.where(better, candidate, best)
            found = np.where(better, float(number), found)
        return found

    return points.once("chosen", node, work)


def own_work(node: Node, points: Points) -> dict[str, Array]:
    """Server-cycles of each unit of this clock domain in a node."""
    if isinstance(node, Sub):
        return {}
    if isinstance(node, Leaf):
        return points.once("work", node, lambda: node.work(points))
    if isinstance(node, Loop | Body) and leaf_body(node) is not None:
        loop = costs(node, points)
        return {unit.name: loop.work(unit) for unit in loop.plan.units}
    if isinstance(node, Loop):
        return {name: repeats(node, points) * work for name, work in own_work(node.body, points).items()}
    found: dict[str, Array] = {}
    for number, child in enumerate(children_of(node)):
        for name, work in own_work(child, points).items():
            if isinstance(node, Choose):
                work = np.where(chosen(node, points) == number, work, 0.0)  # noqa: PLW2901
            found[name] = found[name] + work if name in found else work
    return found


def shared_work(node: Par, points: Points) -> dict[str, Array]:
    """Cycles each unit that several children use is busy, with all of its servers."""
    users = [units_of(child) for child in node.children]
    shared = {name for name in set().union(*users) if sum(name in units for units in users) > 1}
    return {
        name: work / points.at(points.program.units[name].count)
        for name, work in own_work(node, points).items()
        if name in shared
    }


def together(node: Par) -> list[list[Node]]:
    """Children of a Par in groups that share units; groups do not disturb each other."""
    groups: list[tuple[set[str], list[Node]]] = []
    for child in node.children:
        units, members = units_of(child), [child]
        for group in [g for g in groups if g[0] & units]:
            units, members = units | group[0], [*group[1], *members]
            groups.remove(group)
        groups.append((units, members))
    return [members for _, members in groups]


def upper(node: Node, points: Points) -> Array:
    """Upper bound on the cycles of a node that has its units to itself."""
    if isinstance(node, Leaf):
        return points.once("upper", node, lambda: node.upper(points))
    return points.once("upper", node, lambda: _upper(node, points))


def _upper(node: Branch, points: Points) -> Array:
    if isinstance(node, Sub):
        return upper(node.program.root, points.inside(node)) * points.ratio(node)
    if isinstance(node, Loop | Body):
        if leaf_body(node) is not None:
            return _greedy([node], points)
        assert isinstance(node, Loop)
        return repeats(node, points) * upper(node.body, points)
    spans = [upper(child, points) for child in node.children]
    if isinstance(node, Seq):
        return total(spans)
    if isinstance(node, Choose):
        return select(spans, chosen(node, points))
    longest = ZERO
    for group in together(node):
        alone = len(group) == 1
        longest = np.maximum(longest, upper(group[0], points) if alone else _greedy(group, points))
    return overlapped(longest, total(spans), node, points)


def _greedy(group: list[Node], points: Points) -> Array:
    """Upper bound for nodes side by side whose steps never wait for an idle server.

    Go back from the last step to end: each step on the way was waiting for its unit, or ran, or was delayed.
    While it waits all c servers of the unit are busy, so that a unit takes at most 1/c of its work, and 1 -
    1/c of its busy time on the way; the rest of the way is latency. (R. L. Graham, "Bounds on
    multiprocessing timing anomalies", 1969, for several kinds of server.) A modulo schedule would be
    shorter, but does not bound a greedy one. Each kind of time on the way is bounded for itself, none above
    the unit's work, so that more servers never raise the sum.
    """
    work: dict[str, Array] = {}
    chain: dict[str, Array] = {}
    for node in group:
        for name, cycles in own_work(node, points).items():
            work[name] = work[name] + cycles if name in work else cycles
        for name, cycles in chains(node, points).items():
            chain[name] = np.maximum(chain[name], cycles) if name in chain else cycles
    found = chain[LATENCY]
    for name, cycles in work.items():
        servers = points.at(points.program.units[name].count)
        found = found + cycles / servers
        if name in chain:
            found = found + (1.0 - 1.0 / servers) * chain[name]
    return found


def chains(node: Node, points: Points) -> dict[str, Array]:
    """Most cycles of latency, and of units with servers to spare, on a chain of waiting steps of a node."""
    if isinstance(node, Sub | Leaf):
        return {LATENCY: upper(node, points)}
    if isinstance(node, Loop | Body):
        if leaf_body(node) is not None:
            return chains_of(costs(node, points))
        assert isinstance(node, Loop)
        return {name: repeats(node, points) * part for name, part in chains(node.body, points).items()}
    parts = [chains(child, points) for child in node.children]
    found = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        column = [part.get(name, ZERO) for part in parts]
        if isinstance(node, Choose):
            found[name] = select(column, chosen(node, points))
        else:
            found[name] = (
                total(column) if isinstance(node, Seq) else np.maximum.reduce(np.broadcast_arrays(*column))
            )
    if isinstance(node, Par) and node.overlap is not ONE:
        apart = total(upper(child, points) for child in node.children)
        found[LATENCY] = found[LATENCY] + (1.0 - points.at(node.overlap)) * apart
    return found


class Row(NamedTuple):
    """One action of one step in the tree, and how often the step is executed."""

    path: str
    action: Action
    runs: Array
    points: Points


def rows(node: Node, points: Points, times: Array | None = None, prefix: str = "") -> Iterator[Row]:
    """Actions of a node in ledger order: tree order, then the order of steps and of their actions."""
    path = prefix + node.name
    if isinstance(node, Sub):
        yield from rows(node.program.root, points.inside(node), times, path + "/")
    elif isinstance(node, Leaf):
        for label, action, runs in node.actions(points):
            yield Row(f"{path}/{label}", action, runs if times is None else times * runs, points)
    elif isinstance(node, Loop | Body) and (body := leaf_body(node)) is not None:
        loop = costs(node, points)
        for number, step in enumerate(body.steps):
            if step.actions:
                runs = loop.runs(number)
                executed = runs if times is None else times * runs
                for action in step.actions:
                    yield Row(f"{path}/{step.name}", action, executed, points)
    elif isinstance(node, Loop):
        count = repeats(node, points)
        yield from rows(node.body, points, count if times is None else times * count, path + "/")
    else:
        for number, child in enumerate(children_of(node)):
            here = times
            if isinstance(node, Choose):
                here = np.where(chosen(node, points) == number, ONE if times is None else times, 0.0)
            yield from rows(child, points, here, path + "/")


def joules(node: Node, points: Points) -> Array:
    """Energy of one execution of a node: the sum over its ledger rows, left to right."""
    return _charged(ZERO, node, points, None)


def _charged(found: Array, node: Node, points: Points, times: Array | None) -> Array:
    """``found`` plus the energy of the rows of a node, in ledger order."""
    if isinstance(node, Sub):
        return _charged(found, node.program.root, points.inside(node), times)
    if isinstance(node, Leaf):
        for label, action, runs in node.actions(points):
            if action.joules is not ZERO:
                each = points.checked(action.joules, "joules", label, unknown=True)
                found = found + (runs if times is None else times * runs) * each
        return found
    if isinstance(node, Loop | Body) and leaf_body(node) is not None:
        loop = costs(node, points)
        for number, name, energy in points.keep("charges", node, lambda: _charges(node)):
            runs = loop.runs(number)
            executed = runs if times is None else times * runs
            row = executed * points.checked(energy, "joules", name, unknown=True)
            found = row if found is ZERO else add_to(row, found)
        return found
    if isinstance(node, Loop):
        count = repeats(node, points)
        return _charged(found, node.body, points, count if times is None else times * count)
    for number, child in enumerate(children_of(node)):
        here = times
        if isinstance(node, Choose):
            here = np.where(chosen(node, points) == number, ONE if times is None else times, 0.0)
        found = _charged(found, child, points, here)
    return found


def _charges(node: Loop | Body) -> list[tuple[int, str, Array]]:
    """Actions of a loop body that cost energy: the step's number and name, and the joules."""
    body = leaf_body(node)
    assert body is not None
    return [
        (number, step.name, action.joules)
        for number, step in enumerate(body.steps)
        for action in step.actions
        if action.joules is not ZERO
    ]
