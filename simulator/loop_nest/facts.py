"""What is known of a loop nest's work and machine, whatever the schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ONE, ZERO, Array
from dse.simulator.lowering import Facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.arch.spatial_array import SpatialArray
    from dse.simulator.loop_nest.costs import Costs
    from dse.simulator.loop_nest.plan import BranchPlan, Plan


def facts_of(
    plan: Plan,
    machine: SpatialArray,
    products: Sequence[Array],
    costs: Costs,
    windows: Sequence[Array],
    layers: Array,
) -> Facts:
    """Facts of a nest at the values of its terms; ``layers`` repeats all of it.

    Useful FLOPs count each point once, executed ones also idle elements of a step and what is done again.
    """
    flops, executed, vector = ZERO, ZERO, dict[str, Array]()
    elements = {name: unit.elements for name, unit in machine.units.items()}
    occupied = dict.fromkeys(elements, ZERO)
    each: dict[tuple[str, str, str], Array] = {}
    for branch in (branch for group in plan.groups for branch in group.branches):
        for work in branch.work:
            name, busy = work.operation.name, ZERO if work.steps is None else work.operation.busy_cycles
            count = products[work.count]
            occupied[branch.unit] = occupied[branch.unit] + count * busy * layers
            each[branch.unit, branch.einsum, name] = busy / elements[branch.unit]
            if name == "mac" and work.steps is not None:
                flops = flops + 2.0 * _points(plan, branch) * layers
                executed = executed + 2.0 * products[work.steps] * _used(branch, products) * layers
            else:
                vector[name] = vector.get(name, ZERO) + count * layers
    onchip = ZERO
    for name, room in costs.live.items():
        onchip = onchip + room if name in plan.hierarchy.names else onchip
    limits = {level.name: level.byte_per_cycle * machine.clock_hz for level in plan.hierarchy.memories}
    return Facts(
        flops=flops,
        executed_flops=executed,
        vector_ops=vector,
        onchip_bytes=onchip,
        occupied=occupied,
        elements=elements,
        peak_flop_per_s=machine.peak_flop_per_s,
        area_m2=machine.area_m2,
        memory_byte_per_s=limits,
        cycles_each=each,
        cycles_per_byte={level.name: 1.0 / level.byte_per_cycle for level in plan.hierarchy.memories},
        window=windows[0] if len(windows) == 1 else np.full(1, np.nan),
        block_queries=np.full(1, np.nan),
    )


def _points(plan: Plan, branch: BranchPlan) -> Array:
    """Points of an Einsum's iteration space."""
    found = ONE
    for rank in plan.problem.shape(branch.einsum).ranks:
        found = found * plan.problem.sizes[rank]
    return found


def _used(branch: BranchPlan, products: Sequence[Array]) -> Array:
    """Elements an Einsum's largest step uses."""
    found = ONE
    for term in branch.axes.values():
        found = found * products[term]
    return found
