"""PIM of kind pim as a device of a system: attention on its stacks, and its share of feed-forward work.

Modelled: heads of all requests over the stacks, by the closed form of ``dse.simulator.pim``; requests of different
lengths side by side on the channels, longest first; products of weights with one row of activations at a time, from
copies of the weights in the stacks. Not modelled: the writing of those copies.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dse.arch.pim import Pim
from dse.errors import MappingError
from dse.simulator.arrays import Array, ceil_div
from dse.simulator.pim.attention import cost
from dse.simulator.pim.ledger import actions
from dse.simulator.pim.ragged import packed_cycles
from dse.simulator.pim.shape import Attention, Shape
from dse.simulator.program import Action
from dse.simulator.system.work import BANKS, Work, together

if TYPE_CHECKING:
    from dse.arch.system import Device
    from dse.simulator.system.attention import Heads
    from dse.simulator.system.mapping import Conventions
    from dse.workloads.requests import Requests


def attend(pim: Device, heads: Heads, split: Array, accounting: str) -> Work:
    """Decode attention on the stacks of the PIM devices; heads of different lengths share the channels."""
    groups = [_asked(heads, requests) for requests in heads.batch]
    found = together([_group(pim, group, split, accounting) for group in groups])
    if len(groups) == 1:
        return found
    machine = machine_of(pim)
    return replace(found, seconds=packed_cycles(machine, groups, split, accounting) / machine.clock_hz)


def _asked(heads: Heads, requests: Requests) -> Attention:
    """Attention of one group of equal requests."""
    return Attention(
        heads=requests.count * heads.kv_heads,
        keys=requests.kept(heads.window),
        queries=heads.group * requests.queries,
        key_dim=heads.score_dim,
        value_dim=heads.value_dim,
        word_bytes=heads.value_bytes,
        shared=heads.stored_once,
    )


def _group(pim: Device, work: Attention, split: Array, accounting: str) -> Work:
    machine = machine_of(pim)
    found = cost(machine, work, split, accounting)
    each = tuple(_times(action, pim.count) for action in actions(Shape(work, machine, split)))
    return Work(found.seconds, found.kv_bytes, found.flops, each)


def best_split(pim: Device, heads: Heads, accounting: str) -> Array:
    """Channels a head is cut over along its keys that give the shortest time: a power of two up to all of a stack."""
    channels = int(machine_of(pim).dram.channels[0])
    best, seconds = np.ones(1), attend(pim, heads, np.ones(1), accounting).seconds
    for power in range(1, int(np.log2(channels)) + 1):
        split = np.array([2.0**power])
        found = attend(pim, heads, split, accounting).seconds
        best, seconds = np.where(found < seconds, split, best), np.minimum(found, seconds)
    return best


def machine_of(pim: Device) -> Pim:
    """The PIM machine of a device."""
    assert isinstance(pim.machine, Pim)
    return pim.machine


def multiple(pim: Device, host_byte_per_s: Array, paper: Conventions | None) -> Array:
    """Bandwidth inside the stacks over the host's, as the timing gives it or as a paper states it.

    Raises
    ------
    MappingError
        The paper states none for these units.
    """
    machine = machine_of(pim)
    if paper is None or paper.nominal_multiple is None:
        return machine.internal_byte_per_s / host_byte_per_s
    spacing = f"{machine.spacing_cycles[0]:.0f}"
    table = paper.nominal_multiple.get(machine.level, {})
    if spacing not in table or len(machine.spacing_cycles) > 1:
        raise MappingError(
            f"the paper states no bandwidth for {machine.name} at a spacing of {spacing} cycles"
        )
    return np.array([table[spacing]])


def multiplied(pim: Device, name: str, weights: Array, rows: Array, value_bytes: Array) -> tuple[Action, ...]:
    """Energy of a product of weights with rows of activations on all PIM devices, one pass for each row of a unit."""
    machine = machine_of(pim)
    read = weights * value_bytes * ceil_div(rows, machine.queries)
    opened = weights * value_bytes / machine.dram.row_bytes
    macs = weights * rows
    return (
        Action(BANKS, name, "W", "activate", opened, joules=opened * machine.dram.energy.activate_j),
        Action(BANKS, name, "W", "read", read, read, 8.0 * read * machine.read_j_per_bit),
        Action("units", name, "", "mac", macs, joules=macs * machine.mac_j),
    )


def _times(action: Action, count: Array) -> Action:
    return replace(
        action, count=action.count * count, bytes=action.bytes * count, joules=action.joules * count
    )
