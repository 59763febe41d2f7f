"""Decode attention in memory in closed form: time, energy, traffic and commands on arrays of design points.

Energy is that of activations, column accesses and their way to the units, multiply-adds executed (padding included),
data moved between units and buffer die, softmax, and query rows and results crossing the pins. Moves are counted in
bytes of all pseudo channels of a channel, and every energy per bit is multiplied by bits. Not modelled: writing new
keys and values, refresh and standby energy, the host's side of the link.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.errors import DseError
from dse.simulator.arrays import ONE, Array, Values, as_array, total
from dse.simulator.pim.counts import Counts, needed, published
from dse.simulator.pim.ledger import actions, joules_by
from dse.simulator.pim.shape import Attention, Shape
from dse.simulator.pim.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.arch.pim import Pim

ACCOUNTINGS = ("physical", "paper")
__all__ = ["ACCOUNTINGS", "Attention", "PimCost", "cost"]


@dataclass(frozen=True)
class PimCost:
    """What attention costs: arrays over design points.

    ``cycles`` are of the command clock, those of the busiest stack; ``counts`` are the commands of one stack; bytes,
    flops and ``joules`` are of all stacks, ``parts`` sum to ``joules``. ``bandwidth_multiple`` is the stored data
    read once over time, relative to the peak of the pins.
    """

    cycles: Array
    seconds: Array
    joules: Array
    parts: Mapping[str, Array]
    counts: Counts
    kv_bytes: Array
    bank_bytes: Array
    host_bytes: Array
    stored_bytes: Array
    flops: Array
    bandwidth_multiple: Array


def cost(machine: Pim, work: Attention, split: Values = ONE, accounting: str = "physical") -> PimCost:
    """Time, energy and traffic of decode attention on a machine's stacks.

    ``split`` cuts every head into that many parts along its keys, one channel each, merged by their maxima and sums.
    ``paper`` follows the public simulator's command streams, slips included.

    Raises
    ------
    DseError
        Sizes that are not at least 1, an accounting that is neither physical nor paper.
    """
    parts_each = as_array(split)
    _check(work, parts_each, accounting)
    shape = Shape(work, machine, parts_each)
    is_paper = accounting == "paper"
    cycles = Timeline(shape, published=is_paper).cycles
    seconds = cycles / machine.clock_hz
    counts = published(shape) if is_paper else needed(shape)
    charged = tuple(actions(shape))
    parts = joules_by(charged)
    reads = 1.0 if work.shared else 0.0
    kv_bytes = work.stored_bytes + reads * work.heads * work.keys * work.value_dim * work.word_bytes
    lanes = machine.dram.pseudo_channels * machine.units * machine.dram.access_bytes
    accesses = shape.score_accesses + shape.value_accesses
    pins = machine.dram.byte_per_s * machine.stacks
    return PimCost(
        cycles=cycles,
        seconds=seconds,
        joules=total(parts.values()),
        parts=parts,
        counts=counts,
        kv_bytes=kv_bytes,
        bank_bytes=work.heads * parts_each * accesses * lanes,
        host_bytes=total(action.bytes for action in charged if action.component == "dram"),
        stored_bytes=work.stored_bytes,
        flops=work.flops,
        bandwidth_multiple=kv_bytes / seconds / pins,
    )


def _check(work: Attention, split: Array, accounting: str) -> None:
    sizes = {
        "heads": work.heads,
        "keys": work.keys,
        "queries": work.queries,
        "key_dim": work.key_dim,
        "value_dim": work.value_dim,
        "split": split,
    }
    wrong = [name for name, size in sizes.items() if not bool((size >= 1.0).all())]
    if wrong:
        raise DseError(f"{', '.join(wrong)} must be at least 1")
    if work.shared and bool((work.value_dim > work.key_dim).any()):
        raise DseError("values stored as the first part of the keys cannot be deeper than those")
    if accounting not in ACCOUNTINGS:
        raise DseError(f"'{accounting}' is not one of {', '.join(ACCOUNTINGS)}")
