"""Lowering of a workload to a system's Program, with facts and the capacity its weights and keys take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.arch.gpu import Gpu
from dse.arch.pim import Pim
from dse.arch.roofline import Roofline
from dse.arch.system import Device, Link, System
from dse.errors import MappingError, Problem, WorkloadError
from dse.simulator.arrays import ONE, ZERO, Array, total
from dse.simulator.lowering import Facts, Lowered
from dse.simulator.program import Loop, Node, Program, Seq, Unit
from dse.simulator.system.capacity import Capacity, constraints
from dse.simulator.system.devices import roofline_of
from dse.simulator.system.layers import LINK, PIM, XPU, Layer, layer_node
from dse.simulator.system.work import BANKS

if TYPE_CHECKING:
    from dse.arch.machine import Machine
    from dse.simulator.mapping import Mapping
    from dse.simulator.system.mapping import File
    from dse.workloads.workload import Workload

FAMILIES = ("softmax", "mla")
DEVICES: dict[str, tuple[type, ...]] = {XPU: (Roofline, Gpu), PIM: (Roofline, Pim)}
# Part of the work that the time of a node counts for; the innermost node named here decides.
PARTS = {
    "passes": "passes",
    "projections": "projections",
    "projections_in": "projections",
    "projections_out": "projections",
    "attention_part": "attention",
    "transfers": "links",
    "all_reduce_attention": "links",
    "all_reduce_feed_forward": "links",
    "router": "experts",
    "experts": "experts",
    "experts_on_xpu": "experts",
    "feed_forward": "feed_forward",
    "attention": "attention",
    "attention_on_xpu": "attention",
    "attention_on_pim": "attention",
    "prefill_on_xpu": "attention",
}


def lower(workload: Workload, machine: Machine, mapping: Mapping[File], accounting: str) -> Lowered:
    """Program of a workload on a system, or on one roofline device alone.

    Raises
    ------
    WorkloadError
        Attention of another family than those of softmax.
    MappingError
        Experts that do not spread evenly over the devices.
    """
    if workload.sizes and workload.family not in FAMILIES:
        raise WorkloadError(f"a system runs attention of {' or '.join(FAMILIES)}, not {workload.family}")
    if workload.linear and not workload.sizes:
        raise WorkloadError(
            f"a system runs attention or whole layers, not dense layers alone: {workload.name}"
        )
    system = machine if isinstance(machine, System) else alone(machine)
    _check_devices(system)
    layer = Layer(workload, system, mapping.file, mapping.file.paper if accounting == "paper" else None)
    _check_spread(layer)
    capacity = Capacity(workload, system, layer.rows)
    root = _root(layer)
    units = {name: Unit(name) for name in (XPU, *((PIM, BANKS) if layer.pim else ()), LINK)}
    unchecked = layer.paper is not None and layer.paper.unchecked_capacity
    limits = [*([] if unchecked else constraints(capacity)), *layer.constraints]
    program = Program(root, units, system.clock_hz, tuple(limits))
    return Lowered(program, _facts(layer, capacity))


def _check_devices(system: System) -> None:
    for key, device in system.devices.items():
        if not isinstance(device.machine, DEVICES[key]):
            kind = device.machine.kind
            raise MappingError(
                Problem(
                    f"{device.machine.name}, a {kind}, is no device of a system",
                    path=f"devices.{key}.machine",
                )
            )


def alone(machine: Machine) -> System:
    """A system of one device."""
    nothing = Link(np.array([np.inf]), ZERO, ZERO, ONE)
    return System(
        machine.name,
        machine.kind,
        machine.title,
        machine.mapping,
        machine.technology_m,
        np.array([1e9]),
        machine.notes,
        {XPU: Device(machine, ONE)},
        {"peers": nothing},
    )


def _root(layer: Layer) -> Node:
    """All layers: those with experts, then those without."""
    experts = layer.workload.experts
    if experts is None:
        return Loop("layers", layer.workload.layers, layer_node(layer, experts=False))
    mixed = Loop("expert_layers", experts.layers, layer_node(layer, experts=True))
    if not experts.dense:
        return mixed
    return Seq(
        "layers", (mixed, Loop("dense_layers", experts.dense_layers, layer_node(layer, experts=False)))
    )


def _check_spread(layer: Layer) -> None:
    experts, devices = layer.workload.experts, layer.count
    if experts is None:
        return
    if len(devices) > 1 or experts.count % int(devices[0]):
        raise MappingError(
            f"{experts.count} experts do not spread evenly over {devices[0]:.0f} devices of {layer.machine.name}"
        )


def _facts(layer: Layer, capacity: Capacity) -> Facts:
    """Facts of the work; a roofline has no on-chip buffer and no area that any source gives."""
    workload, machine = layer.workload, layer.machine
    flops = useful_flops(workload)
    unknown = np.full(1, np.nan)
    rooflines = {name: roofline_of(device.machine) for name, device in machine.devices.items()}
    peaks = [rooflines[name].peak_flop_per_s * device.count for name, device in machine.devices.items()]
    memory = {"dram": layer.xpu.byte_per_s * layer.count}
    if layer.pim is not None:
        memory[BANKS] = rooflines[PIM].byte_per_s * layer.pim.count
    return Facts(
        flops=flops,
        executed_flops=flops,
        vector_ops={},
        onchip_bytes=unknown,
        occupied={},
        elements={},
        peak_flop_per_s=total(peaks),
        area_m2=unknown,
        memory_byte_per_s=memory,
        cycles_each={},
        cycles_per_byte={name: machine.clock_hz / speed for name, speed in memory.items()},
        window=unknown,
        block_queries=unknown,
        more=capacity.columns(),
        one_clock=False,
        parts=PARTS,
    )


def useful_flops(workload: Workload) -> Array:
    """Multiply-adds × 2 of all layers in scope, every head and token once."""
    each = ZERO
    for gemm in workload.linear:
        each = each + 2.0 * gemm.m * gemm.n * gemm.k
    if workload.sizes:
        s = workload.sizes
        pairs = total([r.count * r.pairs(workload.causal, workload.window) for r in workload.batch])
        each = each + 2.0 * s["h"] * s["g"] * pairs * (s["e"] + s["f"])
    found = each * workload.layers
    experts = workload.experts
    if experts is None:
        return found
    rows = workload.linear[0].m
    routed = 2.0 * rows * (experts.top_k + experts.shared) * experts.weights
    found = found + routed * experts.layers
    for gemm in experts.dense:
        found = found + 2.0 * gemm.m * gemm.n * gemm.k * experts.dense_layers
    return found
