"""Attention of a batch on one kind of device: fused or unfused on the xpu, beside the memory on PIM.

Modelled: keys and values read once for all queries of a head group, queries and outputs, scores where they go through
memory; masks, windows, requests of different lengths. Not modelled: exponentials, which hide behind the products on
these devices, except where a published model counts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ONE, ZERO, Array, total
from dse.simulator.program import Action
from dse.simulator.system.waves import occupancy, tiled
from dse.simulator.system.work import BANKS, DRAM, Work, computed, moved, roofline_s, together

if TYPE_CHECKING:
    from dse.arch.roofline import Roofline
    from dse.workloads.requests import Requests
    from dse.workloads.workload import Workload

# Operations of one score in softmax: published counts of LLMSimulator (attention) and AttAcc (layer softmax).
_SOFTMAX_FUSED_FLOPS = 7.0
_SOFTMAX_PASS_FLOPS = 5.0


@dataclass(frozen=True)
class Heads:
    """Attention one device computes: its key heads, the query heads of each, depths, requests, value size."""

    kv_heads: Array
    group: Array
    score_dim: Array
    value_dim: Array
    stored_once: bool
    causal: bool
    window: Array | None
    batch: tuple[Requests, ...]
    value_bytes: Array

    @property
    def heads(self) -> Array:
        """Query heads of the device."""
        return self.kv_heads * self.group

    def sum(self, what: str) -> Array:
        """Sum over requests: ``pairs``, ``kept`` keys or ``queries``."""
        each = {
            "pairs": [r.pairs(self.causal, self.window) for r in self.batch],
            "kept": [r.kept(self.window) for r in self.batch],
            "queries": [r.queries for r in self.batch],
        }[what]
        return total([r.count * value for r, value in zip(self.batch, each, strict=True)])

    @property
    def kv_bytes(self) -> Array:
        """Bytes of keys and values read."""
        depth = self.score_dim if self.stored_once else self.score_dim + self.value_dim
        return self.kv_heads * self.sum("kept") * depth * self.value_bytes

    @property
    def io_bytes(self) -> Array:
        """Bytes of queries and outputs."""
        return self.heads * self.sum("queries") * (self.score_dim + self.value_dim) * self.value_bytes

    @property
    def scores(self) -> Array:
        """Scores of all heads that count."""
        return self.heads * self.sum("pairs")

    @property
    def flops(self) -> Array:
        """Multiply-adds × 2 of scores and outputs."""
        return self.scores * (self.score_dim + self.value_dim) * 2.0


def heads_of(workload: Workload, devices: Array, batch: tuple[Requests, ...] | None = None) -> Heads:
    """A device's part of the attention of a workload's batch, or some of it, heads spread over ``devices``.

    With fewer key heads than devices, devices share a key head, and each keeps it.
    """
    sizes = workload.sizes
    kv_heads = np.maximum(np.ceil(sizes["h"] / devices), 1.0)
    heads = np.ceil(sizes["h"] * sizes["g"] / devices)
    return Heads(
        kv_heads,
        np.ceil(heads / kv_heads),
        sizes["e"],
        sizes["f"],
        workload.stored_once,
        workload.causal,
        workload.window,
        workload.batch if batch is None else batch,
        workload.value_bytes,
    )


def fused(machine: Roofline, unit: str, heads: Heads, count: Array) -> Work:
    """Attention on the xpu that keeps its scores on the device."""
    seconds = roofline_s(machine, heads.flops, heads.kv_bytes + heads.io_bytes)
    actions = (
        moved(DRAM, "attention", "KV", machine, heads.kv_bytes * count),
        moved(DRAM, "attention", "QO", machine, heads.io_bytes * count),
        computed(unit, "attention", machine, heads.flops * count),
    )
    return Work(seconds, heads.kv_bytes + heads.io_bytes, heads.flops, actions)


def beside_memory(
    machine: Roofline, host: Roofline, unit: str, heads: Heads, count: Array, bare: bool
) -> Work:
    """Attention in the stacks: keys and values inside, queries and outputs over the host's pins unless ``bare``."""
    io = ZERO if bare else heads.io_bytes
    inside = roofline_s(machine, heads.flops, heads.kv_bytes)
    seconds = np.maximum(inside, io / (host.byte_per_s * host.sustained_memory))
    actions = (
        moved(BANKS, "attention", "KV", machine, heads.kv_bytes * count),
        moved(DRAM, "attention", "QO", host, io * count),
        computed(unit, "attention", machine, heads.flops * count),
    )
    return Work(seconds, heads.kv_bytes, heads.flops, actions)


