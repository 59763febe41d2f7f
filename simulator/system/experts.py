"""Experts of a layer on the devices of a system: each whole on one device, run on its xpu, its PIM, or both at once.

Modelled: token counts of every expert and layer, the slowest device of each layer, the faster processor for every
operator, experts shared out between both processors so that the later one ends first, banks that both read. Not
modelled: sending tokens between devices that hold different ones (tensor-parallel devices hold all).

Sharing out, physical: experts by falling load, the first ones to the xpu, as many as make the end earliest. Published
(LLMSimulator, route.cpp): the same order, by an estimate in units of one weight read, experts in four groups where a
device has more than four, stopping at the first that does not help.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import total

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.arch.roofline import Roofline
    from dse.simulator.arrays import Array
    from dse.workloads.experts import Experts

# Share of the stack's bandwidth the published estimate counts on.
_PUBLISHED_SHARE = 0.75
_GROUPS = 4


@dataclass(frozen=True)
class Shared:
    """Experts of one layer, averaged over layers, shape (n,).

    Seconds are those of the slowest device of each layer: on either processor, on the banks, and all together; bytes
    and flops are those of all devices on either processor.
    """

    xpu_s: Array
    pim_s: Array
    banks_s: Array
    total_s: Array
    xpu_bytes: Array
    pim_bytes: Array
    xpu_flops: Array
    pim_flops: Array


@dataclass(frozen=True)
class Split:
    """How experts may be run: processors, both at once, banks shared, by the published estimate."""

    xpu: Roofline
    pim: Roofline | None
    coprocess: bool
    contention: bool
    published: bool
    activation_tensors: float


def share(experts: Experts, value: Array, devices: int, how: Split) -> Shared:
    """Experts of a layer on ``devices`` devices, consecutive experts on each."""
    points, layers, count = experts.tokens.shape
    tokens = experts.tokens.reshape(points, layers, devices, count // devices)
    costs = _Costs(experts, _wide(value), how, tokens)
    if how.pim is None:
        on_xpu = np.ones_like(tokens)
        return _gathered(costs, on_xpu, costs.xpu_s, np.zeros_like(tokens), how, together=False)
    if not how.coprocess:
        return _gathered(costs, None, costs.fast_xpu_s, costs.fast_pim_s, how, together=False)
    choose = _published_choice if how.published else _best_choice
    on_xpu = choose(tokens, costs, how)
    return _gathered(costs, on_xpu, costs.xpu_s * on_xpu, costs.pim_s * (1.0 - on_xpu), how, together=True)


class _Costs:
    """Time, bytes and flops of each expert on either processor, operator by operator."""

    def __init__(self, experts: Experts, value: Array, how: Split, tokens: NDArray[np.float64]) -> None:
        deep, width = _wide(experts.model_dim), _wide(experts.ffn_dim)
        busy = (tokens > 0).astype(np.float64)
        weights = deep * width * busy
        flops = 2.0 * tokens * deep * width
        size = (weights + tokens * (deep + width)) * value
        activation = how.activation_tensors * tokens * width * value
        products = float(experts.matrices)
        self.operators = ((products, flops, size), (1.0, tokens * 0.0, activation))
        self.bytes = products * size + activation
        self.flops = products * flops
        xpu = [times * _seconds(how.xpu, f, b) for times, f, b in self.operators]
        self.xpu_s = total(xpu)
        if how.pim is None:
            return
        pim = [times * _seconds(how.pim, f, b) for times, f, b in self.operators]
        self.pim_s = total(pim)
        faster = [mine <= other for mine, other in zip(xpu, pim, strict=True)]
        chosen = list(zip(faster, xpu, pim, self.operators, strict=True))
        self.fast_xpu_s = total([np.where(here, mine, 0.0) for here, mine, _, _ in chosen])
        self.fast_pim_s = total([np.where(here, 0.0, other) for here, _, other, _ in chosen])
        self.fast_xpu_bytes = total([np.where(here, times * b, 0.0) for here, _, _, (times, _, b) in chosen])
        self.fast_xpu_flops = total([np.where(here, times * f, 0.0) for here, _, _, (times, f, _) in chosen])


def _seconds(machine: Roofline, flops: Array, size: Array) -> Array:
    """Seconds of an operator of every expert; the machine's numbers are of axis 0."""
    compute = _wide(machine.peak_flop_per_s * machine.sustained_compute)
    memory = _wide(machine.byte_per_s * machine.sustained_memory)
    longest: Array = np.maximum(flops / compute, size / memory)
    return longest


def _inside(pim: Roofline) -> Array:
    """Bytes a second the banks of a stack deliver, whoever reads."""
    found: Array = pim.byte_per_s * pim.sustained_memory
    return found


