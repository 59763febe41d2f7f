"""Lowering of a workload to a spatial array's Program under one of two accountings."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import MappingError, Problem, WorkloadError, nearest
from dse.simulator.arrays import ONE, ZERO, Array, product
from dse.simulator.lowering import Facts, Lowered
from dse.simulator.program import Constraint, Loop, Node, Program, Seq, Unit
from dse.simulator.spatial_array.linear import UNIT, Dense, dense_tree
from dse.simulator.spatial_array.paper import paper_storage, paper_tree
from dse.simulator.spatial_array.physical import physical_tree, window_constraints, window_tiles
from dse.simulator.spatial_array.problem import Problem2D
from dse.simulator.spatial_array.storage import Storage
from dse.workloads.cascade_file import load_cascade

if TYPE_CHECKING:
    from dse.arch.spatial_array import SpatialArray
    from dse.simulator.mapping import Mapping
    from dse.simulator.spatial_array.mapping import File
    from dse.workloads.cascade import Cascade, Einsum
    from dse.workloads.workload import Workload


def lower(workload: Workload, machine: SpatialArray, mapping: Mapping[File], accounting: str) -> Lowered:
    """Program of attention and dense layers, in one accounting, with the facts of the work.

    Raises
    ------
    MappingError, WorkloadError
        The mapping does not cover the cascade, or names units and axes the machine does not have.
    """
    physical = accounting == "physical"
    nodes: list[Node] = []
    constraints: list[Constraint] = []
    facts = _machine_facts(machine)
    if workload.sizes:
        problem = _problem(workload, machine, mapping)
        storage = Storage(problem) if physical else paper_storage(problem)
        nodes.append(physical_tree(problem, storage) if physical else paper_tree(problem, storage))
        constraints += storage.constraints
        constraints += window_constraints(problem) if physical else ()
        facts = _attention_facts(facts, problem, storage)
    layers = [Dense(gemm, machine, workload.value_bytes, physical) for gemm in workload.linear]
    nodes += [dense_tree(layer, physical) for layer in layers]
    constraints += [layer.constraint() for layer in layers]
    root: Node = Loop("layers", workload.layers, nodes[0] if len(nodes) == 1 else Seq("layer", tuple(nodes)))
    names = (*machine.units, "dram", *(("global_buffer",) if physical else ()))
    program = Program(root, {name: Unit(name) for name in names}, machine.clock_hz, tuple(constraints))
    return Lowered(program, _with_layers(facts, layers, workload.layers))


def _problem(workload: Workload, machine: SpatialArray, mapping: Mapping[File]) -> Problem2D:
    cascade = _cascade(workload.cascade or mapping.file.cascade)
    if cascade.family != workload.family:
        raise WorkloadError(
            f"{workload.name} is of family {workload.family}, cascade {cascade.name} of {cascade.family}"
        )
    mapped = _cascade(mapping.file.cascade).family
    if cascade.family != mapped:
        raise MappingError(
            f"mapping {mapping.name} is for cascades of family {mapped}; {cascade.name} is of family {cascade.family}"
        )
    problems = _uncovered(cascade, mapping)
    if problems:
        raise MappingError(*problems)
    return Problem2D(workload, machine, mapping, cascade)


@cache
def _cascade(source: str) -> Cascade:
    """A cascade, parsed once."""
    return load_cascade(source)


def _uncovered(cascade: Cascade, mapping: Mapping[File]) -> list[Problem]:
    """What the mapping leaves open, or names without the cascade having it."""
    einsums = {einsum.name for einsum in cascade.einsums}
    bound = [name for names in mapping.file.binding.values() for name in names]
    staged = [name for group in mapping.file.groups for stage in group.stages for name in stage.einsums]
    stored = set(mapping.file.storage)
    where = f"mapping {mapping.name}, cascade {cascade.name}"
    found = [
        Problem(f"Einsum {name} is bound to no unit", path="binding") for name in sorted(einsums - set(bound))
    ]
    found += [
        Problem(f"'{name}' is no Einsum{nearest(name, einsums)}", path="binding")
        for name in bound
        if name not in einsums
    ]
    found += [
        Problem(f"Einsum {name} is in no group", path="groups") for name in sorted(einsums - set(staged))
    ]
    found += [
        Problem(f"tensor {name} has no entry", path="storage")
        for name in (*cascade.inputs, *cascade.outputs)
        if name not in stored
    ]
    known = cascade.tensors
    found += [
        Problem(f"'{name}' is no tensor{nearest(name, known)}", path="storage")
        for name in stored - set(known)
    ]
    return [Problem(f"{where}: {problem.message}", path=problem.path) for problem in found]


def _machine_facts(machine: SpatialArray) -> Facts:
    """Facts of the machine alone: no work yet."""
    elements = {name: unit.elements for name, unit in machine.units.items()}
    dram, buffer = machine.memories["dram"], machine.memories["global_buffer"]
    unknown = np.full(1, np.nan)
    return Facts(
        flops=ZERO,
        executed_flops=ZERO,
        vector_ops={},
        onchip_bytes=ZERO,
        occupied=dict.fromkeys(elements, ZERO),
        elements=elements,
        peak_flop_per_s=machine.peak_flop_per_s,
        area_m2=machine.area_m2,
        memory_byte_per_s={
            "dram": dram.bandwidth_byte_per_s,
            "global_buffer": buffer.byte_per_cycle(machine.clock_hz) * machine.clock_hz,
        },
        cycles_each={},
        cycles_per_byte={
            "dram": machine.clock_hz / dram.bandwidth_byte_per_s,
            "global_buffer": 1.0 / buffer.byte_per_cycle(machine.clock_hz),
        },
        window=unknown,
        block_queries=unknown,
    )


def _attention_facts(facts: Facts, problem: Problem2D, storage: Storage) -> Facts:
    """Facts with attention added."""
    flops, executed, vector = ZERO, ZERO, dict[str, Array]()
    occupied, each = dict(facts.occupied), dict(facts.cycles_each)
    for einsum in problem.cascade.einsums:
        unit = problem.unit(einsum.name).name
        each |= _cycles_each(problem, einsum)
        occupied[unit] = occupied[unit] + product(problem.occupied(einsum), problem.instances)
        macs = _contraction(einsum)
        for operation in einsum.operations:
            useful = problem.useful(operation.ranks)
            if operation.ranks == macs and operation.operator in ("multiply", "add"):
                flops = flops + useful
                steps = product(problem.steps(einsum, macs), problem.instances)
                executed = executed + product(steps, problem.unrolled(einsum))
            else:
                vector[operation.operator] = vector.get(operation.operator, ZERO) + useful
    capacity = problem.machine.memories["global_buffer"].capacity_bytes
    return replace(
        facts,
        flops=flops,
        executed_flops=executed,
        vector_ops=vector,
        onchip_bytes=np.minimum(storage.demand_bytes, capacity),
        occupied=occupied,
        cycles_each=each,
        window=window_tiles(problem, storage) if problem.mapping.file.window else facts.window,
        block_queries=storage.block,
    )


def _cycles_each(problem: Problem2D, einsum: Einsum) -> dict[tuple[str, str, str], Array]:
    """Cycles of one count of each operation of an Einsum; none for those pipelined in front of another."""
    unit = problem.unit(einsum.name)
    operations = [operation for operation, _ in problem.operations(einsum)]
    absorbed = {name for operation in operations for name in operation.absorbs}
    return {
        (unit.name, einsum.name, operation.name): ZERO
        if operation.name in absorbed
        else operation.busy_cycles / unit.elements
        for operation in operations
    }


def _contraction(einsum: Einsum) -> tuple[str, ...] | None:
    """Ranks of a product that is summed, if the Einsum is one."""
    products = {o.ranks for o in einsum.operations if o.operator == "multiply"}
    return next((o.ranks for o in einsum.operations if o.operator == "add" and o.ranks in products), None)


def _with_layers(facts: Facts, layers: list[Dense], repeats: Array) -> Facts:
    """Facts with dense layers added, times the number of layers."""
    flops, executed, busy, onchip = facts.flops, facts.executed_flops, facts.occupied, facts.onchip_bytes
    occupied, each = dict(busy), dict(facts.cycles_each)
    for layer in layers:
        each[UNIT, layer.gemm.name, "mac"] = layer.busy / layer.macs
        flops = flops + 2.0 * layer.macs
        executed = executed + 2.0 * layer.steps * facts.elements[UNIT]
        occupied[UNIT] = occupied[UNIT] + layer.macs
        onchip = np.maximum(onchip, layer.demand_bytes)
    return replace(
        facts,
        flops=flops * repeats,
        executed_flops=executed * repeats,
        vector_ops={name: count * repeats for name, count in facts.vector_ops.items()},
        onchip_bytes=onchip * ONE,
        occupied={name: count * repeats for name, count in occupied.items()},
        cycles_each=each,
    )