def unfused(machine: Roofline, unit: str, heads: Heads, count: Array, waves: bool) -> Work:
    """Scores, softmax and outputs one after another, scores through memory."""
    score = _product(machine, heads, heads.score_dim, count, "scores", waves, unit)
    if waves:
        softmax = _softmax_pass(machine, heads, count, unit)
    else:
        flops = _SOFTMAX_FUSED_FLOPS * heads.scores
        softmax = Work(
            flops / machine.peak_flop_per_s, ZERO, flops, (computed(unit, "softmax", machine, flops * count),)
        )
    once = ZERO if heads.stored_once else ONE
    output = _product(machine, heads, heads.value_dim, count, "outputs", waves, unit, once)
    return together([score, softmax, output])


def _product(
    machine: Roofline,
    heads: Heads,
    depth: Array,
    count: Array,
    name: str,
    waves: bool,
    unit: str,
    stored: Array = ONE,
) -> Work:
    """One of the two products, its scores moved once."""
    flops = heads.scores * depth * 2.0
    vectors = heads.heads * heads.sum("queries") * depth
    kept = heads.kv_heads * heads.sum("kept") * depth
    size = (kept * stored + vectors + heads.scores) * heads.value_bytes
    full: Array | None = None
    caches: tuple[Action, ...] = ()
    if waves and machine.cores is not None:
        blocks = heads.heads * total([r.count for r in heads.batch])
        full = occupancy(machine.cores, blocks)
        keys, rows = heads.batch[0].kept(heads.window), heads.batch[0].queries
        m, n, k = (rows, keys, depth) if name == "scores" else (rows, depth, keys)
        tiles = tiled(machine.cores, m, n, k, blocks, heads.value_bytes, split=False)
        caches = cache_actions(machine, unit, name, tiles.l2_bytes, tiles.l1_bytes, flops, count)
    actions = (
        moved(DRAM, name, "", machine, size * count),
        computed(unit, name, machine, flops * count),
        *caches,
    )
    return Work(roofline_s(machine, flops, size, full), size, flops, actions)


def _softmax_pass(machine: Roofline, heads: Heads, count: Array, unit: str) -> Work:
    """Softmax as a layer of its own: scores read and written."""
    flops = _SOFTMAX_PASS_FLOPS * heads.scores
    size = 2.0 * heads.scores * heads.value_bytes
    assert machine.cores is not None
    full = occupancy(machine.cores, heads.heads * total([r.count for r in heads.batch]))
    caches = cache_actions(machine, unit, "softmax", size, size, size, count, per_register=ONE)
    actions = (
        moved(DRAM, "softmax", "", machine, size * count),
        computed(unit, "softmax", machine, flops * count),
    )
    return Work(roofline_s(machine, flops, size, full), size, flops, (*actions, *caches))


def cache_actions(
    machine: Roofline,
    unit: str,
    einsum: str,
    l2_bytes: Array,
    l1_bytes: Array,
    flops: Array,
    count: Array,
    per_register: Array | None = None,
) -> tuple[Action, ...]:
    """Energy of the caches and registers of all devices: three register accesses for each multiply-add."""
    cores = machine.cores
    assert cores is not None
    registers = (flops / 2.0 * 3.0 if per_register is None else flops * per_register) * count
    l2, l1 = l2_bytes * count, l1_bytes * count
    return (
        Action(f"{unit}.l2", einsum, "", "access", l2, l2, l2 * cores.l2_j_per_byte),
        Action(f"{unit}.l1", einsum, "", "access", l1, l1, l1 * cores.l1_j_per_byte),
        Action(f"{unit}.registers", einsum, "", "access", registers, ZERO, registers * cores.register_j),
    )
