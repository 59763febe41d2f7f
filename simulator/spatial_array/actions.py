"""Energy and byte actions of one Einsum: operations, register accesses, buffer and DRAM moves, for all instances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ZERO, Array, product
from dse.simulator.program import Action

if TYPE_CHECKING:
    from collections.abc import Collection

    from dse.simulator.spatial_array.problem import Problem2D
    from dse.simulator.spatial_array.storage import Move
    from dse.workloads.cascade import Einsum


def operation_actions(problem: Problem2D, einsum: Einsum, free: Collection[str]) -> tuple[Action, ...]:
    """One action for each operation of an Einsum; those in ``free`` cost no energy."""
    unit = problem.unit(einsum.name)
    found = []
    for operation, ranks in problem.operations(einsum):
        count = product(problem.points(ranks), problem.instances)
        each = ZERO if operation.name in free else operation.energy_j
        found.append(Action(unit.name, einsum.name, "", operation.name, count, ZERO, count * each))
    return tuple(found)


def register_actions(problem: Problem2D, einsum: Einsum) -> tuple[Action, ...]:
    """Register-file reads and writes of an Einsum's operations."""
    unit = problem.unit(einsum.name)
    reads, writes = ZERO, ZERO
    for operation, ranks in problem.operations(einsum):
        count = product(problem.points(ranks), problem.instances)
        reads = reads + count * operation.register_reads
        writes = writes + count * operation.register_writes
    name = f"{unit.name}.registers"
    width = problem.workload.value_bytes
    return (
        Action(name, einsum.name, "", "read", reads, reads * width, reads * unit.register_read_j),
        Action(name, einsum.name, "", "write", writes, writes * width, writes * unit.register_write_j),
    )


def move_action(problem: Problem2D, move: Move) -> Action:
    """Words moved at a memory, with bytes and energy, for all instances."""
    memory = problem.machine.memories[move.memory]
    words = product(move.words, problem.instances)
    moved = words * problem.workload.value_bytes
    each = memory.read_j_per_byte if move.action == "read" else memory.write_j_per_byte
    return Action(move.memory, move.einsum, move.tensor, move.action, words, moved, moved * each)


def staging_actions(problem: Problem2D, einsum: Einsum) -> tuple[Action, ...]:
    """Register accesses of operands that pass from the other array through this one's registers: in once, out once."""
    unit, found = problem.unit(einsum.name), []
    name, width = f"{unit.name}.registers", problem.workload.value_bytes
    for tensor in dict.fromkeys(operand.tensor for operand in einsum.operands):
        if tensor in problem.mapping.file.staged:
            words = product(problem.points(problem.cascade.tensors[tensor]), problem.instances)
            found.append(
                Action(
                    name, einsum.name, tensor, "write", words, words * width, words * unit.register_write_j
                )
            )
            found.append(
                Action(name, einsum.name, tensor, "read", words, words * width, words * unit.register_read_j)
            )
    return tuple(found)


def overflow_actions(problem: Problem2D, einsum: Einsum, bits: int) -> tuple[Action, ...]:
    """Buffer reads that begin a sum and that a published count, kept in so many bits, fails to leave out."""
    memory, width = problem.machine.memories["global_buffer"], problem.workload.value_bytes
    words = product(problem.points(einsum.output.ranks), problem.instances)
    lost = words - np.mod(words, 2.0**bits)
    moved = lost * width
    each = memory.read_j_per_byte
    return (Action("global_buffer", einsum.name, einsum.name, "read", lost, moved, moved * each),)


def bytes_at(actions: tuple[Action, ...], component: str) -> Array:
    """Bytes that actions move at a component."""
    total = np.zeros(1)
    for action in actions:
        if action.component == component:
            total = total + action.bytes
    return total
