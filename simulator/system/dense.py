"""Dense layers, element-wise passes and all-reduces on the devices of a system.

Modelled: inputs, weights and outputs moved once; columns or rows of the weights spread over the devices. Not modelled:
fusion of neighbouring layers, weights kept on a device from step to step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.simulator.arrays import ONE, ZERO, Array
from dse.simulator.program import Action
from dse.simulator.system.attention import cache_actions
from dse.simulator.system.waves import tiled
from dse.simulator.system.work import DRAM, Work, computed, moved, roofline_s

if TYPE_CHECKING:
    from dse.arch.roofline import Roofline
    from dse.arch.system import Link
    from dse.simulator.system.mapping import PassFile

XPU = "xpu"
# Operations of one activation and of one normalised value: AttAcc simulator, model.py.
_PASS_FLOPS = {"activation": 8.0, "normalisation": 5.0, "residual": 1.0}


def product(
    machine: Roofline,
    name: str,
    m: Array,
    n: Array,
    k: Array,
    value: Array,
    count: Array,
    waves: bool = False,
) -> Work:
    """A dense layer on each of ``count`` devices, its own m, n, k."""
    flops = 2.0 * m * n * k
    full: Array | None
    caches: tuple[Action, ...] = ()
    if waves and machine.cores is not None:
        tiles = tiled(machine.cores, m, n, k, ONE, value, split=True)
        size, full = tiles.off_bytes, tiles.occupancy
        caches = cache_actions(machine, XPU, name, tiles.l2_bytes, tiles.l1_bytes, flops, count)
    else:
        size, full = (m * k + k * n + m * n) * value, None
    actions = (
        moved(DRAM, name, "", machine, size * count),
        computed(XPU, name, machine, flops * count),
        *caches,
    )
    return Work(roofline_s(machine, flops, size, full), size, flops, actions)


def passed(
    machine: Roofline,
    name: str,
    values: Array,
    spec: PassFile,
    width: Array,
    value: Array,
    count: Array,
    waves: bool,
) -> Work:
    """An element-wise pass over ``values`` activations of each device, with vectors of ``width`` weights."""
    size = spec.times * (spec.tensors * values + spec.weights * width) * value
    latency, share = machine.passes.get(name, (ZERO, ONE))
    seconds = spec.times * latency + size / (machine.byte_per_s * share)
    flops = spec.times * _PASS_FLOPS.get(name, 1.0) * values
    caches: tuple[Action, ...] = ()
    if waves and machine.cores is not None:
        caches = cache_actions(machine, XPU, name, size, size, size, count, per_register=ONE)
    actions = (
        moved(DRAM, name, "", machine, size * count),
        computed(XPU, name, machine, flops * count),
        *caches,
    )
    return Work(seconds, size, ZERO, actions)


def reduced(link: Link, name: str, each_bytes: Array, devices: Array, whole: bool) -> Work:
    """An all-reduce of ``each_bytes`` over the devices; ``whole`` counts the energy of all data once from each."""
    share = ONE if whole else link.passes * (devices - 1.0) / devices
    sent = each_bytes * share * devices
    action = Action("link", name, "", "send", sent, sent, sent * link.j_per_byte)
    return Work(link.all_reduce_s(each_bytes, devices), ZERO, ZERO, (action,))


def sent(link: Link, name: str, each_bytes: Array, devices: Array) -> Work:
    """What each device sends over its link."""
    action = Action("link", name, "", "send", each_bytes * devices, each_bytes * devices)
    joules = each_bytes * devices * link.j_per_byte
    return Work(
        link.send_s(each_bytes),
        ZERO,
        ZERO,
        (Action(action.component, name, "", "send", action.count, action.bytes, joules),),
    )
