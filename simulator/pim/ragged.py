"""Heads of different lengths side by side: the channels of all stacks, each with its own heads one after another.

Channels need not wait for each other, so that short heads share a channel while a long one has another to itself:
longest heads first, each on the channel that is free first. Within 4/3 of the best there is (Graham). A head costs
what it adds to a channel that has others. Not modelled: keys placed before their length was known, or moved for
balance.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ONE, Array, Values, as_array
from dse.simulator.pim.attention import cost
from dse.simulator.pim.shape import Attention, Shape
from dse.simulator.pim.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.arch.pim import Pim


def packed_cycles(
    machine: Pim, groups: Sequence[Attention], split: Values = ONE, accounting: str = "physical"
) -> Array:
    """Cycles of the busiest channel where groups of equal heads share a machine's channels.

    Raises
    ------
    DseError
        Sizes that are not at least 1.
    """
    parts_each = as_array(split)
    alone = [cost(machine, group, parts_each, accounting).cycles for group in groups]
    if len(groups) == 1:
        return alone[0]
    lines = [_costs(machine, group, parts_each, published=accounting == "paper") for group in groups]
    size = max(len(column) for column in (*alone, *(group.heads for group in groups), parts_each))
    busy = np.array([_busiest(machine, groups, lines, parts_each, point) for point in range(size)])
    first = np.broadcast_to(
        np.max(np.broadcast_arrays(*(start for _, start, _ in lines)), axis=0), busy.shape
    )
    cycles = lines[0][2].with_refresh(busy + first)
    # One head after another on one channel each is the least that any of them takes.
    least = np.max(
        np.broadcast_arrays(cycles, *(_one(machine, group, parts_each, accounting) for group in groups)),
        axis=0,
    )
    found: Array = np.minimum(least, np.sum(np.broadcast_arrays(*alone), axis=0))
    return found


def _one(machine: Pim, group: Attention, split: Array, accounting: str) -> Array:
    """Cycles of a single head."""
    return cost(machine, _with_heads(group, ONE), split, accounting).cycles


def _with_heads(group: Attention, heads: Array) -> Attention:
    sizes = (group.keys, group.queries, group.key_dim, group.value_dim, group.word_bytes)
    return Attention(heads, *sizes, group.shared)


def _costs(machine: Pim, group: Attention, split: Array, *, published: bool) -> tuple[Array, Array, Timeline]:
    """What a part adds to a channel that has others, what comes once, and a timeline of two waves."""
    slots = machine.dram.channels * machine.stacks / split
    two, four = (
        Timeline(Shape(_with_heads(group, waves * slots), machine, split), published) for waves in (2.0, 4.0)
    )
    each = (four.busy - two.busy) / 2.0
    return each, two.busy - 2.0 * each, two


def _busiest(
    machine: Pim,
    groups: Sequence[Attention],
    lines: Sequence[tuple[Array, Array, Timeline]],
    split: Array,
    point: int,
) -> float:
    """Cycles of the channel with most work at one design point."""

    def at(values: Array) -> float:
        return float(values[0] if len(values) == 1 else values[point])

    channels = int(machine.dram.channels[0] * machine.stacks[0])
    work = [
        (at(each), int(at(group.heads) * at(split)))
        for group, (each, _, _) in zip(groups, lines, strict=True)
    ]
    loads = [0.0] * channels
    for each, parts in sorted(work, key=lambda part: -part[0]):
        everywhere, rest = divmod(parts, channels)
        loads = [load + everywhere * each for load in loads]
        heapq.heapify(loads)
        for _ in range(rest):
            heapq.heapreplace(loads, loads[0] + each)
    return max(loads)
