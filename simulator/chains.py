"""What a chain of steps that wait for each other can hold: the part of the upper bound that is no work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ONE, ZERO, floor_div, total
from dse.simulator.structure import LATENCY

if TYPE_CHECKING:
    from dse.simulator.arrays import Array
    from dse.simulator.loops import LoopCosts
    from dse.simulator.structure import CyclePlan


def chains_of(loop: LoopCosts) -> dict[str, Array]:
    """Most cycles of each kind on any chain of waiting steps.

    Of units with servers to spare, and under ``latency`` the latencies and the steps without a unit.
    """
    pure = [step.unit is None for step in loop.plan.steps]
    delay = [busy if free else ZERO for busy, free in zip(loop.busy, pure, strict=True)]
    whole = [cycles + latency for cycles, latency in zip(delay, loop.latency, strict=True)]
    found = {LATENCY: _chain(loop, whole, delay)}
    for unit in loop.plan.units:
        if loop.servers[unit.name] is not ONE:
            members = {*unit.dense, *unit.sparse}
            busy = [b if i in members else ZERO for i, b in enumerate(loop.busy)]
            found[unit.name] = np.minimum(loop.work(unit), _chain(loop, busy, busy))
    return found


def _chain(loop: LoopCosts, weights: list[Array], held: list[Array]) -> Array:
    """Largest weight of a chain: a walk through the dependence graph over all iterations.

    ``held`` are the weights of steps that a hold waits for. A walk is rounds of cycles, none of more
    weight for its distance than the steepest, and a path that visits no step twice; or parts without a
    carried edge, one more than the carried edges that fit into the iterations.
    """
    weights = [loop.if_run(step, weight) for step, weight in enumerate(weights)]
    longest: dict[int, Array] = {}
    part = ZERO
    for step in loop.plan.order:
        arrival = ZERO
        for source in loop.plan.before[step]:
            arrival = np.maximum(arrival, longest[source])
        longest[step] = arrival + weights[step]
        part = np.maximum(part, longest[step])
    carried = [loop.distance[e] for e, edge in enumerate(loop.plan.edges) if edge.carried]
    if carried:
        further = np.maximum(loop.count - 1.0, 0.0)
        jumps = floor_div(further, np.minimum.reduce(np.broadcast_arrays(*carried)))
        steepest = ZERO
        for cycle in loop.plan.cycles:
            steepest = np.maximum(steepest, _slope(loop, cycle, weights, held))
        part = np.minimum((jumps + 1.0) * part, steepest * further + total(weights))
    return np.where(loop.count > 0, part, 0.0)


def _slope(loop: LoopCosts, cycle: CyclePlan, weights: list[Array], held: list[Array]) -> Array:
    """Weight of one round of a cycle for each iteration it reaches back, at most."""
    weight = ZERO
    for edge, step in zip(cycle.edges, cycle.steps, strict=True):
        weight = weight + (held[step] if loop.plan.edges[edge].hold >= 0 else weights[step])
    reach = loop.cycle_distance(cycle)
    if all(loop.plan.steps[step].sparse for step in cycle.steps):
        rounded = [loop.every[s] * np.ceil(reach / loop.every[s]) for s in cycle.steps]
        reach = np.minimum.reduce(np.broadcast_arrays(*rounded))
    return weight / reach
