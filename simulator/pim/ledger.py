"""What attention in memory costs, action by action: the ledger of the lowering and the joules of the closed form.

Counts and bytes are of all stacks. ``dram`` is the stacks' interface to the host: query rows in, results out. What
the banks read stays inside and is theirs. Moves are counted for both pseudo channels of a channel.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from dse.simulator.arrays import Array, total
from dse.simulator.pim.counts import needed, published
from dse.simulator.pim.shape import SCORE_BYTES
from dse.simulator.program import Action

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dse.simulator.pim.shape import Shape


def actions(shape: Shape) -> Iterator[Action]:
    """Every action of attention on all stacks."""
    yield from _products(shape, "QK", "K", shape.score_accesses, shape.score_rows)
    yield from _products(shape, "AV", "V", shape.value_accesses, shape.value_rows)
    yield _move(shape, "QK", "Q", "broadcast", shape.query_moves)
    yield _move(shape, "QK", "QK", "collect", shape.segments * shape.score_moves)
    yield from _softmax(shape)
    yield _move(shape, "AV", "A", "return", shape.weight_moves)
    yield _move(shape, "AV", "AV", "collect", shape.value_columns * shape.output_moves)
    yield _pins(shape, "QK", "Q", "read", shape.work.key_dim)
    yield _pins(shape, "AV", "AV", "write", shape.work.value_dim)


def commands(shape: Shape, *, is_published: bool) -> Iterator[Action]:
    """Commands of the busiest stack by kind; they cost nothing that the other actions do not."""
    counts = published(shape) if is_published else needed(shape)
    for field in fields(counts):
        yield Action("commands", "", "", field.name, getattr(counts, field.name))


def joules_by(charged: Iterable[Action]) -> dict[str, Array]:
    """Joules of actions: activations, bank reads, multiply-adds, movement, softmax, pins."""
    groups: dict[str, list[Array]] = {}
    for action in charged:
        name = "activate" if action.action == "activate" else action.component
        groups.setdefault(name, []).append(action.joules)
    return {name: total(parts) for name, parts in groups.items()}


def _products(shape: Shape, einsum: str, tensor: str, accesses: Array, rows: Array) -> Iterator[Action]:
    machine, dram = shape.machine, shape.machine.dram
    units = shape.work.heads * shape.split * dram.pseudo_channels * machine.units
    access = dram.access_bytes
    # A pass with fewer query rows than a unit takes leaves the rest of its multipliers idle.
    macs = units * accesses / shape.passes * shape.work.queries * shape.values_per_access
    opened = units * rows
    yield Action("banks", einsum, tensor, "activate", opened, joules=opened * dram.energy.activate_j)
    read = units * accesses * access
    joules = 8.0 * read * machine.read_j_per_bit
    yield Action("banks", einsum, tensor, "read", units * accesses, read, joules)
    yield Action("units", einsum, tensor, "mac", macs, joules=macs * machine.mac_j)


def _move(shape: Shape, einsum: str, tensor: str, action: str, moves: Array) -> Action:
    machine, dram = shape.machine, shape.machine.dram
    count = shape.work.heads * shape.split * moves * dram.pseudo_channels
    moved = count * dram.access_bytes
    return Action("movement", einsum, tensor, action, count, moved, 8.0 * moved * machine.move_j_per_bit)


def _softmax(shape: Shape) -> Iterator[Action]:
    """The softmax unit's work, or scores and weights crossing the pins where the host has it."""
    unit, work = shape.machine.softmax, shape.work
    values = work.heads * work.queries * work.keys
    if unit is None:
        yield _crossed(shape, "QK", "QK", "write", values, SCORE_BYTES * values)
        yield _crossed(shape, "AV", "A", "read", values, SCORE_BYTES * values)
    else:
        joules = values * unit.operations * unit.operation_j
        yield Action("softmax", "SM", "A", "softmax", values, joules=joules)


def _pins(shape: Shape, einsum: str, tensor: str, action: str, depth: Array) -> Action:
    count = shape.work.heads * shape.work.queries
    return _crossed(shape, einsum, tensor, action, count, count * depth * shape.work.word_bytes)


def _crossed(shape: Shape, einsum: str, tensor: str, action: str, count: Array, crossed: Array) -> Action:
    energy = shape.machine.dram.energy
    return Action("dram", einsum, tensor, action, count, crossed, 8.0 * crossed * energy.io_j_per_bit)
