"""Lowering of head rows to a pruning accelerator's Program.

Accounting ``paper`` follows the released models by the mapping's convention; ``physical`` runs the pipeline with its
latencies, buffers, straggling lanes, replays and queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.errors import DseError, MappingError, Problem, WorkloadError
from dse.simulator.arrays import ZERO
from dse.simulator.lowering import Facts, Lowered
from dse.simulator.program import Constraint, Loop, Program, Unit
from dse.simulator.spatten.chip import chip_of
from dse.simulator.spatten.stages import UNITS
from dse.simulator.spatten.times import times_of
from dse.simulator.spatten.trees import Builder
from dse.simulator.spatten.work import apart, head_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.arch.spatten import SpAtten
    from dse.simulator.arrays import Array
    from dse.simulator.mapping import Mapping
    from dse.simulator.program import Node
    from dse.simulator.spatten.chip import Chip
    from dse.simulator.spatten.mapping import File
    from dse.simulator.spatten.times import Times
    from dse.workloads.head_rows import HeadRows
    from dse.workloads.workload import Workload

__all__ = ["EXTRAS", "apart", "lower"]

EXTRAS = frozenset({"steps", "pruning", "scores"})


def lower(workload: Workload, machine: SpAtten, mapping: Mapping[File], accounting: str) -> Lowered:
    """Program of a workload's attention, one design point, with the facts of the work.

    Raises
    ------
    WorkloadError, MappingError, ConfigError
        A workload or schedule that the machine does not run, or options that do not go together.
    """
    if any(len(array) > 1 for array in _numbers(workload, machine)):
        raise DseError("head rows differ from point to point: SpAtten is lowered a point at a time")
    rows = head_rows(workload)
    _check_rule(machine, rows)
    chip = chip_of(machine, rows.depth)
    file, released = mapping.file, accounting == "paper"
    if file.convention == "behavioural" and released and file.order != "layer":
        raise MappingError("the released behavioural simulator adds up layers; --option order=layer")
    times = times_of(chip, rows, file.topk, file.convention, file.survivors, straight=released)
    node = _tree(Builder(chip, rows, times, released), file, released)
    batch = workload.sizes["b"]
    engines = machine.topk.engines
    units = {name: Unit(name, engines) if name == "topk" else Unit(name) for name in UNITS}
    program = Program(
        Loop("sequences", batch, node), units, machine.clock_hz, tuple(_constraints(chip, rows))
    )
    return Lowered(program, _facts(chip, rows, times, batch))


def _check_rule(machine: SpAtten, rows: HeadRows) -> None:
    """Raise where head rows were chosen by another rule than the machine's."""
    rule = "top_k" if rows.selection is None else rows.selection.rule
    if rule != machine.topk.select:
        text = f"{machine.name} chooses by {machine.topk.select}, these head rows were chosen by {rule}"
        raise WorkloadError(Problem(text, path="-p scores"))


def _tree(builder: Builder, file: File, released: bool) -> Node:
    if released and file.convention == "behavioural":
        return builder.added()
    return {"layer": builder.layers, "free": builder.flow, "serial": builder.serial}[file.order]()


def _numbers(workload: Workload, machine: SpAtten) -> Iterator[Array]:
    yield from (
        *workload.sizes.values(),
        workload.layers,
        workload.steps,
        workload.value_bytes,
        machine.clock_hz,
    )
    for part in ("dram", "key_sram", "value_sram", "fetcher", "array_qk", "array_pv", "softmax", "topk"):
        unit = getattr(machine, part)
        yield from (value for name in unit.__slots__ if isinstance(value := getattr(unit, name), np.ndarray))


def _constraints(chip: Chip, rows: HeadRows) -> Iterator[Constraint]:
    """Keys and values of one head must fit their buffers."""
    for name, array, counts, width in (
        ("key_sram", "array_qk", rows.keys, chip.width),
        ("value_sram", "array_pv", rows.values, chip.value_width),
    ):
        lines = float(np.ceil(counts.max() / width))
        levers = (f"-m memories.{name}.lines", f"-m units.{array}.multipliers", "a pruning schedule")
        yield Constraint(f"{name} holds a head", lines, chip.number(name, "lines"), "lines", levers)


def _facts(chip: Chip, rows: HeadRows, times: Times, batch: Array) -> Facts:
    machine, depth = chip.machine, float(rows.depth)
    useful = 2.0 * depth * float((rows.scored + rows.weighted).sum()) * batch
    lines = float((times.scores * rows.passes).sum()), float(times.values.sum())
    done = 2.0 * depth * (lines[0] * chip.width + lines[1] * chip.value_width) * batch
    elements = {"array_qk": machine.array_qk.multipliers, "array_pv": machine.array_pv.multipliers}
    macs = {
        "array_qk": depth * float((rows.scored * rows.passes).sum()) * batch,
        "array_pv": depth * float(rows.weighted.sum()) * batch,
    }
    unknown = np.full(1, np.nan)
    exponentials = float((rows.scored * rows.passes).sum()) * batch
    rate = machine.dram.bandwidth_byte_per_s
    return Facts(
        flops=useful,
        executed_flops=done,
        vector_ops={
            "exp": exponentials,
            "divide": exponentials,
            "compare": float(times.compares.sum()) * batch,
        },
        onchip_bytes=machine.key_sram_bytes + machine.value_sram_bytes,
        occupied=macs,
        elements=elements,
        peak_flop_per_s=machine.peak_flop_per_s,
        area_m2=unknown,
        memory_byte_per_s={"dram": rate},
        cycles_each={
            ("array_qk", "QK", "mac"): 1.0 / elements["array_qk"],
            ("array_pv", "AV", "mac"): 1.0 / elements["array_pv"],
            ("topk", "TK", "compare"): ZERO + float(times.topk.sum()) / max(float(times.compares.sum()), 1.0),
        },
        cycles_per_byte={"dram": machine.clock_hz / rate},
        window=unknown,
        block_queries=unknown,
    )
