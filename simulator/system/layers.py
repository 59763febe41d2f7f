"""One layer of a model on a system, as nodes of the Program tree.

Modelled: element-wise passes, projections spread over the xpus, attention on the fastest device allowed or overlapped
with projections, all-reduces, feed-forward part or experts. Not modelled: overlap of links with dense layers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from dse.arch.gpu import Gpu
from dse.simulator.arrays import ONE, ZERO, Array, as_array, total
from dse.simulator.program import Body, Choose, Node, Par, Seq, Step
from dse.simulator.system import dense, devices, stacks
from dse.simulator.system.attention import beside_memory, fused, heads_of, unfused
from dse.simulator.system.experts import Split, share
from dse.simulator.system.mapping import PassFile
from dse.simulator.system.work import BANKS, DRAM, Work, computed, moved, together

if TYPE_CHECKING:
    from dse.arch.roofline import Roofline
    from dse.arch.system import Device, System
    from dse.simulator.program import Constraint
    from dse.simulator.system.mapping import Conventions, File
    from dse.workloads.gemm import Gemm
    from dse.workloads.requests import Requests
    from dse.workloads.workload import Workload

XPU, PIM, LINK = "xpu", "pim", "link"
# Gemms every device computes whole, those that join heads again, and those that follow attention.
_WHOLE = ("query_down", "latent")
_JOINED = ("output", "ffn_down")
_AFTER = ("value_absorbed", "output")


@dataclass(frozen=True)
class Layer:
    """What the nodes of a layer are built from; ``paper`` is None in physical accounting.

    ``constraints`` gathers those of the devices as nodes are built.
    """

    workload: Workload
    machine: System
    file: File
    paper: Conventions | None
    constraints: list[Constraint] = field(default_factory=list)

    @property
    def xpu(self) -> Roofline:
        """The machine of an xpu, as a roofline."""
        return devices.roofline_of(self.machine.devices[XPU].machine)

    @property
    def gpu(self) -> Gpu | None:
        """The GPU an xpu is, if it is more than a roofline."""
        machine = self.machine.devices[XPU].machine
        return machine if isinstance(machine, Gpu) else None

    @property
    def pim(self) -> Device | None:
        """The PIM devices, if any."""
        return self.machine.devices.get(PIM)

    @property
    def count(self) -> Array:
        """Number of xpus."""
        return self.machine.devices[XPU].count

    @property
    def waves(self) -> bool:
        """Whether peaks shrink by a partly filled wave."""
        return self.paper is not None and self.paper.waves

    @property
    def rows(self) -> Array:
        """Query rows of the batch."""
        if self.workload.sizes:
            return total([r.count * r.queries for r in self.workload.batch])
        return self.workload.linear[0].m if self.workload.linear else ONE

    def step(self, name: str, unit: str | None, work: Work) -> Step:
        """A step that holds a unit for as long as the work takes."""
        self.constraints.extend(work.constraints)
        return Step(name, unit, work.seconds * self.machine.clock_hz, actions=work.actions)

    def body(self, name: str, unit: str, work: Work) -> Body:
        """A node of one step."""
        return Body(name, (self.step(name, unit, work),))


def layer_node(layer: Layer, experts: bool) -> Node:
    """One layer: attention part, feed-forward part or experts, passes in between."""
    work, nodes = layer.workload, list[Node]()
    if work.linear:
        nodes.append(layer.body("passes", XPU, _passes(layer, experts)))
    nodes.append(_attention_part(layer))
    if work.linear:
        nodes.append(_all_reduce(layer, "all_reduce_attention"))
        nodes += _experts_part(layer) if experts else _feed_forward(layer)
        nodes.append(_all_reduce(layer, "all_reduce_feed_forward"))
    return nodes[0] if len(nodes) == 1 else Seq("layer", tuple(nodes))


def _passes(layer: Layer, experts: bool) -> Work:
    """Normalisations and residual additions of the layer, on every device whole."""
    width = layer.workload.linear[-1].n if layer.workload.linear[-1].name == "ffn_down" else _width(layer)
    specs = layer.file.passes
    if experts and layer.paper is not None and layer.paper.expert_passes is not None:
        specs = layer.paper.expert_passes
    return together(
        [
            dense.passed(
                layer.xpu,
                name,
                layer.rows * width,
                spec,
                width,
                layer.workload.value_bytes,
                layer.count,
                layer.waves,
            )
            for name, spec in specs.items()
        ]
    )


def _width(layer: Layer) -> Array:
    """Model dimension."""
    return next(gemm.n for gemm in layer.workload.linear if gemm.name == "output")


def _spread(layer: Layer, gemm: Gemm) -> Gemm:
    """An xpu's part of a dense layer: rows of the weights where heads join, else columns."""
    if gemm.name in _JOINED:
        return replace(gemm, k=np.ceil(gemm.k / layer.count))
    return gemm if gemm.name in _WHOLE else replace(gemm, n=np.ceil(gemm.n / layer.count))


