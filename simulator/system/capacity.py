"""What weights and keys take of the memories of a system, and the largest batch they leave room for.

Modelled: weights of the layers in scope spread over the xpus, keys and values of the batch where attention is placed.
Scope attention has no weights; only scope model fills the memories as a running model does. Not modelled: activations,
fragments.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ONE, ZERO, Array, total
from dse.simulator.program import Constraint
from dse.simulator.system.devices import roofline_of

if TYPE_CHECKING:
    from dse.arch.system import System
    from dse.workloads.workload import Workload

XPU, PIM = "xpu", "pim"
_LEVERS = ("fewer or shorter requests (-p batch, -p sequence)", "more devices", "a narrower precision")


@dataclass(frozen=True)
class Capacity:
    """Bytes of weights and of keys and values of a workload on a system, all devices together."""

    workload: Workload
    machine: System
    rows: Array

    @cached_property
    def weight_bytes(self) -> Array:
        """Bytes of the weights of all layers in scope."""
        work = self.workload
        dense = total([gemm.n * gemm.k for gemm in work.linear]) * work.layers
        experts = work.experts
        if experts is None:
            return dense * work.value_bytes
        routed = experts.weights * (experts.count + experts.shared) + experts.model_dim * experts.count
        rest = total([gemm.n * gemm.k for gemm in experts.dense]) * experts.dense_layers
        return (dense + routed * experts.layers + rest) * work.value_bytes

    @cached_property
    def kv_bytes(self) -> Array:
        """Bytes of keys and values of the whole batch."""
        return total([r.count * r.keys for r in self.workload.batch]) * self.key_bytes

    @cached_property
    def key_bytes(self) -> Array:
        """Bytes kept of one key, all layers in scope; a latent is kept on every device that has heads of it."""
        sizes, work = self.workload.sizes, self.workload
        devices = self.machine.devices[PIM if self.apart else XPU].count
        copies = np.maximum(np.minimum(devices, sizes["h"] * sizes["g"]) / sizes["h"], 1.0)
        return work.stored_values * copies * work.value_bytes * work.layers

    @property
    def apart(self) -> bool:
        """Whether keys and values are in memory of PIM's own."""
        return PIM in self.machine.devices and self.machine.devices[PIM].memory is None

    def room(self, side: str) -> Array:
        """Bytes of the memories of all devices of a kind."""
        device = self.machine.devices[side]
        return roofline_of(device.machine).capacity_bytes * device.count

    @cached_property
    def largest_batch(self) -> Array:
        """Most requests as long as the longest of these that fit."""
        left = self.room(PIM) if self.apart else self.room(XPU) - self.weight_bytes
        return np.maximum(np.floor(left / (self.key_bytes * self.workload.sizes["m"])), 0.0)

    def columns(self) -> dict[str, Array]:
        """Capacity as result columns."""
        found = {"weight_bytes": self.weight_bytes * ONE, "capacity_bytes": self.room(XPU)}
        if self.apart:
            found["capacity_bytes"] = found["capacity_bytes"] + self.room(PIM)
        if self.workload.sizes:
            found |= {"kv_bytes": self.kv_bytes, "largest_batch": self.largest_batch}
        return found


def constraints(capacity: Capacity) -> list[Constraint]:
    """Weights, keys and values must fit where they are kept."""
    kept = capacity.kv_bytes if capacity.workload.sizes else ZERO
    if capacity.apart:
        return [
            Constraint("xpu memory capacity", capacity.weight_bytes, capacity.room(XPU), "B", _LEVERS),
            Constraint("pim memory capacity", kept, capacity.room(PIM), "B", _LEVERS),
        ]
    return [Constraint("memory capacity", capacity.weight_bytes + kept, capacity.room(XPU), "B", _LEVERS)]
