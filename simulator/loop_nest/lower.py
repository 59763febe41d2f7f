"""Lowering of a loop nest to a Program: a loop over the iterations of each group's shared loops.

Modelled: each Einsum's share of an iteration on its unit and on every memory, side by side; Einsums one after another,
or, with a window above one, as their data allow over that many iterations in flight. What happens in some iterations
only (uneven tiles, Einsums done once) is spread evenly over them. Not modelled: the first fetch before any work.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import WorkloadError
from dse.simulator.arrays import ONE, ZERO, Array
from dse.simulator.loop_nest.actions import branch_actions, move_actions
from dse.simulator.loop_nest.chains import Tiles
from dse.simulator.loop_nest.facts import facts_of
from dse.simulator.loop_nest.hierarchy import hierarchy_of
from dse.simulator.loop_nest.mapping import tiles_of
from dse.simulator.loop_nest.plan import Conventions, Plan
from dse.simulator.loop_nest.problem import problem_of_workload
from dse.simulator.loop_nest.sites import SHARED, Sites
from dse.simulator.lowering import Lowered
from dse.simulator.program import Body, Edge, Hold, Loop, Node, Program, Seq, Step, Unit
from dse.workloads.cascade_file import load_cascade

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.arch.spatial_array import SpatialArray
    from dse.simulator.loop_nest.costs import Costs, Part
    from dse.simulator.loop_nest.mapping import File
    from dse.simulator.mapping import Mapping
    from dse.workloads.cascade import Cascade
    from dse.workloads.workload import Workload

START, END = "start", "end"


def lower(workload: Workload, machine: SpatialArray, mapping: Mapping[File], accounting: str) -> Lowered:
    """Program of a cascade under a loop nest, with the facts of the work.

    Raises
    ------
    MappingError, WorkloadError
        The nest does not fit the cascade or the machine, or the workload is more than its cascade.
    """
    assert accounting == "physical"
    plan, tiles = plan_of(workload, machine, mapping)
    products = plan.products(tiles)
    windows = [np.array([float(group.window)]) for group in mapping.file.groups.values()]
    costs = plan.finish(products, windows)
    nodes = nodes_of(plan, tuple(mapping.file.groups), tiles, products, costs, windows)
    root = Loop("layers", workload.layers, nodes[0] if len(nodes) == 1 else Seq("groups", nodes))
    ports = [name for name in costs.busy if name not in (*machine.units, *plan.hierarchy.names)]
    names = (*machine.units, *plan.hierarchy.names, *ports)
    program = Program(root, {name: Unit(name) for name in names}, machine.clock_hz, costs.constraints)
    return Lowered(program, facts_of(plan, machine, products, costs, windows, workload.layers))


def nodes_of(
    plan: Plan,
    names: Sequence[str],
    tiles: Sequence[Array],
    products: Sequence[Array],
    costs: Costs,
    windows: Sequence[Array],
) -> tuple[Node, ...]:
    """A node for each group, called ``names``."""
    return tuple(
        _group(plan, number, name, tiles, products, costs.groups[number], windows[number])
        for number, name in enumerate(names)
    )


def plan_of(workload: Workload, machine: SpatialArray, mapping: Mapping[File]) -> tuple[Plan, list[Array]]:
    """The nest of a mapping analysed for a workload and a machine, with its tile sizes by row.

    Raises
    ------
    MappingError, WorkloadError
        As ``lower``.
    """
    file = mapping.file
    cascade = _cascade(file.cascade)
    asked = workload.cascade or cascade.name
    if workload.sizes and workload.family != cascade.family:
        raise WorkloadError(
            f"{workload.name} is of family {workload.family}, mapping {mapping.name} of {cascade.family}"
        )
    if workload.sizes and (asked != cascade.name or workload.linear):
        more = f"cascade {asked}" if asked != cascade.name else "dense layers"
        raise WorkloadError(f"mapping {mapping.name} is of cascade {cascade.name} alone, not of {more}")
    parts = {rank: np.array([float(size)]) for rank, size in file.parts.items()}
    nest = file.nest()
    problem = problem_of_workload(workload, cascade, parts, {key.loop.rank for key in nest.loops})
    conventions = Conventions(**file.conventions.model_dump())
    return Plan(problem, hierarchy_of(machine, problem.value_bytes), nest, conventions), tiles_of(
        mapping, nest
    )


@cache
def _cascade(source: str) -> Cascade:
    """A cascade, parsed once."""
    return load_cascade(source)


def _group(
    plan: Plan,
    number: int,
    name: str,
    tiles: Sequence[Array],
    products: Sequence[Array],
    parts: Sequence[Part],
    window: Array,
) -> Node:
    """One group: a loop over the iterations of its shared loops."""
    count = products[plan.groups[number].iterations]
    steps = {
        branch.einsum: _steps(plan, number, branch.einsum, products, parts, count)
        for branch in plan.groups[number].branches
    }
    if not bool(window[0] > 1.0):
        return Loop(name, count, Seq(f"{name}.tile", tuple(_alone(key, mine) for key, mine in steps.items())))
    compute = {einsum: mine[0] for einsum, mine in steps.items()}
    transfers = _together([step for mine in steps.values() for step in mine[1:]])
    edges = _dependences(plan, number, compute, tiles, count)
    now = [edge for edge in edges if not edge.carried]
    every = [*compute.values(), *transfers]
    edges += [Edge(START, s.name) for s in every if s.name not in {edge.target for edge in now}]
    edges += [Edge(s.name, END) for s in every if s.name not in {edge.source for edge in now}]
    body = (Step(START, None, ZERO), *every, Step(END, None, ZERO))
    return Loop(name, count, Body(f"{name}.tile", body, tuple(edges)), (Hold("window", START, END, window),))


def _steps(
    plan: Plan, number: int, einsum: str, products: Sequence[Array], parts: Sequence[Part], count: Array
) -> list[Step]:
    """An Einsum's share of one iteration: its unit first, then every memory it moves words at."""
    branch = next(b for b in plan.groups[number].branches if b.einsum == einsum)
    busy: dict[str, Array] = {}
    for part in parts:
        for name, value in part.busy.get(einsum, {}).items():
            busy[name] = busy[name] + value if name in busy else value
    ripples = [part.ripple[einsum] / count for part in parts if einsum in part.ripple]
    moved = move_actions(plan, number, einsum, products, count)
    near = tuple(action for key, done in moved.items() if key not in busy for action in done)
    done = branch_actions(plan, branch, products, count) + near
    found = [Step(einsum, branch.unit, busy.pop(branch.unit) / count, ripples[0] if ripples else ZERO, done)]
    for name, value in busy.items():
        found.append(Step(f"{einsum}.{name}", name, value / count, actions=moved[name]))
    return found