def _gemm(layer: Layer, gemm: Gemm) -> Work:
    """A dense layer spread over the xpus."""
    each = _spread(layer, gemm)
    if layer.gpu is not None:
        return devices.dense_on(layer.gpu, layer.workload, (each,), layer.count)
    value = layer.workload.value_bytes
    return dense.product(layer.xpu, each.name, each.m, each.n, each.k, value, layer.count, layer.waves)


def _projections(layer: Layer) -> tuple[list[Work], list[Work]]:
    """Projections before and after attention; queries, keys and values of one input as one product."""
    linear = {gemm.name: gemm for gemm in layer.workload.linear if not gemm.name.startswith("ffn")}
    if {"query", "key", "value"} <= linear.keys():
        parts = [linear.pop(name) for name in ("query", "key", "value")]
        sizes = layer.workload.sizes
        shared = np.maximum(layer.count / sizes["h"], 1.0) if sizes else ONE
        columns = parts[0].n + shared * (parts[1].n + parts[2].n)
        linear = {"qkv": replace(parts[0], name="qkv", n=columns), **linear}
    before = [_gemm(layer, gemm) for name, gemm in linear.items() if name not in _AFTER]
    after = [_gemm(layer, gemm) for name, gemm in linear.items() if name in _AFTER]
    return before, after


def _attention_part(layer: Layer) -> Node:
    """Projections, attention and what crosses the link to PIM."""
    before, after = _projections(layer) if layer.workload.linear else ([], [])
    parts: list[Node] = [layer.body("projections_in", XPU, together(before))] if before else []
    if layer.workload.sizes:
        attention = _attention(layer)
        transfer = _transfers(layer)
        if layer.file.overlap == "heads" and _own_memory(layer):
            side = Seq("projections", tuple(_both(layer, before, after)))
            children = (side, attention, transfer) if before else (attention, transfer)
            return Par("attention_part", tuple(c for c in children if c is not None), _by_head(layer))
        if transfer is not None:
            hidden = layer.paper is not None and layer.paper.hidden_transfers
            pair = (attention, transfer)
            attention = Par("pim_part", pair, _by_head(layer)) if hidden else Seq("pim_part", pair)
        parts.append(attention)
    if after:
        parts.append(layer.body("projections_out", XPU, together(after)))
    return parts[0] if len(parts) == 1 else Seq("attention_part", tuple(parts))


def _both(layer: Layer, before: list[Work], after: list[Work]) -> list[Node]:
    return [
        layer.body("projections_in", XPU, together(before)),
        layer.body("projections_out", XPU, together(after)),
    ]


def _by_head(layer: Layer) -> Array:
    """Overlap of work that passes from unit to unit head by head: all but one head of a device."""
    return 1.0 - 1.0 / np.maximum(heads_of(layer.workload, layer.count).heads, 1.0)


def _own_memory(layer: Layer) -> bool:
    return layer.pim is not None and layer.pim.memory is None


def _transfers(layer: Layer) -> Node | None:
    """Queries, keys and values to PIM with memory of its own, outputs back."""
    if not _own_memory(layer) or "pim" not in layer.file.placement.get("attention", ()):
        return None
    assert layer.pim is not None
    heads, value = heads_of(layer.workload, layer.count), layer.workload.value_bytes
    depth = heads.score_dim if heads.stored_once else heads.score_dim + heads.value_dim
    there = (heads.heads * heads.score_dim + heads.kv_heads * depth) * layer.rows * value
    back = heads.heads * heads.value_dim * layer.rows * value
    link = layer.machine.links[PIM]
    work = together(
        [dense.sent(link, name, size, layer.count) for name, size in (("to_pim", there), ("back", back))]
    )
    return layer.body("transfers", LINK, work)


