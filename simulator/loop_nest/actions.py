"""Ledger entries of one Einsum's share of an iteration: words at memories and registers, operations of its unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.simulator.arrays import ZERO, Array
from dse.simulator.loop_nest.costs import port_of, words_of
from dse.simulator.loop_nest.nest import REGISTERS
from dse.simulator.program import Action

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.simulator.loop_nest.plan import BranchPlan, Plan


def move_actions(
    plan: Plan, number: int, einsum: str, products: Sequence[Array], count: Array
) -> dict[str, tuple[Action, ...]]:
    """Words an Einsum moves in one of ``count`` iterations, by the port of the memory they pass, or the component."""
    group = plan.groups[number]
    unit = next(branch.unit for branch in group.branches if branch.einsum == einsum)
    sums: dict[tuple[str, str, str], Array] = {}
    for move in group.moves:
        if move.einsum == einsum:
            key, words = (move.memory, move.tensor, move.action), words_of(move, products)
            sums[key] = sums[key] + words if key in sums else words
    found: dict[str, tuple[Action, ...]] = {}
    width = plan.problem.value_bytes
    for (memory, tensor, action), words in sums.items():
        component = f"{unit}.{REGISTERS}" if memory == REGISTERS else memory
        each = _word_j(plan, unit, memory, action)
        share = words / count
        entry = Action(component, einsum, tensor, action, share, share * width, share * each)
        port = component
        if memory in plan.hierarchy.names:
            port = port_of(plan.conventions, memory, action, tensor)
        found[port] = (*found.get(port, ()), entry)
    return found


def _word_j(plan: Plan, unit: str, memory: str, action: str) -> Array:
    """Energy of one word."""
    if memory == REGISTERS:
        registers = plan.hierarchy.units[unit]
        return registers.register_read_j if action == "read" else registers.register_write_j
    level = plan.hierarchy.store(memory)
    return plan.problem.value_bytes * (level.read_j_per_byte if action == "read" else level.write_j_per_byte)


def branch_actions(
    plan: Plan, branch: BranchPlan, products: Sequence[Array], count: Array
) -> tuple[Action, ...]:
    """Operations of an Einsum in one of ``count`` iterations."""
    found = []
    for work in branch.work:
        share = products[work.count] / count
        name = work.operation.name
        joules = share * work.operation.energy_j
        found.append(Action(branch.unit, branch.einsum, "", name, share, ZERO, joules))
    return tuple(found)
