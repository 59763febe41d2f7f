"""Machines as devices of a system: the roofline of each, and GPUs by their own law.

Modelled: each group of dense layers, and attention, as a run of launches on one GPU of the system, in physical
accounting. Element-wise passes and experts take the roofline of a GPU's peaks, experts in PIM stacks that of what
their banks deliver. Not modelled: launches that one graph holds together across groups; row changes and refresh of
experts in stacks.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from dse.arch.gpu import Gpu
from dse.arch.pim import Pim
from dse.arch.roofline import Roofline
from dse.simulator.arrays import ONE, ZERO, Array
from dse.simulator.evaluate import evaluate
from dse.simulator.lowering import lower
from dse.simulator.mapping import Mapping, load_mapping
from dse.simulator.program import Action
from dse.simulator.system.work import Work

if TYPE_CHECKING:
    from collections.abc import Mapping as Dict
    from typing import Any

    from dse.arch.machine import Machine
    from dse.simulator.system.attention import Heads
    from dse.workloads.gemm import Gemm
    from dse.workloads.workload import Workload


def roofline_of(machine: Machine) -> Roofline:
    """The roofline of a machine: itself, that of a GPU's peaks as calibrated, or that of the units of PIM stacks."""
    if isinstance(machine, Roofline):
        return machine
    if isinstance(machine, Pim):
        energy = {
            "access_j_per_byte": 8.0 * machine.read_j_per_bit,
            "row_bytes": machine.dram.row_bytes,
            "activate_j": machine.dram.energy.activate_j,
            "mac_j": machine.mac_j,
        }
        speed, capacity = machine.internal_byte_per_s, machine.capacity_bytes
        return _roofline(machine, machine.peak_flop_per_s, speed, capacity, energy, (ONE, ONE))
    assert isinstance(machine, Gpu)
    energy = {"access_j_per_byte": machine.joules["dram"], "row_bytes": ONE, "activate_j": ZERO}
    energy["mac_j"] = machine.joules["tensor"]
    shares = (machine.calibration.get("tensor_efficiency"), machine.calibration.get("dram_efficiency"))
    return _roofline(
        machine, machine.peak_flop_per_s, machine.dram_byte_per_s, machine.dram_bytes, energy, shares
    )


def _roofline(
    machine: Machine,
    flop_per_s: Array,
    byte_per_s: Array,
    capacity_bytes: Array,
    energy: Dict[str, Array],
    sustained: tuple[Array, Array],
) -> Roofline:
    """A roofline with the name and notes of a machine."""
    return Roofline(
        name=machine.name,
        kind=machine.kind,
        title=machine.title,
        mapping=machine.mapping,
        technology_m=machine.technology_m,
        clock_hz=machine.clock_hz,
        notes=machine.notes,
        peak_flop_per_s=flop_per_s,
        byte_per_s=byte_per_s,
        capacity_bytes=capacity_bytes,
        sustained_compute=sustained[0],
        sustained_memory=sustained[1],
        passes={},
        cores=None,
        **energy,
    )


def dense_on(machine: Gpu, workload: Workload, gemms: tuple[Gemm, ...], count: Array) -> Work:
    """Dense layers one after another on each of ``count`` GPUs, their own sizes."""
    part = replace(workload, scope="linear", sizes={}, linear=gemms)
    return _run(machine, part, count)


def attention_on(machine: Gpu, workload: Workload, heads: Heads, count: Array) -> Work:
    """A device's attention on each of ``count`` GPUs, one group of equal requests after another."""
    sizes = {**workload.sizes, "h": heads.kv_heads, "g": heads.group}
    part = replace(workload, scope="attention", linear=(), sizes=sizes, requests=heads.batch)
    if len(heads.batch) == 1:
        alike = heads.batch[0]
        sizes = {**sizes, "b": alike.count, "m": alike.keys, "p": alike.queries}
        part = replace(part, sizes=sizes, requests=())
    return _run(machine, part, count)


def _run(machine: Gpu, workload: Workload, count: Array) -> Work:
    """Time of one GPU, actions of all."""
    alone = replace(workload, layers=ONE, experts=None)
    found = lower(alone, machine, _mapping(machine.mapping), "physical")
    result = evaluate(found.program)
    ledger, feasible = result.ledger, result.feasible == 0

    def fine(values: Array) -> Array:
        """Values where the GPU can run it; elsewhere the constraints say why not."""
        return np.where(feasible, values, 0.0)

    actions = tuple(
        Action(
            action.component if action.component == "dram" else f"xpu.{action.component}",
            action.einsum,
            action.tensor,
            action.action,
            fine(ledger.count[number]) * count,
            fine(ledger.bytes[number]) * count,
            fine(ledger.joules[number]) * count,
        )
        for number, action in enumerate(ledger.actions)
    )
    moved = fine(result.bytes_by_component.get("dram", np.zeros(1)))
    limits = found.program.all_constraints
    return Work(fine(result.seconds), moved, found.facts.flops, actions, tuple(limits))


@cache
def _mapping(name: str) -> Mapping[Any]:
    """A GPU's own mapping, read once."""
    return load_mapping(name)
