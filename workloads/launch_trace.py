"""Launches from a traced kernel: thread blocks, work and traffic as they ran.

Modelled: one class of blocks for each program class of the trace, its work spread evenly over its tiles, accesses
beside loops once; bytes of each tensor, distinct and in total; resources where the trace was compiled, by target, else
an estimate. Matrix products count the operand type, FP32 operations every floating-point operation but conversions;
shared memory takes what products read. Not modelled: integer and address arithmetic, order of operations within a
tile.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from dse.workloads.launch_resources import traced_resources
from dse.workloads.launch_shapes import ROWS_PER_READ
from dse.workloads.launches import NOTHING, ONCE, Blocks, Demand, Launch, Resources, Traffic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.workloads.annotation import Annotation
    from dse.workloads.launches import Array
    from dse.workloads.trace import Event, ProgramClass, Trace
    from dse.workloads.trace import Launch as Traced
    from dse.workloads.trace_facts import ClassFacts, Facts

ITEM_BYTES = {"fp64": 8, "fp32": 4, "fp16": 2, "bf16": 2, "int64": 8, "int32": 4, "int8": 1, "uint8": 1}
FLOATS = ("fp16", "bf16", "fp32", "fp64")
CONVERSIONS = ("fp_trunc", "fp_ext", "bitcast")


def traced_launches(
    trace: Trace, annotation: Annotation, facts: Sequence[Facts], family: str, useful: Mapping[str, int]
) -> tuple[Launch, ...]:
    """Every launch of a trace, in order.

    ``family`` is that of the annotation's cascade, ``useful`` the useful floating-point operations by launch.
    """
    return tuple(
        _launch(trace, number, item, _family(item, annotation, family), float(useful[item.label]))
        for number, item in enumerate(facts)
    )


def _launch(trace: Trace, number: int, facts: Facts, family: str, useful: float) -> Launch:
    traced = facts.launch
    blocks = tuple(
        _blocks(members, known, traced) for members, known in zip(traced.classes, facts.classes, strict=True)
    )
    compiled = {
        r.target: Resources(_one(r.shared_bytes), _one(r.registers), _one(r.num_warps), _one(r.num_stages))
        for r in trace.resources
        if r.launch == number
    }
    return Launch(
        name=facts.label,
        family=family,
        blocks=blocks,
        tensors=_tensors(facts),
        resources=_resources(facts),
        carried=family == "linear",
        flops=_one(useful),
        einsums=facts.note.einsums or (),
        compiled=compiled,
    )


def _resources(facts: Facts) -> Resources:
    """Estimate of what a block takes where nothing was compiled: from the shapes and loads of its products."""
    shapes = {
        name: shape for known in facts.classes for name, found in known.shapes.items() for shape in found
    }
    mask = facts.note.mask
    scores = prod(facts.tiles[rank] for rank in mask.scores) if mask else 0
    staged = max((_second_operands(members) for members in facts.launch.classes), default=0.0)
    return traced_resources([prod(shape[-3:-1]) for shape in shapes.values()], float(scores), staged)


def _second_operands(members: ProgramClass) -> float:
    """Bytes of the second operands of the products of one trip, each line of the kernel once."""
    found = {
        event.line: event.shape[-2] * event.shape[-1] * ITEM_BYTES.get(event.dtype, 4)
        for event in members.events
        if event.kind == "dot"
    }
    return float(sum(found.values()))


def _family(facts: Facts, annotation: Annotation, cascade_family: str) -> str:
    """Kernel family of a launch: by its mask and by what the rows of its tiles are."""
    if cascade_family.startswith("linear"):
        return "linear"
    mask = facts.note.mask
    if mask is None:
        return "gemm" if facts.note.dots else "other"
    rows = mask.scores[0]
    outer = facts.note.outer or annotation.outer
    return "prefill" if facts.whole.get(rows, rows) == "p" and "g" not in outer else "decode"


def _blocks(members: ProgramClass, facts: ClassFacts, traced: Traced) -> Blocks:
    """One program class: its work divided by the tiles of one of its programs, but what it moves beside its loops."""
    tiles = float(max(facts.tiles, max(facts.steps.values(), default=0), 1))
    beside = [event for event in members.events if _beside(event, tiles)]
    repeated = [event for event in members.events if not _beside(event, tiles)]
    return Blocks(
        first=_one(tiles),
        step=NOTHING,
        classes=ONCE,
        each=_one(members.multiplicity),
        tile=_demand(repeated, traced, tiles),
        once=_demand(beside, traced, 1.0),
        masked=_one(facts.masked),
    )


def _beside(event: Event, tiles: float) -> bool:
    """Whether an access is no part of the tiles; other events are summed over a program in traces."""
    return event.kind in ("load", "store", "atomic") and event.trip < 0 and event.count < tiles


def _demand(events: Sequence[Event], traced: Traced, tiles: float) -> Demand:
    """Work of one program, divided by its tiles."""
    flops: dict[str, float] = {}
    exps = fp32 = shared = read = written = 0.0
    for event in events:
        amount = float(event.elements * event.count)
        if event.kind == "dot":
            flops[event.dtype] = flops.get(event.dtype, 0.0) + event.flops
            shared += _staged(event)
        elif event.kind == "exp":
            exps += amount
        elif event.kind in ("elementwise", "select", "reduce", "scan"):
            counts = event.dtype in FLOATS and event.operator not in CONVERSIONS
            fp32 += amount if counts else 0.0
        elif event.kind in ("load", "store", "atomic") and event.tensor:
            moved = float(event.active * event.count * traced.tensors[event.tensor].item_bytes)
            read += moved if event.kind != "store" else 0.0
            written += moved if event.kind != "load" else 0.0
    return Demand(
        {dtype: _one(amount / tiles) for dtype, amount in sorted(flops.items())},
        *(_one(amount / tiles) for amount in (exps, fp32, shared, read, written)),
    )


def _staged(event: Event) -> float:
    """Shared-memory bytes of products M × N × K: the second operand written once and read by every warp group."""
    *batch, rows, cols, depth = event.shape
    size = ITEM_BYTES.get(event.dtype, 4)
    reads = np.ceil(rows / ROWS_PER_READ)
    return float(prod(batch) * cols * depth * size * (1.0 + reads) * event.count)


def _tensors(facts: Facts) -> dict[str, Traffic]:
    """Traffic by argument, under the cascade's name where it is one tensor's only argument."""
    totals = facts.totals
    found: dict[str, Traffic] = {}
    for argument in facts.launch.tensors:
        label = tensor_name(facts, argument)
        for written, moved, unique in (
            (False, totals.read_bytes, totals.unique_read_bytes),
            (True, totals.written_bytes, totals.unique_written_bytes),
        ):
            if moved.get(argument):
                key = f"{label} out" if written and label in found else label
                found[key] = Traffic(_one(unique.get(argument, 0)), _one(moved[argument]), written)
    return found


def tensor_name(facts: Facts, argument: str) -> str:
    """Name of an argument's traffic: with the cascade's tensor where it is one."""
    note = facts.note.tensors.get(argument)
    return f"{note.tensor} ({argument})" if note is not None and note.tensor else argument


def _one(value: float) -> Array:
    return np.array([float(value)])
