"""Lowering of a workload to a GPU's Program: a Dispatch of thread blocks for each kernel launch.

Modelled: launches one after another with what passes between them, layers repeated, limits of a thread block, the clock
that the power limit leaves (one for the whole program). Cycles are those of the nominal clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ONE, Array, total
from dse.simulator.dispatch import Dispatch
from dse.simulator.gpu.charges import board_charges, charges
from dse.simulator.gpu.facts import facts_of, node_name
from dse.simulator.gpu.kernels import launches_of
from dse.simulator.gpu.law import gap_cycles, predict
from dse.simulator.gpu.tiles import PIPES, WARP_THREADS
from dse.simulator.lowering import Lowered
from dse.simulator.program import Body, Constraint, Loop, Node, Program, Seq, Step, Unit
from dse.simulator.structure import LATENCY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.arch.gpu import Gpu
    from dse.simulator.gpu.law import LaunchTime, Times
    from dse.simulator.gpu.mapping import File
    from dse.simulator.mapping import Mapping
    from dse.workloads.launches import Launch
    from dse.workloads.workload import Workload

DRAM = "dram"


def lower(workload: Workload, machine: Gpu, mapping: Mapping[File], accounting: str) -> Lowered:
    """Program of all launches, with the facts of the work.

    Raises
    ------
    WorkloadError
        Attention of a family that the mapping's kernels do not compute.
    """
    launches = launches_of(workload, machine, mapping)
    times = predict(launches, machine, layers=workload.layers)
    nodes = [
        node for number, part in enumerate(times.launches) for node in _nodes(part, number, times, machine)
    ]
    every = Loop("layers", workload.layers, Seq("layer", tuple(nodes)))
    root = Seq("run", (_start(times, machine, workload.layers), every))
    units = {name: Unit(name, machine.sms) for name in PIPES} | {DRAM: Unit(DRAM)}
    program = Program(root, units, times.clock_hz, tuple(_limits(launches, machine)))
    return Lowered(program, facts_of(times, machine, workload.layers))


def _start(times: Times, gpu: Gpu, layers: Array) -> Node:
    """What the sequence pays once, and the power of the idle board for its whole time."""
    gaps = layers * total(gap_cycles(part, gpu, gpu.calibration) for part in times.launches)
    once = np.maximum(times.overhead_cycles - gaps, 0.0)
    return Body("start", (Step("launch", None, once, actions=board_charges(times)),))


def _nodes(part: LaunchTime, number: int, times: Times, gpu: Gpu) -> Iterator[Node]:
    """The gap before a launch, and its thread blocks."""
    name = node_name(number, part)
    yield Body(f"{name}.gap", (Step("gap", None, gap_cycles(part, gpu, gpu.calibration)),))
    yield Dispatch(
        name=name,
        runs=part.runs,
        slots=part.slots,
        fluid=DRAM,
        transfers=part.dram_cycles * ONE,
        hidden=gpu.calibration.get("dram_overlap", part.launch.family),
        ramp=part.ramp_cycles,
        order=part.launch.order,
        busy=part.busy,
        blame=_blame(part),
        charges=tuple(charges(part, gpu)),
    )


def _blame(part: LaunchTime) -> dict[str, Array]:
    """The pipe with most work bounds the blocks, or latency where no pipe works for half of their time."""
    busiest = np.maximum.reduce(np.broadcast_arrays(*part.busy.values()))
    waiting = busiest < 0.5 * part.slots / part.resident * part.bound_cycles
    found, left = {LATENCY: np.where(waiting, 1.0, 0.0)}, ~waiting
    for name, cycles in part.busy.items():
        here = left & (cycles == busiest)
        left = left & ~here
        found[name] = np.where(here, 1.0, 0.0)
    return found


def _limits(launches: tuple[Launch, ...], gpu: Gpu) -> Iterator[Constraint]:
    """What one thread block may have of an SM, and what fits in memory."""
    for launch in launches:
        r = launch.compiled.get(gpu.target, launch.resources)
        here = np.where(launch.count > 0.0, 1.0, 0.0)
        registers = r.registers * r.warps * WARP_THREADS
        levers = ("smaller tiles (-o tile_queries, -o tile_keys)", "fewer stages (-o num_stages)")
        for what, demand, bound, unit in (
            ("shared memory of a thread block", r.shared_bytes, gpu.block_shared_bytes, "B"),
            ("registers of a thread block", registers, gpu.registers, "word"),
            ("warps of a thread block", r.warps, gpu.warps, "warp"),
        ):
            if r.assumed:
                continue
            asked = np.where(np.isnan(demand), 0.0, demand) * here
            yield Constraint(f"{what} of {launch.name}", asked, bound, unit, levers)
        yield Constraint(
            f"off-chip memory for {launch.name}",
            launch.unique_bytes * here,
            gpu.dram_bytes,
            "B",
            ("a smaller batch", "a shorter sequence"),
        )
