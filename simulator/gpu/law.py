"""The one law of a GPU's time: cycles and seconds of kernel launches, on arrays of design points.

Modelled: launch overhead; thread blocks listed over slots, with the tail that blocks of mixed length leave; off-chip
transfers as a fluid that all SMs share, hidden behind the blocks' work as far as their family does; the clock that a
power limit leaves; energy of operations, bytes and time. Cycles count the nominal clock: a lower clock lengthens the
seconds of the same cycles. Not modelled: several kernels at once, refresh, temperature, voltage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ONE, ZERO, Array, total
from dse.simulator.gpu.tiles import block_latency, block_runs, busy_cycles, resident
from dse.simulator.gpu.traffic import dram_bytes, kept
from dse.simulator.list_schedule import Run, Spread, expected, least, spread_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from dse.arch.calibration.constants import Calibration
    from dse.arch.gpu import Gpu
    from dse.workloads.launches import Demand, Launch


@dataclass(frozen=True, eq=False)
class LaunchTime:
    """Where the cycles of one launch go, over design points.

    ``blocks_cycles`` is the expected length of the list of thread blocks, ``bound_cycles`` its lower bound,
    ``dram_cycles`` the transfers at the rate they reach, ``exposed_cycles`` the part that does not hide behind the
    blocks, ``ramp_cycles`` those in which no data flow: the memory starts, and the blocks of a slot wait one after
    another before and after their tiles. ``busy`` holds SM-cycles of every pipe. ``cycles`` is the launch without its
    overhead.
    """

    launch: Launch
    runs: tuple[Run, ...]
    spread: Spread
    slots: Array
    resident: Array
    blocks_cycles: Array
    bound_cycles: Array
    dram_cycles: Array
    exposed_cycles: Array
    ramp_cycles: Array
    dram_bytes: Mapping[str, Array]
    busy: Mapping[str, Array]
    cycles: Array

    @property
    def runs_at_all(self) -> Array:
        """1 where the launch has blocks, else 0."""
        return np.where(self.launch.count > 0.0, 1.0, 0.0)

    def executed(self, what: str) -> Array:
        """A demand (``exps``, ``fp32``, ``shared_bytes``, ``read_bytes``, ``written_bytes``) of all blocks."""
        return _summed(self.launch, lambda demand: getattr(demand, what))

    def tensor_flops(self, gpu: Gpu) -> Array:
        """Floating-point operations of products on the tensor cores."""
        return _summed(
            self.launch,
            lambda d: total(f for dtype, f in d.flops.items() if gpu.tensor_rate(dtype) is not None),
        )

    def lane_flops(self, gpu: Gpu) -> Array:
        """Floating-point operations of products on the FP32 lanes."""
        return _summed(
            self.launch, lambda d: total(f for dtype, f in d.flops.items() if gpu.tensor_rate(dtype) is None)
        )

    def peak_cycles(self, gpu: Gpu) -> Mapping[str, Array]:
        """SM-cycles of the tensor cores and the FP32 lanes at their peak rates."""
        tensor = ZERO
        for run in self.launch.blocks:
            for dtype, flops in run.tile.flops.items():
                rate = gpu.tensor_rate(dtype)
                if rate is not None:
                    tensor = tensor + run.tiles * flops / rate
        lanes = (self.executed("fp32") + self.lane_flops(gpu) / 2.0) / gpu.lanes
        return {"tensor": tensor, "fp32": lanes}

    @property
    def executed_flops(self) -> Array:
        """Floating-point operations of all products, padding and masked halves of tiles included."""
        return _summed(self.launch, lambda demand: total(demand.flops.values()))


@dataclass(frozen=True, eq=False)
class Times:
    """Time and energy of a sequence of launches.

    ``cycles`` are at the nominal clock, overheads included; ``clock_hz`` is what the power limit leaves, and
    ``seconds`` the quotient. ``dynamic_j`` is the calibrated energy of work and transfers, NaN without calibration.
    """

    launches: tuple[LaunchTime, ...]
    overhead_cycles: Array
    cycles: Array
    clock_hz: Array
    seconds: Array
    dynamic_j: Array
    idle_w: Array

    @property
    def dram_bytes(self) -> Array:
        """Bytes over the off-chip interface."""
        return total(part for launch in self.launches for part in launch.dram_bytes.values())

    @property
    def joules(self) -> Array:
        """Calibrated energy: work, transfers, and idle power for the time; NaN where it is not calibrated."""
        return self.dynamic_j + self.idle_w * self.seconds


def launch_time(
    launch: Launch, gpu: Gpu, constants: Calibration, stays: NDArray[np.bool_] | None = None
) -> LaunchTime:
    """Cycles of one launch at the nominal clock, its overhead apart; ``stays`` as for `dram_bytes`."""
    runs, slots = block_runs(launch, gpu, constants)
    blocks = spread_of(runs)
    moved = dram_bytes(launch, gpu, slots, stays)
    rate = gpu.dram_byte_per_s * constants.get("dram_efficiency", launch.family) / gpu.clock_hz
    transfers = total(moved.values()) / rate
    exposed = (1.0 - constants.get("dram_overlap", launch.family)) * transfers
    waiting = block_latency(launch, gpu, constants) * np.maximum(launch.count / slots, ONE)
    ramp = constants.get("ramp", launch.family) * gpu.clock_hz + waiting
    length = expected(blocks, slots, launch.order, runs)
    return LaunchTime(
        launch=launch,
        runs=tuple(runs),
        spread=blocks,
        slots=slots,
        resident=resident(launch, gpu),
        blocks_cycles=length,
        bound_cycles=least(blocks, slots),
        dram_cycles=transfers,
        exposed_cycles=exposed,
        ramp_cycles=np.where(transfers > 0.0, ramp, 0.0),
        dram_bytes=moved,
        busy=busy_cycles(launch, gpu, constants),
        cycles=np.where(
            launch.count > 0.0,
            np.maximum(length + exposed, transfers + np.where(transfers > 0.0, ramp, 0.0)),
            0.0,
        ),
    )


def predict(
    launches: Sequence[Launch],
    gpu: Gpu,
    constants: Calibration | None = None,
    *,
    layers: Array = ONE,
    warm: bool | NDArray[np.bool_] = False,
) -> Times:
    """Time of launches one after another, the whole sequence ``layers`` times.

    Constants are the machine's own calibration unless others are given. ``warm`` says that the sequence ran before
    on the same data, as in repeated measurements without a flush of the cache; points may differ in it.
    """
    known = gpu.calibration if constants is None else constants
    stays = warm & kept(launches, gpu) if np.any(warm) else None
    parts = tuple(launch_time(launch, gpu, known, stays) for launch in launches)
    overhead = overhead_cycles(parts, gpu, known, layers)
    cycles = overhead + layers * total(part.cycles for part in parts)
    dynamic = layers * dynamic_joules(parts, known)
    idle = known.get("idle_power")
    nominal = cycles / gpu.clock_hz
    seconds = power_limited(nominal, dynamic, idle, gpu.power_w)
    with np.errstate(invalid="ignore"):
        clock = np.where(nominal > 0.0, cycles / seconds, gpu.clock_hz)
    return Times(parts, overhead, cycles, clock, seconds, dynamic, idle)


def gap_cycles(part: LaunchTime, gpu: Gpu, constants: Calibration) -> Array:
    """Cycles between a launch and the one before, with what only its first blocks wait for; 0 without blocks."""
    family = part.launch.family
    gap = constants.get("gap", family)
    gap = np.where(np.isnan(gap), constants.get("launch", family), gap)
    trips = part.launch.start_trips * constants.get("round_trip", family)
    found: Array = part.runs_at_all * (gap + trips) * gpu.clock_hz
    return found


def overhead_cycles(
    parts: Sequence[LaunchTime], gpu: Gpu, constants: Calibration, layers: Array = ONE
) -> Array:
    """Cycles between launches: the first pays its launch, the others the gap to the one before."""
    found, started = ZERO, ZERO
    for part in parts:
        family = part.launch.family
        first, gap = constants.get("launch", family), constants.get("gap", family)
        extra = np.where(np.isnan(gap), 0.0, first - gap) * gpu.clock_hz
        fresh = part.runs_at_all * (1.0 - started)
        found = found + fresh * extra + layers * gap_cycles(part, gpu, constants)
        started = np.maximum(started, part.runs_at_all)
    return found


def dynamic_joules(parts: Sequence[LaunchTime], constants: Calibration) -> Array:
    """Calibrated energy of products and off-chip transfers, once; NaN where it is not calibrated."""
    found = ZERO
    for part in parts:
        family = part.launch.family
        moved = total(part.dram_bytes.values())
        found = found + part.executed_flops / 2.0 * constants.get("tensor_energy", family)
        found = found + moved * 8.0 * constants.get("dram_energy", family)
    return found


def power_limited(seconds: Array, dynamic_j: Array, idle_w: Array, limit_w: Array) -> Array:
    """Seconds in which the work's energy fits under the power limit; those given where energy is not known.

    Work costs the same energy at any clock: voltage does not scale in this model.
    """
    with np.errstate(invalid="ignore"):
        least_seconds = dynamic_j / np.maximum(limit_w - idle_w, 1.0)
    found: Array = np.fmax(seconds, least_seconds)
    return found


def _summed(launch: Launch, of: Callable[[Demand], Array]) -> Array:
    found = ZERO
    for run in launch.blocks:
        found = found + run.tiles * of(run.tile) + run.count * of(run.once)
    return found
