"""Structural faults of a program tree: names, dependences, holds. Values are checked where they are used."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import networkx as nx

from dse.errors import Problem, nearest
from dse.simulator.program import Body, Choose, Leaf, Loop, Par, Sub, children_of, nodes_of, units_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dse.simulator.program import Node, Program

OBJECTIVES = ("cycles", "joules")


def problems_of(program: Program) -> list[Problem]:
    """Every structural fault of the program, none of its inner programs (those were checked when built)."""
    found = [
        Problem(f"unit stands under the name {key!r} but is called {unit.name!r}")
        for key, unit in program.units.items()
        if key != unit.name
    ]
    subs: list[str] = []
    found += _node_problems(program.root, program.root.name, program, subs)
    found += [
        Problem(f"clock domain {name!r} occurs {n} times") for name, n in Counter(subs).items() if n > 1
    ]
    return found


def _node_problems(node: Node, path: str, program: Program, subs: list[str]) -> Iterator[Problem]:
    if isinstance(node, Sub):
        subs.append(node.name)
        return
    if isinstance(node, Leaf):
        for unit in sorted(node.units - program.units.keys()):
            yield Problem(f"runs on unknown unit {unit!r}{nearest(unit, program.units)}", path=path)
        yield from node.problems(path, program)
        return
    if isinstance(node, Body):
        yield from _body_problems(node, path, program)
        return
    below = children_of(node)
    if not below:
        yield Problem("has no children", path=path)
    yield from _repeated((child.name for child in below), "child", path)
    if isinstance(node, Choose) and node.objective not in OBJECTIVES:
        yield Problem(f"objective is {node.objective!r}; allowed: {', '.join(OBJECTIVES)}", path=path)
    if isinstance(node, Par):
        yield from _shared_with_leaves(node, path)
    if isinstance(node, Loop) and node.holds:
        yield from _hold_problems(node, path)
    for child in below:
        yield from _node_problems(child, f"{path}/{child.name}", program, subs)


def _shared_with_leaves(node: Par, path: str) -> Iterator[Problem]:
    """Units of leaves that another child of the same Par uses as well."""
    for child in node.children:
        others = set().union(*(units_of(other) for other in node.children if other is not child))
        for leaf in (inner for inner in nodes_of(child) if isinstance(inner, Leaf)):
            for unit in sorted(leaf.units & others):
                yield Problem(
                    f"{leaf.name!r} does not share its unit {unit!r} with other children", path=path
                )


def _repeated(names: Iterable[str], what: str, path: str) -> Iterator[Problem]:
    for name, times in Counter(names).items():
        if times > 1:
            yield Problem(f"{what} {name!r} occurs {times} times", path=path)


def _body_problems(body: Body, path: str, program: Program) -> Iterator[Problem]:
    if not body.steps:
        yield Problem("has no steps", path=path)
    names = [step.name for step in body.steps]
    yield from _repeated(names, "step", path)
    for step in body.steps:
        if step.unit is not None and step.unit not in program.units:
            hint = nearest(step.unit, program.units)
            yield Problem(f"step {step.name!r} runs on unknown unit {step.unit!r}{hint}", path=path)
    for edge in body.edges:
        yield from _unknown((edge.source, edge.target), names, "edge", path)
        if edge.carried and not bool((edge.distance >= 1).all()):
            yield Problem(
                f"edge {edge.source} -> {edge.target} has a distance below 1 at some points", path=path
            )
    graph = nx.DiGraph([(e.source, e.target) for e in body.edges if not e.carried])
    if not nx.is_directed_acyclic_graph(graph):
        cycle = [source for source, _ in nx.find_cycle(graph)]
        yield Problem(f"steps wait for each other: {' -> '.join([*cycle, cycle[0]])}", path=path)


def _hold_problems(loop: Loop, path: str) -> Iterator[Problem]:
    if not isinstance(loop.body, Body):
        yield Problem("holds need a loop whose body is a graph of steps", path=path)
        return
    yield from _repeated((hold.name for hold in loop.holds), "hold", path)
    names = [step.name for step in loop.body.steps]
    for hold in loop.holds:
        yield from _unknown((hold.acquire, hold.release), names, f"hold {hold.name!r}", path)


def _unknown(used: Iterable[str], names: list[str], what: str, path: str) -> Iterator[Problem]:
    for name in used:
        if name not in names:
            yield Problem(f"{what} names unknown step {name!r}{nearest(name, names)}", path=path)
