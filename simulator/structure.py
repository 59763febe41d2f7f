"""What the shape of a loop body decides, worked out once and used at every design point.

From the steps' units and dependences, never from their values: which paths can be longest, which steps can
start a unit's work first or end it last, and every cycle of the dependence graph. Pruned paths are never
longer than kept ones, so that pruning changes no bit of a result.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, product
from typing import TYPE_CHECKING, NamedTuple

import networkx as nx

from dse.errors import DseError
from dse.simulator.program import Loop, leaf_body

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dse.simulator.program import Body, Program

MAX_CYCLES = 4096
LATENCY = "latency"


class StepShape(NamedTuple):
    """What of a step is structure; ``sparse`` steps may skip iterations."""

    name: str
    unit: str | None
    sparse: bool
    first: bool


class EdgeShape(NamedTuple):
    """Dependence between step indices; ``hold`` is the index of the hold it stands for, or -1."""

    source: int
    target: int
    carried: bool
    hold: int = -1


class Key(NamedTuple):
    """The structure of a loop body: all that the plan is made from."""

    steps: tuple[StepShape, ...]
    edges: tuple[EdgeShape, ...]
    holds: tuple[str, ...]
    units: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnitPlan:
    """Steps of one unit: all, those that can come first, and those that can come last."""

    name: str
    dense: tuple[int, ...]
    sparse: tuple[int, ...]
    heads: tuple[int, ...]
    tails: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CyclePlan:
    """A dependence cycle; ``edges`` index the plan's edges, ``anchor`` is the step it is entered at."""

    name: str
    anchor: int
    steps: tuple[int, ...]
    edges: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BodyPlan:
    """Everything about a body that does not depend on values.

    ``edges`` are the body's edges, then one for each hold. ``before`` and ``after`` list the distance-0
    neighbours that longest paths go through. ``terms`` are the names of the lower bound's terms (units,
    cycles, then the critical path); equal names stand together and share a code in ``names``.
    """

    steps: tuple[StepShape, ...]
    edges: tuple[EdgeShape, ...]
    before: tuple[tuple[int, ...], ...]
    after: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]
    units: tuple[UnitPlan, ...]
    cycles: tuple[CyclePlan, ...]
    ends: tuple[int, ...]
    sparse: tuple[int, ...]
    names: tuple[str, ...]
    codes: tuple[int, ...]


def plan_of(node: Loop | Body, program: Program) -> BodyPlan:
    """Plan of a Body, or of a Loop over one; made once for each structure."""
    body = leaf_body(node)
    assert body is not None
    index = {step.name: i for i, step in enumerate(body.steps)}
    steps = tuple(StepShape(s.name, s.unit, s.sparse, s.first) for s in body.steps)
    edges = [EdgeShape(index[e.source], index[e.target], e.carried) for e in body.edges]
    holds = node.holds if isinstance(node, Loop) else ()
    edges += [EdgeShape(index[h.release], index[h.acquire], True, i) for i, h in enumerate(holds)]
    used = {step.unit for step in body.steps}
    units = tuple(name for name in program.units if name in used)
    return _plan(Key(steps, tuple(edges), tuple(h.name for h in holds), units))


@lru_cache(maxsize=1024)
def _plan(key: Key) -> BodyPlan:
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(len(key.steps)))
    graph.add_edges_from((e.source, e.target) for e in key.edges if not e.carried)
    order = tuple(nx.lexicographical_topological_sort(graph))
    reach = _dense_reach(graph, order, key.steps)
    kept = [(s, t) for s, t in graph.edges if not _detour(s, t, graph, reach, key.steps)]
    units = tuple(_unit_plan(name, key.steps, reach) for name in key.units)
    cycles = tuple(sorted(_cycles(key), key=lambda cycle: cycle.name))
    terms = [*(u.name for u in units), *(c.name for c in cycles), LATENCY]
    names = tuple(dict.fromkeys(terms))
    return BodyPlan(
        steps=key.steps,
        edges=key.edges,
        before=tuple(tuple(sorted(s for s, t in kept if t == i)) for i in range(len(key.steps))),
        after=tuple(tuple(sorted(t for s, t in kept if s == i)) for i in range(len(key.steps))),
        order=order,
        units=units,
        cycles=cycles,
        ends=tuple(i for i in order if not key.steps[i].sparse and not reach[i]),
        sparse=tuple(i for i in order if key.steps[i].sparse),
        names=names,
        codes=tuple(names.index(term) for term in terms),
    )


def _dense_reach(
    graph: nx.DiGraph[int], order: Iterable[int], steps: tuple[StepShape, ...]
) -> list[set[int]]:
    """For each dense step, the dense steps that a path of dense steps leads to; empty for sparse steps."""
    reach: list[set[int]] = [set() for _ in steps]
    for i in reversed(tuple(order)):
        if not steps[i].sparse:
            for j in graph.successors(i):
                if not steps[j].sparse:
                    reach[i] |= {j} | reach[j]
    return reach


def _detour(
    s: int, t: int, graph: nx.DiGraph[int], reach: list[set[int]], steps: tuple[StepShape, ...]
) -> bool:
    """Whether another path of dense steps leads from s to t, which is never shorter than the edge."""
    if steps[s].sparse:
        return False
    middle = reach[s] & set(graph.predecessors(t))
    return bool(middle - {s})


def _unit_plan(name: str, steps: tuple[StepShape, ...], reach: list[set[int]]) -> UnitPlan:
    members = [i for i, step in enumerate(steps) if step.unit == name]
    dense = tuple(i for i in members if not steps[i].sparse)
    sparse = tuple(i for i in members if steps[i].sparse)
    later = {j for i in dense for j in reach[i]}
    last = [i for i in dense if not reach[i] & set(dense)]
    return UnitPlan(name, dense, sparse, (*(i for i in dense if i not in later), *sparse), (*last, *sparse))


def _cycles(key: Key) -> list[CyclePlan]:
    """Every simple cycle; of parallel edges one at distance 0 stands for all, as it binds most."""
    between: dict[tuple[int, int], list[int]] = {}
    for number, edge in enumerate(key.edges):
        between.setdefault((edge.source, edge.target), []).append(number)
    for numbers in between.values():
        direct = [n for n in numbers if not key.edges[n].carried]
        numbers[:] = direct[:1] or numbers
    found: list[CyclePlan] = []
    for path in islice(nx.simple_cycles(nx.DiGraph(list(between))), MAX_CYCLES + 1):
        pairs = zip(path, [*path[1:], path[0]], strict=True)
        found += [_cycle_plan(numbers, key) for numbers in product(*(between[pair] for pair in pairs))]
        if len(found) > MAX_CYCLES:
            raise DseError(f"a loop body has more than {MAX_CYCLES} dependence cycles")
    return found


def _cycle_plan(numbers: tuple[int, ...], key: Key) -> CyclePlan:
    edges = [key.edges[n] for n in numbers]
    entered = [e.target for e in edges if e.carried]
    dense = [e.target for e in edges if not key.steps[e.target].sparse]
    anchor = next((i for i in sorted(entered) if i in dense), min(dense or entered))
    holds = sorted({key.holds[e.hold] for e in edges if e.hold >= 0})
    name = f"window:{'+'.join(holds)}" if holds else f"recurrence:{key.steps[anchor].name}"
    start = next(i for i, e in enumerate(edges) if e.source == anchor)
    turned = numbers[start:] + numbers[:start]
    return CyclePlan(name, anchor, tuple(key.edges[n].source for n in turned), turned)
