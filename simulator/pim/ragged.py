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
    parts_each, is_published = as_array(split), accounting == "paper"
    if len(groups) == 1:
        return cost(machine, groups[0], parts_each, accounting).cycles
    size = max(len(parts_each), *(len(column) for group in groups for column in _columns(group)))
    every = _stacked(groups, size)
    cut = np.tile(np.broadcast_to(parts_each, size), len(groups))
    alone = cost(machine, every, cut, accounting).cycles.reshape(len(groups), size)
    single = cost(machine, _with_heads(every, ONE), cut, accounting).cycles.reshape(len(groups), size)
    slots = machine.dram.channels * machine.stacks / cut
    two, four = (
        Timeline(Shape(_with_heads(every, waves * slots), machine, cut), is_published) for waves in (2.0, 4.0)
    )
    each = ((four.busy - two.busy) / 2.0).reshape(len(groups), size)
    once = two.busy.reshape(len(groups), size) - 2.0 * each
    parts = (every.heads * cut).reshape(len(groups), size)
    channels = int(machine.dram.channels[0] * machine.stacks[0])
    busy = np.array([_busiest(each[:, point], parts[:, point], channels) for point in range(size)])
    cycles = np.maximum(two.with_refresh(busy + once.max(axis=0)), single.max(axis=0))
    # One group after another is no faster, but for the last cycles of each.
    found: Array = np.minimum(cycles, _left_to_right(alone))
    return found


def _left_to_right(rows: Array) -> Array:
    """Sum over the groups in their order, the same bits for one design point and many."""
    total: Array = rows[0]
    for row in rows[1:]:
        total = total + row
    return total


def _columns(group: Attention) -> tuple[Array, ...]:
    return (group.heads, group.keys, group.queries, group.key_dim, group.value_dim, group.word_bytes)


def _stacked(groups: Sequence[Attention], size: int) -> Attention:
    """All groups at all design points as one row of design points, group by group."""
    wide = zip(*(_columns(group) for group in groups), strict=True)
    columns = [np.concatenate([np.broadcast_to(part, size) for part in parts]) for parts in wide]
    heads, keys, queries, key_dim, value_dim, word_bytes = columns
    return Attention(heads, keys, queries, key_dim, value_dim, word_bytes, groups[0].shared)


def _with_heads(group: Attention, heads: Array) -> Attention:
    sizes = (group.keys, group.queries, group.key_dim, group.value_dim, group.word_bytes)
    return Attention(heads, *sizes, group.shared)


def _busiest(each: Array, parts: Array, channels: int) -> float:
    """Cycles of the channel with most work, of parts that cost ``each`` in their group."""
    loads = [0.0] * channels
    order = np.argsort(-each, kind="stable")
    for cycles, count in zip(each[order].tolist(), parts[order].tolist(), strict=True):
        everywhere, rest = divmod(int(count), channels)
        loads = [load + everywhere * cycles for load in loads]
        heapq.heapify(loads)
        for _ in range(rest):
            heapq.heapreplace(loads, loads[0] + cycles)
    return max(loads)