def _attention(layer: Layer) -> Node:
    """Attention on the devices allowed: requests in decode on PIM or xpu, those in prefill on the xpu."""
    sides = layer.file.placement.get("attention", ["xpu"])
    pim = layer.pim if "pim" in sides else None
    batch = layer.workload.batch
    single = tuple(r for r in batch if bool(np.all(r.queries == 1.0)))
    several = tuple(r for r in batch if r not in single)
    if pim is None or not single:
        return layer.body("attention_on_xpu", XPU, _attention_xpu(layer, batch))
    inside = attention_pim(layer, pim, single)
    decode = layer.body("attention_on_pim", PIM, inside)
    if several:
        return _mixed(layer, pim, (_attention_xpu(layer, several), inside), decode)
    if "xpu" not in sides:
        return decode
    return Choose("attention", (layer.body("attention_on_xpu", XPU, _attention_xpu(layer, batch)), decode))


def _mixed(layer: Layer, pim: Device, works: tuple[Work, Work], decode: Node) -> Node:
    """Prefill on the xpu and decode on PIM: at once where co-processing or memories of their own allow it."""
    prefill = layer.body("prefill_on_xpu", XPU, works[0])
    if not (layer.file.coprocess or _own_memory(layer)):
        return Seq("attention", (prefill, decode))
    if _own_memory(layer) or not _contended(layer):
        return Par("attention", (prefill, decode))
    inside = devices.roofline_of(pim.machine)
    speed = inside.byte_per_s * inside.sustained_memory
    shared = Work((works[0].bytes + works[1].bytes) / speed, ZERO, ZERO)
    return Par("attention", (prefill, decode, layer.body("shared_banks", BANKS, shared)))


def _contended(layer: Layer) -> bool:
    """Whether both sides share the banks they read."""
    return layer.file.contention and not (layer.paper is not None and layer.paper.free_banks)


def _attention_xpu(layer: Layer, batch: tuple[Requests, ...]) -> Work:
    heads = heads_of(layer.workload, layer.count, batch)
    if layer.gpu is not None:
        return devices.attention_on(layer.gpu, layer.workload, heads, layer.count)
    if layer.paper is not None and layer.paper.unfused:
        return unfused(layer.xpu, XPU, heads, layer.count, layer.waves)
    return fused(layer.xpu, XPU, heads, layer.count)


def attention_pim(layer: Layer, pim: Device, batch: tuple[Requests, ...]) -> Work:
    """Attention on the PIM devices."""
    heads = heads_of(layer.workload, pim.count, batch)
    if pim.machine.kind == "pim":
        accounting = "physical" if layer.paper is None else "paper"
        split = stacks.best_split(pim, heads, accounting) if layer.file.split_heads else ONE
        return stacks.attend(pim, heads, split, accounting)
    bare = layer.paper is not None and layer.paper.bare_pim
    machine = devices.roofline_of(pim.machine)
    return beside_memory(machine, layer.xpu, PIM, heads, pim.count, bare)


def _all_reduce(layer: Layer, name: str) -> Node:
    each = layer.rows * _width(layer) * layer.workload.value_bytes
    whole = layer.paper is not None and layer.paper.whole_transfers
    return layer.body(name, LINK, dense.reduced(layer.machine.links["peers"], name, each, layer.count, whole))


def _feed_forward(layer: Layer) -> list[Node]:
    """Dense feed-forward part with its activation."""
    gemms = layer.workload.experts.dense if layer.workload.experts else layer.workload.linear
    works = {gemm.name: _gemm(layer, gemm) for gemm in gemms if gemm.name.startswith("ffn")}
    up = next(gemm for gemm in gemms if gemm.name == "ffn_up")
    tensors = 2 + ("ffn_gate" in works)
    if layer.paper is not None and layer.paper.activation_tensors is not None:
        tensors = layer.paper.activation_tensors
    values = up.m * np.ceil(up.n / layer.count)
    activation = dense.passed(
        layer.xpu,
        "activation",
        values,
        PassFile(times=1, tensors=tensors),
        ZERO,
        layer.workload.value_bytes,
        layer.count,
        layer.waves,
    )
    down = works.pop("ffn_down")
    if not (layer.file.split_feed_forward and _own_memory(layer)):
        return [layer.body("feed_forward", XPU, together([*works.values(), activation, down]))]
    shared = {gemm.name: _both_sides(layer, gemm) for gemm in gemms if gemm.name.startswith("ffn")}
    last = shared.pop("ffn_down")
    return [Seq("feed_forward", (*shared.values(), layer.body("activation", XPU, activation), last))]


