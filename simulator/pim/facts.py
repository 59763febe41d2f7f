"""What is known of attention in memory whatever the schedule: useful and executed work, rates, cycles of actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ZERO, Array, product, total
from dse.simulator.lowering import Facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.simulator.pim.shape import Shape

SOFTMAX = ("max", "subtract", "exp", "add", "divide")


def facts_of(shapes: Sequence[Shape], pairs: Array, layers: Array) -> Facts:
    """Facts of attention on all stacks, times the number of layers; ``pairs`` of a query and a key count.

    ``shapes`` are those of groups of equal heads on the same machine.
    """
    shape = shapes[0]
    machine, work, dram = shape.machine, shape.work, shape.machine.dram
    units = machine.stacks * dram.pseudo_channel_count * machine.units
    macs = total(_executed_macs(one) for one in shapes) * layers
    useful = product(pairs, work.key_dim + work.value_dim, layers)
    pins = machine.stacks * dram.byte_per_s
    scores = total(product(one.work.heads, one.work.queries, one.work.keys) for one in shapes) * layers
    unknown = np.full(1, np.nan)
    return Facts(
        flops=2.0 * useful,
        executed_flops=2.0 * macs,
        vector_ops=dict.fromkeys(SOFTMAX, scores),
        onchip_bytes=ZERO,
        occupied={"units": useful * machine.spacing_cycles},
        elements={"units": units * machine.queries * shape.values_per_access},
        peak_flop_per_s=machine.peak_flop_per_s,
        area_m2=unknown,
        memory_byte_per_s={"dram": pins, "banks": machine.internal_byte_per_s},
        cycles_each=_cycles_each(shape, units),
        cycles_per_byte={"dram": machine.clock_hz / pins},
        window=unknown,
        block_queries=unknown,
    )


def _executed_macs(shape: Shape) -> Array:
    machine = shape.machine
    units = shape.work.heads * shape.split * machine.dram.pseudo_channels * machine.units
    each = machine.queries * shape.values_per_access
    return units * (shape.score_accesses + shape.value_accesses) * each


def _cycles_each(shape: Shape, units: Array) -> dict[tuple[str, str, str], Array]:
    """Cycles of one access of one unit among all of them; activations and multiply-adds run beside."""
    each = shape.machine.spacing_cycles / units
    found = {("banks", "QK", "read"): each, ("banks", "AV", "read"): each}
    unit = shape.machine.softmax
    if unit is not None:
        channels = shape.machine.stacks * shape.machine.dram.channels
        found["softmax", "SM", "softmax"] = unit.passes / unit.values_per_cycle / channels
    return found
