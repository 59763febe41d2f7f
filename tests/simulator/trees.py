"""Random program trees for the properties that hold on every node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from dse.simulator.arrays import Array
from dse.simulator.program import (
    Action,
    Body,
    Choose,
    Constraint,
    Edge,
    Hold,
    Leaf,
    Loop,
    Node,
    Par,
    Program,
    Seq,
    Step,
    Sub,
    Unit,
    nodes_of,
)

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

Change = Callable[[Array], Array]
UNITS = ("a", "b", "c")
EXAMPLES = 40
MANY_EXAMPLES = 1000


def columns(low: int, high: int, points: int, quarter: bool = False) -> st.SearchStrategy[Array]:
    """Arrays of shape (points,) or (1,) of whole numbers, or of quarters: sums of them are exact."""
    scale = 4 if quarter else 1
    values = st.integers(low * scale, high * scale).map(lambda v: v / scale)
    sizes = st.sampled_from([1, points])
    return sizes.flatmap(lambda n: st.lists(values, min_size=n, max_size=n)).map(np.array)


@st.composite
def steps(draw: DrawFn, name: str, points: int) -> Step:
    unit = draw(st.sampled_from([*UNITS, *UNITS, None]))
    busy = draw(columns(0, 9, points, quarter=True))
    joules = draw(columns(0, 9, points))
    action = Action(draw(st.sampled_from(["x", "y"])), name, name, "use", busy, joules * 3, joules / 3)
    actions = (action,) * draw(st.integers(0, 2))
    latency = draw(columns(0, 12, points))
    if draw(st.integers(0, 3)):
        return Step(name, unit, busy, latency, actions)
    return Step(name, unit, busy, latency, actions, draw(columns(1, 3, points)), draw(st.booleans()))


@st.composite
def bodies(draw: DrawFn, name: str, points: int) -> Body:
    size = draw(st.integers(1, 5))
    inside = tuple(draw(steps(f"s{i}", points)) for i in range(size))
    edges = [Edge(f"s{i}", f"s{j}") for j in range(size) for i in range(j) if draw(st.integers(0, 2)) == 0]
    for _ in range(draw(st.integers(0, 2))):
        source, target = draw(st.integers(0, size - 1)), draw(st.integers(0, size - 1))
        edges.append(Edge(f"s{source}", f"s{target}", draw(columns(1, 3, points))))
    return Body(name, inside, tuple(edges))


@st.composite
def loops(draw: DrawFn, name: str, points: int, longest: int = 7) -> Loop:
    body = draw(bodies("body", points))
    holds = []
    for i in range(draw(st.integers(0, 2))):
        first, last = sorted(draw(st.tuples(*[st.integers(0, len(body.steps) - 1)] * 2)))
        holds.append(Hold(f"h{i}", f"s{first}", f"s{last}", draw(columns(1, 4, points))))
    return Loop(name, draw(columns(0, longest, points)), body, tuple(holds))


@st.composite
def nodes(draw: DrawFn, name: str, points: int, depth: int, longest: int = 7) -> Node:
    leaf = st.one_of(bodies(name, points), loops(name, points, longest))
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return draw(leaf)
    kind = draw(st.sampled_from([Seq, Par, Par, Choose, Loop, Sub]))
    if kind is Loop:
        return Loop(name, draw(columns(0, 3, points)), draw(nodes("inner", points, depth - 1, longest)))
    if kind is Sub:
        return Sub(name, draw(programs(points, depth - 1, longest)))
    children = tuple(
        draw(nodes(f"{name}{i}", points, depth - 1, longest)) for i in range(draw(st.integers(1, 3)))
    )
    if kind is Par:
        overlap = draw(st.sampled_from([1.0, 1.0, 0.5, 0.0]))
        return Par(name, children) if overlap == 1.0 else Par(name, children, overlap)
    if kind is Choose:
        return Choose(name, children, draw(st.sampled_from(["cycles", "joules"])))
    return Seq(name, children)


@st.composite
def programs(
    draw: DrawFn, points: int = 1, depth: int = 2, longest: int = 7, constrained: bool = False
) -> Program:
    root = draw(nodes("n", points, depth, longest))
    units = {
        name: Unit(name, draw(columns(1, 3, points))) if draw(st.booleans()) else Unit(name) for name in UNITS
    }
    constraints: tuple[Constraint, ...] = ()
    if constrained:
        demand, bound = draw(columns(0, 9, points)), draw(columns(3, 9, points))
        constraints = (Constraint("fits", demand, bound, "bytes", ("less",)),)
    return Program(root, units, draw(st.sampled_from([1.0, 2.0, 4.0])), constraints)


def changed(
    program: Program,
    busy: Change | None = None,
    capacity: Change | None = None,
    servers: Change | None = None,
) -> Program:
    """The same program with its busy times, capacities or servers changed, inner programs included."""

    def same(values: Array) -> Array:
        return values

    busy, capacity, servers = busy or same, capacity or same, servers or same

    def node_of(node: Node) -> Node:
        if isinstance(node, Sub):
            return Sub(node.name, changed(node.program, busy, capacity, servers))
        if isinstance(node, Body):
            return replace(node, steps=tuple(with_busy(step) for step in node.steps))
        if isinstance(node, Loop):
            holds = tuple(replace(hold, capacity=capacity(hold.capacity)) for hold in node.holds)
            return Loop(node.name, node.count, node_of(node.body), holds)
        assert not isinstance(node, Leaf), "random trees have no leaves"
        return replace(node, children=tuple(node_of(child) for child in node.children))

    def with_busy(step: Step) -> Step:
        rest = (step.every, step.first) if step.sparse else ()
        return Step(step.name, step.unit, busy(step.busy), step.latency, step.actions, *rest)

    units = {name: Unit(name, servers(unit.count)) for name, unit in program.units.items()}
    return Program(node_of(program.root), units, program.clock_hz, program.constraints)


def at_point(program: Program, point: int) -> Program:
    """The program of one design point alone, of the same structure."""

    def one(values: Array) -> Array:
        return values if len(values) == 1 else values[point : point + 1].copy()

    def node_of(node: Node) -> Node:
        if isinstance(node, Sub):
            return Sub(node.name, at_point(node.program, point))
        if isinstance(node, Body):
            edges = tuple(Edge(e.source, e.target, one(e.distance)) for e in node.edges)
            return Body(node.name, tuple(step_of(step) for step in node.steps), edges)
        if isinstance(node, Loop):
            holds = tuple(replace(hold, capacity=one(hold.capacity)) for hold in node.holds)
            return Loop(node.name, one(node.count), node_of(node.body), holds)
        if isinstance(node, Par):
            return Par(node.name, tuple(node_of(c) for c in node.children), one(node.overlap))
        assert not isinstance(node, Leaf), "random trees have no leaves"
        return replace(node, children=tuple(node_of(child) for child in node.children))

    def step_of(step: Step) -> Step:
        actions = tuple(
            replace(a, count=one(a.count), bytes=one(a.bytes), joules=one(a.joules)) for a in step.actions
        )
        rest = (one(step.every), step.first) if step.sparse else ()
        return Step(step.name, step.unit, one(step.busy), one(step.latency), actions, *rest)

    units = {name: Unit(name, one(unit.count)) for name, unit in program.units.items()}
    constraints = tuple(replace(c, demand=one(c.demand), bound=one(c.bound)) for c in program.constraints)
    return Program(node_of(program.root), units, one(program.clock_hz), constraints)


def has_choice(program: Program) -> bool:
    """Whether what runs depends on the cycles of its alternatives."""
    return any(
        (isinstance(node, Choose) and node.objective == "cycles")
        or (isinstance(node, Sub) and has_choice(node.program))
        for node in nodes_of(program.root)
    )