def _both_sides(layer: Layer, gemm: Gemm) -> Node:
    """A feed-forward product whose columns xpu and PIM share so that both end together."""
    assert layer.pim is not None
    work = _gemm(layer, gemm)
    factor = stacks.multiple(layer.pim, layer.xpu.byte_per_s, layer.paper)
    value = layer.workload.value_bytes
    inside = layer.xpu.byte_per_s * factor
    compute = work.flops / (layer.xpu.peak_flop_per_s * layer.xpu.sustained_compute)
    memory = work.bytes / (layer.xpu.byte_per_s * layer.xpu.sustained_memory)
    computing = layer.xpu.peak_flop_per_s / (layer.xpu.peak_flop_per_s + inside / value * 2.0)
    share = np.where(compute > memory, computing, 1.0 / (1.0 + factor / layer.rows))
    mine = work.scaled(share)
    if layer.paper is not None:
        return Body(gemm.name, (layer.step(gemm.name, XPU, replace(mine, actions=work.actions)),))
    weights = gemm.n * gemm.k * (1.0 - share)
    theirs = stacks.multiplied(layer.pim, gemm.name, weights, layer.rows, value)
    other = Work(mine.seconds, ZERO, ZERO, theirs)
    sides = (layer.body(f"{gemm.name}_on_xpu", XPU, mine), layer.body(f"{gemm.name}_on_pim", PIM, other))
    return Par(gemm.name, sides)


def _experts_part(layer: Layer) -> list[Node]:
    """Router, shared experts and routed experts of a layer."""
    experts = layer.workload.experts
    assert experts is not None
    value, rows, deep = layer.workload.value_bytes, layer.rows, experts.model_dim
    router = dense.product(
        layer.xpu, "router", rows, as_array(float(experts.count)), deep, value, layer.count
    )
    works = [router]
    if experts.shared:
        width = np.ceil(experts.ffn_dim * experts.shared / layer.count)
        up = dense.product(
            layer.xpu, "shared_up", rows, width * (experts.matrices - 1), deep, value, layer.count
        )
        works += [up, dense.product(layer.xpu, "shared_down", rows, deep, width, value, layer.count)]
    nodes: list[Node] = [layer.body("router", XPU, together(works))]
    return [*nodes, _routed(layer)]


def _routed(layer: Layer) -> Node:
    """Routed experts, on the xpus, on PIM, or shared out between both."""
    experts = layer.workload.experts
    assert experts is not None
    pim = layer.pim if "pim" in layer.file.placement.get("experts", ()) else None
    tensors = 2.0 + experts.gated
    if layer.paper is not None and layer.paper.activation_tensors is not None:
        tensors = float(layer.paper.activation_tensors)
    how = Split(
        layer.xpu,
        None if pim is None else devices.roofline_of(pim.machine),
        layer.file.coprocess,
        _contended(layer),
        layer.paper is not None and layer.paper.published_split,
        tensors,
    )
    found = share(experts, layer.workload.value_bytes, int(layer.count[0]), how)
    on_xpu = Work(
        found.xpu_s,
        found.xpu_bytes,
        found.xpu_flops,
        (
            moved(DRAM, "experts", "", layer.xpu, found.xpu_bytes),
            computed(XPU, "experts", layer.xpu, found.xpu_flops),
        ),
    )
    first = layer.body("experts_on_xpu", XPU, on_xpu)
    if pim is None:
        return first
    machine = devices.roofline_of(pim.machine)
    actions = (
        moved(BANKS, "experts", "", machine, found.pim_bytes),
        computed(PIM, "experts", machine, found.pim_flops),
    )
    second = layer.body("experts_on_pim", PIM, Work(found.pim_s, found.pim_bytes, found.pim_flops, actions))
    if not how.coprocess:
        return Seq("experts", (first, second))
    banks = layer.body("shared_banks", BANKS, Work(found.banks_s, ZERO, ZERO))
    longest = np.maximum(np.maximum(found.xpu_s, found.pim_s), found.banks_s)
    uneven = Work(np.maximum(found.total_s - longest, 0.0), ZERO, ZERO)
    wait = Body("uneven_layers", (layer.step("uneven_layers", None, uneven),))
    return Seq("experts", (Par("both_sides", (first, second, banks)), wait))