def _alone(einsum: str, steps: list[Step]) -> Body:
    """One Einsum by itself: the last word that any of its resources delivers still travels with the sums."""
    compute = steps[0]
    if compute.latency is ZERO:
        return Body(einsum, tuple(steps))
    travel = Step(f"{einsum}.sums", None, ZERO, compute.latency)
    working = (replace(compute, latency=ZERO), *steps[1:])
    return Body(einsum, (*working, travel), tuple(Edge(step.name, travel.name) for step in working))


def _together(transfers: list[Step]) -> list[Step]:
    """One step for all that a tile moves at each memory."""
    found: dict[str, Step] = {}
    for step in transfers:
        name = str(step.unit)
        other = found.get(name)
        busy = step.busy if other is None else other.busy + step.busy
        found[name] = Step(name, name, busy, actions=step.actions + (other.actions if other else ()))
    return list(found.values())


def _dependences(
    plan: Plan, number: int, compute: dict[str, Step], tiles: Sequence[Array], count: Array
) -> list[Edge]:
    """Each Einsum after those whose values it reads; a carried value comes from as many iterations back as a step."""
    problem, found = plan.problem, list[Edge]()
    sites = Sites(problem, plan.nest, number)
    for einsum in compute:
        for touch in problem.shape(einsum).inputs:
            if touch.tensor not in compute:
                continue
            back = _around(sites, touch.carried, tiles, count) if touch.resumes else None
            if not touch.older and touch.tensor != einsum:
                found.append(Edge(touch.tensor, einsum))
            if back is not None:
                found.append(Edge(touch.tensor, einsum, back))
    return found


def _around(sites: Sites, rank: str, tiles: Sequence[Array], count: Array) -> Array | None:
    """Iterations from one step of a carried rank to the next; None where a single iteration does all its steps."""
    loops = sites.loops(SHARED, rank, len(sites.group.shared))
    if not loops:
        return None
    below = loops[-1][0] + 1
    outer = ONE
    for each in sites.shared_ranks:
        rows = {row: tiles[row] for _, row, _ in sites.loops(SHARED, each, below)}
        chain = tuple((row, False) for row in rows)
        outer = outer * Tiles(sites.problem.sizes[each], rows).count(chain)
    return np.maximum(np.floor(count / outer), ONE)
