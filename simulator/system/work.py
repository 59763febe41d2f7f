"""What one operator does on one kind of device: time on each device, actions of all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ZERO, Array, total
from dse.simulator.program import Action, Constraint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.arch.roofline import Roofline

DRAM, BANKS = "dram", "banks"


@dataclass(frozen=True)
class Work:
    """An operator on one kind of device.

    ``seconds`` pass on each device, ``bytes`` and ``flops`` are those of each; ``actions`` are of all devices.
    ``constraints`` are those of the device's own model.
    """

    seconds: Array
    bytes: Array
    flops: Array
    actions: tuple[Action, ...] = ()
    constraints: tuple[Constraint, ...] = ()

    def scaled(self, factor: Array) -> Work:
        """A share of the work."""
        actions = tuple(
            replace(a, count=a.count * factor, bytes=a.bytes * factor, joules=a.joules * factor)
            for a in self.actions
        )
        return replace(
            self,
            seconds=self.seconds * factor,
            bytes=self.bytes * factor,
            flops=self.flops * factor,
            actions=actions,
        )


def together(parts: Sequence[Work]) -> Work:
    """Operators one after another on the same device."""
    return Work(
        total([part.seconds for part in parts]),
        total([part.bytes for part in parts]),
        total([part.flops for part in parts]),
        tuple(action for part in parts for action in part.actions),
        tuple(constraint for part in parts for constraint in part.constraints),
    )


def moved(
    memory: str, einsum: str, tensor: str, machine: Roofline, all_bytes: Array, action: str = "read"
) -> Action:
    """Bytes of all devices through a memory, rows opened included."""
    each = machine.access_j_per_byte + machine.activate_j / machine.row_bytes
    return Action(memory, einsum, tensor, action, all_bytes, all_bytes, all_bytes * each)


def computed(unit: str, einsum: str, machine: Roofline, all_flops: Array) -> Action:
    """Multiply-adds of all devices."""
    macs = all_flops / 2.0
    return Action(unit, einsum, "", "mac", macs, ZERO, macs * machine.mac_j)


def roofline_s(machine: Roofline, flops: Array, moved_bytes: Array, occupancy: Array | None = None) -> Array:
    """Seconds of a roofline: the longer of computing and moving, at the shares the machine sustains."""
    compute = flops / (machine.peak_flop_per_s * machine.sustained_compute)
    memory = moved_bytes / (machine.byte_per_s * machine.sustained_memory)
    longest: Array = np.maximum(compute, memory)
    return longest if occupancy is None else longest / occupancy
