"""Facts of a GPU's work: what was computed, how busy each pipe is at its peak rate, and what memory can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ONE, ZERO, Array, total
from dse.simulator.lowering import Facts

if TYPE_CHECKING:
    from dse.arch.gpu import Gpu
    from dse.simulator.gpu.law import LaunchTime, Times

UNKNOWN = np.full(1, np.nan)


def facts_of(times: Times, gpu: Gpu, layers: Array) -> Facts:
    """Facts of a sequence of launches, repeated ``layers`` times.

    Utilisation is the share of the peak rate: a calibrated efficiency lengthens the time, not the work.
    """
    parts = times.launches
    tensor = total(part.peak_cycles(gpu)["tensor"] for part in parts)
    lanes = total(part.peak_cycles(gpu)["fp32"] for part in parts)
    exps = total(part.executed("exps") for part in parts)
    shared = total(part.executed("shared_bytes") for part in parts)
    occupied = {
        "tensor": tensor,
        "exp": exps / gpu.exps,
        "fp32": lanes,
        "shared": shared / gpu.shared_rate_bytes,
        "dram": times.dram_bytes * gpu.clock_hz / gpu.dram_byte_per_s,
    }
    chip = gpu.sms * ONE
    return Facts(
        flops=layers * total(np.nan_to_num(part.launch.flops) for part in parts),
        executed_flops=layers * total(part.executed_flops for part in parts),
        vector_ops={"exp": layers * exps, "fp32": layers * total(part.executed("fp32") for part in parts)},
        onchip_bytes=_held(times, gpu),
        occupied={name: layers * cycles for name, cycles in occupied.items()},
        elements={name: ONE if name == "dram" else chip for name in occupied},
        peak_flop_per_s=gpu.peak_flop_per_s,
        area_m2=UNKNOWN,
        memory_byte_per_s={
            "dram": gpu.dram_byte_per_s,
            "shared": gpu.shared_rate_bytes * gpu.sms * gpu.clock_hz,
        },
        cycles_each={},
        cycles_per_byte={
            "dram": gpu.clock_hz / gpu.dram_byte_per_s,
            "shared": 1.0 / (gpu.shared_rate_bytes * gpu.sms),
        },
        window=UNKNOWN,
        block_queries=UNKNOWN,
        more={
            "clock_hz": times.clock_hz,
            "thread_blocks": layers * total(part.launch.count for part in parts),
        },
        parts={node_name(number, part): part.launch.family for number, part in enumerate(parts)},
    )


def node_name(number: int, part: LaunchTime) -> str:
    """Name of a launch in the tree."""
    return f"{number}.{part.launch.name}"


def _held(times: Times, gpu: Gpu) -> Array:
    """Most shared memory that the thread blocks of a launch hold at once; NaN where nothing is known of them."""
    held = ZERO
    for part in times.launches:
        r = part.launch.compiled.get(gpu.target, part.launch.resources)
        blocks = np.minimum(part.slots, part.launch.count)
        held = np.maximum(held, np.where(blocks > 0.0, r.shared_bytes * blocks, 0.0))
    return held