def _wide(per_point: Array) -> Array:
    """An array over points, ready for layers, devices and experts."""
    return per_point[:, None, None, None]


def _gathered(
    costs: _Costs, on_xpu: Array | None, xpu_s: Array, pim_s: Array, how: Split, *, together: bool
) -> Shared:
    """Sums over the experts of a device, the slowest device of each layer, means over layers."""
    xpu_bytes = costs.bytes * on_xpu if on_xpu is not None else costs.fast_xpu_bytes
    xpu_flops = costs.flops * on_xpu if on_xpu is not None else costs.fast_xpu_flops
    pim_bytes, pim_flops = costs.bytes - xpu_bytes, costs.flops - xpu_flops
    sides = [_sum(part) for part in (xpu_s, pim_s)]
    banks = np.zeros_like(sides[0])
    if together and how.contention and how.pim is not None:
        banks = _sum(xpu_bytes + pim_bytes) / _wide(_inside(how.pim))[..., 0]
    every = np.maximum(np.maximum(*sides), banks) if together else sides[0] + sides[1]
    slowest = np.argmax(every, axis=2)[:, :, None]

    def of_slowest(part: Array) -> Array:
        picked: Array = np.take_along_axis(part, slowest, axis=2)[:, :, 0]
        return _mean(picked)

    sums = [_sum(_sum(part)) for part in (xpu_bytes, pim_bytes, xpu_flops, pim_flops)]
    return Shared(*(of_slowest(part) for part in (*sides, banks, every)), *(_mean(part) for part in sums))


def _sum(values: Array) -> Array:
    """Sum over the last axis, left to right, so that one point and many give the same bits."""
    found: Array = np.add.accumulate(values, axis=-1)[..., -1]
    return found


def _mean(layers: Array) -> Array:
    """Mean over the layers, the last axis."""
    found: Array = _sum(layers) / layers.shape[-1]
    return found


def _best_choice(tokens: NDArray[np.float64], costs: _Costs, how: Split) -> Array:
    """1 where an expert runs on the xpu: the first so many by load, for the earliest end, the fewest of equals."""
    order = np.argsort(-tokens, axis=3, kind="stable")
    xpu = np.cumsum(np.take_along_axis(costs.xpu_s, order, axis=3), axis=3)
    pim = np.take_along_axis(costs.pim_s, order, axis=3)
    left = _sum(pim)[..., None] - np.cumsum(pim, axis=3)
    none = np.zeros_like(xpu[..., :1])
    ends = np.concatenate([_sum(pim)[..., None] + none, np.maximum(xpu, np.maximum(left, 0.0))], axis=3)
    if how.contention and how.pim is not None:
        ends = np.maximum(ends, _sum(costs.bytes)[..., None] / _wide(_inside(how.pim)))
    taken = np.argmin(ends, axis=3)[..., None]
    rank = np.argsort(order, axis=3, kind="stable")
    chosen: Array = (rank < taken).astype(np.float64)
    return chosen


def _published_choice(tokens: NDArray[np.float64], costs: _Costs, how: Split) -> Array:
    """1 where the published estimate sends an expert to the xpu."""
    assert how.pim is not None
    size = tokens.shape[3]
    grouped = size // _GROUPS if size > _GROUPS and size % _GROUPS == 0 else 1
    ridge = _wide(how.xpu.peak_flop_per_s / (how.xpu.byte_per_s * _PUBLISHED_SHARE))
    faster = _wide(how.pim.byte_per_s / how.xpu.byte_per_s)
    intensity = _wide(how.pim.peak_flop_per_s / how.pim.byte_per_s)
    high = np.maximum(1.0, tokens / ridge)
    low = np.maximum(1.0, tokens / intensity * _PUBLISHED_SHARE) / faster
    shape = (*tokens.shape[:3], size // grouped, grouped)
    high, low, load = (_sum(part.reshape(shape)) for part in (high, low, tokens))
    order = np.argsort(-load, axis=3, kind="stable")
    high, low = (np.take_along_axis(part, order, axis=3) for part in (high, low))
    ends = np.maximum(np.cumsum(high, axis=3), _sum(low)[..., None] - np.cumsum(low, axis=3))
    before = np.concatenate([_sum(low)[..., None], ends[..., :-1]], axis=3)
    taken = np.cumprod(ends < before, axis=3).sum(axis=3, keepdims=True)
    rank = np.argsort(order, axis=3, kind="stable")
    chosen: Array = np.repeat((rank < taken).astype(np.float64), grouped, axis=3)
    return chosen
