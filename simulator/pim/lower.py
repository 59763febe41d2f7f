"""Lowering of decode attention to a Program of what the units in memory do and wait for.

The tree is a series of the parts of the closed form: accesses, changes of row, refreshes, and the cycles in which the
units wait for data or for the softmax unit. What runs beside the accesses costs energy and no time. Every query row
meets every key: a causal mask within several query rows saves nothing here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from dse.errors import MappingError, WorkloadError
from dse.simulator.arrays import ONE, Array, product
from dse.simulator.lowering import Lowered
from dse.simulator.pim.commands import scheduled
from dse.simulator.pim.facts import facts_of
from dse.simulator.pim.ledger import actions
from dse.simulator.pim.shape import Attention, Shape
from dse.simulator.pim.timeline import Timeline
from dse.simulator.program import Body, Constraint, Loop, Program, Seq, Step, Unit
from dse.workloads.cascade_file import load_cascade

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
    shape = Shape(attention_of(workload, mapping), machine, _split(mapping))
    timeline = Timeline(shape, published=accounting == "paper")
    layers = workload.layers
    commanded = mapping.file.timing == "commands"
    root = Loop("layers", layers, _tree(shape, _commanded(timeline) if commanded else _closed(timeline)))
    capacity = Constraint(
        "capacity",
        product(shape.work.stored_bytes, layers),
        machine.capacity_bytes,
        "B",
        ("more stacks", "fewer requests", "a shorter window", "smaller values"),
    )
    program = Program(root, {name: Unit(name) for name in UNITS}, machine.clock_hz, (capacity,))
    sizes = workload.sizes
    pairs = product(sizes["b"], sizes["h"], sizes["g"], workload.useful_pairs)
    return Lowered(program, facts_of(shape, pairs, layers))


def attention_of(workload: Workload, mapping: Mapping[File]) -> Attention:
    """What a workload asks of the stacks.

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
    return Attention(
        heads=product(sizes["b"], sizes["h"]),
        keys=sizes["m"] if workload.window is None else np.minimum(sizes["m"], workload.window),
        queries=product(sizes["g"], sizes["p"]),
        key_dim=sizes["e"],
        value_dim=sizes["f"],
        word_bytes=workload.value_bytes,
        shared=workload.stored_once,
    )


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


def _tree(shape: Shape, parts: Iterable[Part]) -> Seq:
    """The parts one after another; everything it costs is charged to the first."""
    charged = tuple(actions(shape))
    bodies = []
    for name, unit, busy in parts:
        bodies.append(Body(name, (Step(name, unit, busy, actions=charged),)))
        charged = ()
    return Seq("attention", tuple(bodies))
