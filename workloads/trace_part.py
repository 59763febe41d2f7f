"""Launches of a whole kernel from the trace of a part of it: two key heads of one sequence, repeated.

For kernels whose work depends on values or on a list of tiles, which a sample of programs cannot give. Modelled:
blocks, traffic and operations of the part times the sequences and heads it stands for; tensors that all heads share
count once, as do lists of tiles and tables of masks. Not modelled: heads whose values differ in kind from those of the
part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dse.workloads.cascade_file import load_cascade
from dse.workloads.launch_trace import tensor_name, traced_launches
from dse.workloads.lift import lift
from dse.workloads.trace_facts import read_facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.workloads.annotation import Annotation
    from dse.workloads.launches import Array, Launch
    from dse.workloads.trace import Trace, Value
    from dse.workloads.trace_facts import Facts

KEY_HEADS = 2  # of the part: inputs of some kernels alternate from key head to key head
SEQUENCES, HEADS, KV_HEADS = "b", "h", "g"


@dataclass(frozen=True, slots=True)
class Part:
    """Parameters of what is traced, and how often all of it repeats that."""

    values: Mapping[str, Value]
    sequences: int = 1
    heads: int = 1


def part_of(annotation: Annotation, values: Mapping[str, Value]) -> Part:
    """What of a kernel is traced: all of it where programs can be sampled, else two key heads of one sequence.

    Sequences of different lengths, and an odd number of key heads, are traced as they are.
    """
    if not _needs_values(annotation):
        return Part(values)
    found, sequences, times = dict(values), 1, 1
    if not _ragged(annotation, values):
        sequences, found["batch"] = _count(values, "batch"), 1
    heads = [name for name in ("heads", "kv_heads") if name in values]
    shared = _count(values, heads[-1]) if heads else 0
    if shared > KEY_HEADS and shared % KEY_HEADS == 0:
        times = shared // KEY_HEADS
        found |= {name: _count(values, name) // times for name in heads}
    return Part(found, sequences, times)


def launches_of(trace: Trace, annotation: Annotation, part: Part) -> tuple[Launch, ...]:
    """Launches of everything that a traced part stands for, checked against the cascade.

    Raises
    ------
    TraceError
        The trace disagrees with the kernel's annotation and cascade.
    """
    lifted = lift(trace, annotation, load_cascade(annotation.cascade))
    facts = read_facts(trace, annotation)
    useful = {launch.label: launch.useful_flops for launch in lifted.launches}
    found = traced_launches(trace, annotation, facts, lifted.family, useful)
    return tuple(_repeated(launch, known, part) for launch, known in zip(found, facts, strict=True))


def _ragged(annotation: Annotation, values: Mapping[str, Value]) -> bool:
    """Whether sequences have lengths of their own, or there are none."""
    lengths = [name for name in annotation.parameters if name.endswith("_lengths")]
    return "batch" not in values or any(values[name] for name in lengths)


def _count(values: Mapping[str, Value], name: str) -> int:
    found = values[name]
    assert isinstance(found, int)
    return found


def _needs_values(annotation: Annotation) -> bool:
    """Whether the number of tiles of a program depends on a list, on values, or on an earlier launch."""
    return any(
        note.steering or note.optional or any(step.inside for step in note.steps.values())
        for note in annotation.launches.values()
    )


def _repeated(launch: Launch, facts: Facts, part: Part) -> Launch:
    times = np.full(1, float(part.sequences * part.heads))
    distinct = {
        tensor_name(facts, argument): _distinct(facts, argument, part) for argument in facts.launch.tensors
    }
    return replace(
        launch,
        blocks=tuple(replace(run, each=run.each * times) for run in launch.blocks),
        tensors={
            name: replace(
                one, unique=one.unique * distinct[name.removesuffix(" out")], total=one.total * times
            )
            for name, one in launch.tensors.items()
        },
        flops=launch.flops * times,
    )


def _distinct(facts: Facts, argument: str, part: Part) -> Array:
    """How often the whole has the part's bytes of a tensor anew."""
    note = facts.note.tensors.get(argument)
    ranks = note.ranks if note is not None else ()
    sequences = part.sequences if SEQUENCES in ranks else 1
    return np.full(1, float(sequences * (part.heads if {HEADS, KV_HEADS} & {*ranks} else 1)))
