"""GPU machines as the xpus of a system: their own law for dense layers and attention, a roofline for the rest.

Modelled: each group of dense layers, and attention, as a run of launches on one GPU of the system, in the accounting of
the system. Element-wise passes and experts take the roofline of the machine's peaks. Not modelled: launches that one
graph holds together across groups.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from dse.arch.gpu import Gpu
from dse.arch.roofline import Roofline
from dse.simulator.arrays import ONE, ZERO, Array
from dse.simulator.evaluate import evaluate
from dse.simulator.lowering import lower
from dse.simulator.mapping import Mapping, load_mapping
from dse.simulator.program import Action
from dse.simulator.system.work import Work

if TYPE_CHECKING:
    from typing import Any

    from dse.arch.machine import Machine
    from dse.simulator.system.attention import Heads
    from dse.workloads.gemm import Gemm
    from dse.workloads.workload import Workload


def roofline_of(machine: Machine) -> Roofline:
    """The roofline of a machine: itself, or that of a GPU's peaks with the shares its calibration sustains."""
    if isinstance(machine, Roofline):
        return machine
    assert isinstance(machine, Gpu)
    return Roofline(
        name=machine.name,
        kind=machine.kind,
        title=machine.title,
        mapping=machine.mapping,
        technology_m=machine.technology_m,
        clock_hz=machine.clock_hz,
        notes=machine.notes,
        peak_flop_per_s=machine.peak_flop_per_s,
        byte_per_s=machine.dram_byte_per_s,
        capacity_bytes=machine.dram_bytes,
        access_j_per_byte=machine.joules["dram"],
        row_bytes=ONE,
        activate_j=ZERO,
        mac_j=machine.joules["tensor"],
        sustained_compute=machine.calibration.get("tensor_efficiency", ""),
        sustained_memory=machine.calibration.get("dram_efficiency", ""),
        passes={},
        cores=None,
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
