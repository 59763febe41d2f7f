"""Cycles a tile keeps an SM busy, how many thread blocks share an SM, and how long each block then lasts.

Modelled: demand of a tile on the pipes of an SM (tensor cores, exponentials, FP32 lanes, shared memory, the stream of
data into the SM), the part of the shorter demands that hides behind the longest, blocks that share an SM and hide
more of each other, masked tiles, latencies of a block and of each step of a recurrence. Not modelled: issue slots,
warps of one block that run apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ONE, ZERO, Array
from dse.simulator.list_schedule import Run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.arch.calibration.constants import Calibration
    from dse.arch.gpu import Gpu
    from dse.workloads.launches import Demand, Launch

WORK, STREAMS = ("tensor", "exp", "fp32"), ("shared", "stream")
PIPES = (*WORK, *STREAMS)
WARP_THREADS = 32.0


def occupancy(launch: Launch, gpu: Gpu) -> Array:
    """Thread blocks that fit on one SM: by shared memory, registers and warps; 1 where nothing was compiled.

    Below 1 where one block asks for more than an SM has.
    """
    r = launch.compiled.get(gpu.target, launch.resources)
    with np.errstate(divide="ignore", invalid="ignore"):
        limits = [
            gpu.shared_bytes / (r.shared_bytes + gpu.reserved_shared_bytes),
            gpu.registers / (r.registers * r.warps * WARP_THREADS),
            gpu.warps / r.warps,
        ]
    fitting = np.full(1, np.inf)
    for limit in limits:
        fitting = np.minimum(fitting, np.where(np.isnan(limit), np.inf, np.floor(limit)))
    fitting = np.where(np.isinf(fitting), ONE, np.minimum(fitting, gpu.blocks))
    found: Array = np.where(np.isnan(r.co_resident), fitting, r.co_resident)
    return found


def resident(launch: Launch, gpu: Gpu) -> Array:
    """Blocks that share an SM while the launch runs: no more than the grid gives each, at least one."""
    found: Array = np.maximum(np.minimum(occupancy(launch, gpu), np.ceil(launch.count / gpu.sms)), ONE)
    return found


def pipes(demand: Demand, family: str, gpu: Gpu, constants: Calibration) -> Mapping[str, Array]:
    """Cycles a demand keeps each pipe of one SM busy."""
    tensor, lanes = ZERO, demand.fp32
    for dtype, flops in demand.flops.items():
        rate = gpu.tensor_rate(dtype)
        if rate is None:
            lanes = lanes + flops / 2.0
        else:
            tensor = tensor + flops / rate
    return {
        "tensor": tensor / constants.get("tensor_efficiency", family),
        "exp": demand.exps / gpu.exps,
        "fp32": lanes / gpu.lanes,
        "shared": demand.shared_bytes / gpu.shared_rate_bytes,
        "stream": (demand.read_bytes + demand.written_bytes)
        * gpu.clock_hz
        / constants.get("sm_stream", family),
    }


def overlapped(busy: Mapping[str, Array], overlap: Array, sharing: Array) -> Array:
    """Cycles of one tile: the longest demand and what does not hide behind it.

    Data stream in while the units work: they take part as a floor. Of the other demands the share ``1 - overlap`` is
    exposed; with several blocks on an SM each exposes it only where no other fills in: it is divided by their number.
    """
    longest, every = ZERO, ZERO
    for name in WORK:
        longest, every = np.maximum(longest, busy[name]), every + busy[name]
    found = longest + (1.0 - overlap) * (every - longest) / sharing
    for name in STREAMS:
        found = np.maximum(found, busy[name])
    return found


def block_runs(launch: Launch, gpu: Gpu, constants: Calibration) -> tuple[list[Run], Array]:
    """Durations of the thread blocks in cycles, and the slots they run on.

    A block that shares its SM with others lasts as many times longer as they are. A step of a recurrence adds its
    latency to its block alone.
    """
    family, sharing = launch.family, resident(launch, gpu)
    overlap, masked = constants.get("overlap", family), constants.get("masked", family)
    chain = constants.get("chain", family) if launch.carried else ZERO
    waiting = block_latency(launch, gpu, constants)
    found = []
    for run in launch.blocks:
        tile = overlapped(pipes(run.tile, family, gpu, constants), overlap, sharing)
        once = overlapped(pipes(run.once, family, gpu, constants), overlap, sharing)
        work = once + run.masked * masked * tile
        first = sharing * (run.first * tile + work) + run.first * chain + waiting
        found.append(Run(first, sharing * run.step * tile + run.step * chain, run.classes, run.each))
    return found, gpu.sms * sharing


def block_latency(launch: Launch, gpu: Gpu, constants: Calibration) -> Array:
    """Cycles a block waits beside its work: its round trips to memory and its prologue."""
    trips = launch.round_trips * constants.get("round_trip", launch.family) * gpu.clock_hz
    found: Array = trips + constants.get("prologue", launch.family)
    return found


def busy_cycles(launch: Launch, gpu: Gpu, constants: Calibration) -> Mapping[str, Array]:
    """SM-cycles that all blocks of a launch keep each pipe busy."""
    found = dict.fromkeys(PIPES, ZERO)
    for run in launch.blocks:
        for demand, times in ((run.tile, run.tiles), (run.once, run.count)):
            for name, cycles in pipes(demand, launch.family, gpu, constants).items():
                found[name] = found[name] + times * cycles
    return found
