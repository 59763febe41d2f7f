"""Lowering of decode attention to a Program of what the units in memory do and wait for.

The tree is a series of the parts of the closed form: accesses, changes of row, refreshes, and the cycles in which the
units wait for data or for the softmax unit. What runs beside the accesses costs energy and no time. Every query row
meets every key: a causal mask within several query rows saves nothing here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from dse.errors import MappingError, WorkloadError
from dse.simulator.arrays import ONE, Array, product, total
from dse.simulator.lowering import Lowered
from dse.simulator.pim.commands import scheduled
from dse.simulator.pim.facts import facts_of
from dse.simulator.pim.ledger import actions, commands
from dse.simulator.pim.ragged import packed_cycles
from dse.simulator.pim.shape import Attention, Shape
from dse.simulator.pim.timeline import Timeline
from dse.simulator.program import Action, Body, Constraint, Loop, Program, Seq, Step, Unit
from dse.workloads.cascade_file import load_cascade

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dse.arch.pim import Pim
    from dse.simulator.mapping import Mapping
    from dse.simulator.pim.mapping import File
    from dse.workloads.workload import Workload

UNITS = ("banks", "movement", "softmax")
Part: TypeAlias = tuple[str, str, Array]


def lower(workload: Workload, machine: Pim, mapping: Mapping[File], accounting: str) -> Lowered:
    """Program of attention on a machine's stacks, with the facts of the work.

    Raises
    ------
    WorkloadError, MappingError
        The workload has linear layers or no attention, or is of a family the mapping does not run.
    """
    groups, split = attention_of(workload, mapping), _split(mapping)
    shapes = [Shape(group, machine, split) for group in groups]
    layers = workload.layers
    charged = [action for shape in shapes for action in actions(shape)]
    charged += [action for shape in shapes for action in commands(shape, is_published=accounting == "paper")]
    root = Loop("layers", layers, _tree(charged, _parts(shapes, mapping, accounting)))
    capacity = Constraint(
        "capacity",
        product(total(group.stored_bytes for group in groups), layers),
        machine.capacity_bytes,
        "B",
        ("more stacks", "fewer requests", "a shorter window", "smaller values"),
    )
    program = Program(root, {name: Unit(name) for name in UNITS}, machine.clock_hz, (capacity,))
    pairs = total(one.count * one.pairs(workload.causal, workload.window) for one in workload.batch)
    counted = product(workload.sizes["h"], workload.sizes["g"], pairs)
    return Lowered(program, facts_of(shapes, counted, layers))


def attention_of(workload: Workload, mapping: Mapping[File]) -> list[Attention]:
    """What a workload asks of the stacks, for each group of equal requests.

    Raises
    ------
    WorkloadError, MappingError
        The workload has linear layers or no attention, or is of a family the mapping does not run.
    """
    if workload.linear or not workload.sizes:
        raise WorkloadError(
            f"{workload.name} has linear layers, which belong to the processor beside the stacks; "
            "ask for -p scope=attention, or for a system"
        )
    family = load_cascade(workload.cascade).family if workload.cascade else workload.family
    if family not in mapping.file.families:
        known = ", ".join(mapping.file.families)
        raise MappingError(f"mapping {mapping.name} runs {known}; {workload.name} is of family {family}")
    sizes = workload.sizes
    return [
        Attention(
            heads=product(one.count, sizes["h"]),
            keys=one.kept(workload.window),
            queries=product(sizes["g"], one.queries),
            key_dim=sizes["e"],
            value_dim=sizes["f"],
            word_bytes=workload.value_bytes,
            shared=workload.stored_once,
        )
        for one in workload.batch
    ]


def _parts(shapes: Sequence[Shape], mapping: Mapping[File], accounting: str) -> Iterator[Part]:
    """What the units do and wait for: in closed form, command by command, or of channels packed with unlike heads.

    Raises
    ------
    MappingError
        Commands are asked for of unlike heads.
    """
    commanded = mapping.file.timing == "commands"
    if len(shapes) > 1:
        if commanded:
            raise MappingError(
                "timing=commands is for requests of one length; use timing=closed, the default"
            )
        works = [shape.work for shape in shapes]
        yield "channels", "banks", packed_cycles(shapes[0].machine, works, shapes[0].split, accounting)
        return
    timeline = Timeline(shapes[0], published=accounting == "paper")
    yield from _commanded(timeline) if commanded else _closed(timeline)


def _split(mapping: Mapping[File]) -> Array:
    return np.maximum(mapping.numbers["split"], ONE)


def _closed(timeline: Timeline) -> Iterator[Part]:
    """What the units do and wait for, in closed form."""
    yield "accesses", "banks", timeline.accesses
    yield "row changes", "banks", timeline.row_changes
    yield "refresh", "banks", timeline.refresh
    yield "waiting for data", "movement", timeline.movement
    yield "waiting for softmax", "softmax", timeline.softmax
    yield "merging parts", "movement", timeline.merge


def _commanded(timeline: Timeline) -> Iterator[Part]:
    """What the units do, every command of a channel scheduled; only the softmax unit's time is in closed form."""
    yield "commands", "banks", scheduled(timeline.shape, timeline.published)
    yield "waiting for softmax", "softmax", timeline.softmax
    yield "merging parts", "movement", timeline.merge


def _tree(charged: Iterable[Action], parts: Iterable[Part]) -> Seq:
    """The parts one after another; everything it costs is charged to the first."""
    bodies, left = [], tuple(charged)
    for name, unit, busy in parts:
        bodies.append(Body(name, (Step(name, unit, busy, actions=left),)))
        left = ()
    return Seq("attention", tuple(bodies))
