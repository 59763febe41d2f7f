"""Dense layers on the 2D array, output-stationary: Z[m,n] = A[m,k] * W[k,n].

Modelled: weights stay in the buffer if they fit with one tile of inputs, and inputs stream once; else blocks of input
rows (a power of two of tiles) stay and the weights stream once for each block. Each layer overlaps with its own
traffic; outputs go straight to DRAM. The rule reproduces the traffic of every dense layer the FuseMax artifact stores.
Not modelled: fusion of layers, activation functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ONE, ZERO, Array, ceil_div, product, total
from dse.simulator.program import Action, Body, Constraint, Node, Par, Seq, Step

if TYPE_CHECKING:
    from dse.arch.spatial_array import ComputeUnit, SpatialArray
    from dse.workloads.workload import Gemm

UNIT = "array_2d"


@dataclass(frozen=True)
class Dense:
    """One dense layer on one machine."""

    gemm: Gemm
    machine: SpatialArray
    value_bytes: Array
    registers_counted: bool

    @property
    def _unit(self) -> ComputeUnit:
        return self.machine.units[UNIT]

    @cached_property
    def macs(self) -> Array:
        """Multiply-adds."""
        return product(self.gemm.m, self.gemm.n, self.gemm.k)

    @cached_property
    def steps(self) -> Array:
        """Cycles of the array: output tiles × depth."""
        rows, columns = self._unit.axes["rows"], self._unit.axes["columns"]
        return product(ceil_div(self.gemm.m, rows), ceil_div(self.gemm.n, columns), self.gemm.k)

    @cached_property
    def busy(self) -> Array:
        """Cycles the array is held."""
        return product(self.steps, self._unit.operations["mac"].busy_cycles)

    @cached_property
    def _weight_tile_bytes(self) -> Array:
        return product(np.minimum(self._unit.axes["columns"], self.gemm.n), self.gemm.k, self.value_bytes)

    @cached_property
    def demand_bytes(self) -> Array:
        """Buffer bytes of the smallest block: one tile of input rows and one of weights."""
        rows = np.minimum(self._unit.axes["rows"], self.gemm.m)
        return product(rows, self.gemm.k, self.value_bytes) + self._weight_tile_bytes

    @cached_property
    def weight_streams(self) -> Array:
        """Times the weights are fetched."""
        capacity, tile = self.machine.memories["global_buffer"].capacity_bytes, self._unit.axes["rows"]
        weights = product(self.gemm.k, self.gemm.n, self.value_bytes)
        room = np.maximum(capacity - self._weight_tile_bytes, 1.0) / product(
            tile, self.gemm.k, self.value_bytes
        )
        rows = product(tile, np.exp2(np.floor(np.log2(np.maximum(room, 1.0)))))
        resident = weights + self._weight_tile_bytes <= capacity
        return np.where(resident, 1.0, ceil_div(self.gemm.m, rows))

    @cached_property
    def actions(self) -> tuple[Action, ...]:
        """Everything the layer does, by component."""
        name, gemm, unit = self.gemm.name, self.gemm, self._unit
        inputs, weights = product(gemm.m, gemm.k), product(gemm.k, gemm.n, self.weight_streams)
        mac = unit.operations["mac"]
        found = [Action(UNIT, name, "", "mac", self.macs, ZERO, self.macs * mac.energy_j)]
        for tensor, words, reads in (
            ("A", inputs, self.macs / np.minimum(unit.axes["columns"], gemm.n)),
            ("W", weights, self.macs / np.minimum(unit.axes["rows"], gemm.m)),
        ):
            found += [
                self._moved("dram", tensor, "read", words),
                self._moved("global_buffer", tensor, "write", words),
                self._moved("global_buffer", tensor, "read", reads),
            ]
        found.append(self._moved("dram", "Z", "write", product(gemm.m, gemm.n)))
        return (*found, *self._register_actions())

    def _register_actions(self) -> tuple[Action, ...]:
        if not self.registers_counted:
            return ()
        unit, mac, name = self._unit, self._unit.operations["mac"], f"{UNIT}.registers"
        reads, writes = self.macs * mac.register_reads, self.macs * mac.register_writes
        return (
            Action(
                name,
                self.gemm.name,
                "",
                "read",
                reads,
                reads * self.value_bytes,
                reads * unit.register_read_j,
            ),
            Action(
                name,
                self.gemm.name,
                "",
                "write",
                writes,
                writes * self.value_bytes,
                writes * unit.register_write_j,
            ),
        )

    def _moved(self, component: str, tensor: str, action: str, words: Array) -> Action:
        memory = self.machine.memories[component]
        each = memory.read_j_per_byte if action == "read" else memory.write_j_per_byte
        moved = words * self.value_bytes
        return Action(component, self.gemm.name, tensor, action, words, moved, moved * each)

    def constraint(self) -> Constraint:
        """One tile of inputs and one of weights must fit the buffer."""
        capacity = self.machine.memories["global_buffer"].capacity_bytes
        levers = ("a larger memories.global_buffer.capacity", "a smaller array", "a narrower precision")
        return Constraint(
            f"global_buffer capacity ({self.gemm.name})", self.demand_bytes, capacity, "B", levers
        )


def dense_tree(layer: Dense, physical: bool) -> Node:
    """One layer overlapped with its traffic; physically, buffer ports and the array's skew count, too."""
    name, machine = layer.gemm.name, layer.machine
    dram = tuple(a for a in layer.actions if a.component == "dram")
    buffer = tuple(a for a in layer.actions if a.component == "global_buffer")
    rest = tuple(a for a in layer.actions if a.component not in ("dram", "global_buffer"))
    moved = total([a.bytes for a in dram]) / machine.memories["dram"].bandwidth_byte_per_s * machine.clock_hz
    transfer = Step(f"{name}.dram", "dram", moved, actions=dram)
    compute = Step(name, UNIT, layer.busy, actions=rest if physical else rest + buffer)
    if not physical:
        return Par(f"{name}.layer", (Body(transfer.name, (transfer,)), Body(name, (compute,))))
    level = machine.memories["global_buffer"]
    ports = total([a.bytes for a in buffer]) / level.byte_per_cycle(machine.clock_hz)
    port_step = Step(f"{name}.buffer", "global_buffer", ports, actions=buffer)
    axes = machine.units[UNIT].axes
    skew = Step(f"{name}.skew", None, axes["rows"] + axes["columns"] - 2.0 * ONE)
    steps = (transfer, port_step, compute)
    overlapped = Par(f"{name}.overlap", tuple(Body(s.name, (s,)) for s in steps))
    return Seq(f"{name}.layer", (Body(skew.name, (skew,)), overlapped))
