"""Paper accounting of attention on a spatial array: fusion groups of stages, as published models add them up.

Modelled: in each stage every unit runs its Einsums one after another and the longest unit counts; stages follow one
another; a group overlaps perfectly with its DRAM traffic. Not modelled, by the published conventions: fill and drain,
reduction latency unless a stage waits for it, buffer bandwidth, register-file energy, the number of tiles in flight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.simulator.arrays import product
from dse.simulator.program import Body, Node, Par, Seq, Step
from dse.simulator.spatial_array.actions import (
    bytes_at,
    move_action,
    operation_actions,
    overflow_actions,
    staging_actions,
)
from dse.simulator.spatial_array.storage import Storage

if TYPE_CHECKING:
    from dse.simulator.program import Action
    from dse.simulator.spatial_array.mapping import GroupFile, StageFile
    from dse.simulator.spatial_array.problem import Problem2D


def paper_storage(problem: Problem2D) -> Storage:
    """Storage decisions under the mapping's published conventions."""
    paper = problem.mapping.file.paper
    if paper is None:
        return Storage(problem)
    return Storage(problem, paper.block == "divisor", paper.block_capacity)


def paper_tree(problem: Problem2D, storage: Storage) -> Node:
    """All fusion groups, one after another."""
    groups = problem.mapping.file.groups
    names = [str(i) if len(groups) > 1 else "attention" for i in range(len(groups))]
    return Seq("attention", tuple(_group(problem, storage, g, n) for g, n in zip(groups, names, strict=True)))


def _group(problem: Problem2D, storage: Storage, group: GroupFile, name: str) -> Node:
    einsums = [problem.cascade.einsum(e) for stage in group.stages for e in stage.einsums]
    moves = [move for einsum in einsums for move in storage.moves(einsum)]
    moves += storage.spill_moves(moves)
    actions = tuple(move_action(problem, move) for move in moves)
    dram = tuple(action for action in actions if action.component == "dram")
    memory = problem.machine.memories["dram"]
    busy = bytes_at(dram, "dram") / memory.bandwidth_byte_per_s * problem.machine.clock_hz
    transfer = Step(f"{name}.dram", "dram", busy, actions=dram)
    rest = {
        einsum.name: tuple(a for a in actions if a.einsum == einsum.name and a not in dram)
        for einsum in einsums
    }
    stages = tuple(_stage(problem, stage, f"{name}.{i}", rest) for i, stage in enumerate(group.stages))
    return Par(f"{name}.group", (Body(f"{name}.dram", (transfer,)), Seq(f"{name}.stages", stages)))


def _stage(problem: Problem2D, stage: StageFile, name: str, moved: dict[str, tuple[Action, ...]]) -> Node:
    paper = problem.mapping.file.paper
    free, bits = (paper.free_operations, paper.first_read_bits) if paper else ([], {})
    lanes: dict[str, list[Node]] = {}
    for key in stage.einsums:
        einsum = problem.cascade.einsum(key)
        actions = operation_actions(problem, einsum, free) + staging_actions(problem, einsum) + moved[key]
        actions += overflow_actions(problem, einsum, bits[key]) if key in bits else ()
        step = Step(
            key,
            problem.mapping.file.unit_of(key),
            product(problem.busy(einsum), problem.instances),
            actions=actions,
        )
        lanes.setdefault(problem.mapping.file.unit_of(key), []).append(Body(key, (step,)))
    side_by_side = Par(name, tuple(Seq(f"{name}.{unit}", tuple(steps)) for unit, steps in lanes.items()))
    waits = tuple(_wait(problem, key) for key in stage.wait)
    return Seq(f"{name}.waited", (side_by_side, *waits)) if waits else side_by_side


def _wait(problem: Problem2D, key: str) -> Node:
    """Reduction latency of an Einsum, once per tile, in the open."""
    einsum = problem.cascade.einsum(key)
    cycles = product(problem.latency(einsum), problem.steps(einsum, einsum.ranks), problem.instances)
    return Body(f"{key}.wait", (Step(f"{key}.wait", None, cycles),))
