"""GPU: streaming multiprocessors (SMs) that run thread blocks, under one L2 cache and off-chip memory.

Modelled: data-sheet rates per SM and cycle (tensor cores by operand type, exponentials, FP32 lanes, shared memory),
what limits the thread blocks on an SM, L2 capacity, off-chip bandwidth, board power, energy per operation and byte
where a source gives it, and the constants of a calibration. Nothing here is fitted: fitted constants stand in
``arch/calibration``. Not modelled: clusters, several chips, voltage and temperature, graphics units.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, model_validator

from dse.arch.calibration.constants import Calibration, find_calibration
from dse.arch.machine import Array, MachineFile, Named, one_point
from dse.errors import ConfigError
from dse.spec import Spec
from dse.units import (
    Bytes,
    BytesPerCycle,
    BytesPerSecond,
    FlopsPerCycle,
    JoulesPerBit,
    JoulesPerOp,
    OpsPerCycle,
    PositiveCount,
    Watts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self

KIND = "gpu"
NARROW = ("fp8", "int8", "uint8", "int4")
UNCALIBRATED = (
    "uncalibrated: data-sheet rates, full overlap, no launch overhead or latencies; expect predictions below "
    "measurements, small kernels most"
)
UNCALIBRATED_ENERGY = (
    "joules uncalibrated: energy per operation and byte from the machine's file, no idle or leakage power"
)


@dataclass(frozen=True, slots=True)
class Gpu(Named):
    """A GPU; see the module docstring. Rates are per SM and cycle, NaN where no source gives them.

    ``target`` is the compiler's name of the architecture. ``tensor_flops`` holds the rate of matrix products by operand
    type; types it does not name run on the FP32 lanes. ``warps``, ``blocks``, ``registers`` and ``shared_bytes`` limit
    the thread blocks on an SM.
    """

    target: str
    sms: Array
    tensor_flops: Mapping[str, Array]
    exps: Array
    lanes: Array
    shared_rate_bytes: Array
    shared_bytes: Array
    block_shared_bytes: Array
    reserved_shared_bytes: Array
    registers: Array
    warps: Array
    blocks: Array
    l2_bytes: Array
    dram_byte_per_s: Array
    dram_bytes: Array
    power_w: Array
    joules: Mapping[str, Array]
    calibration: Calibration

    def tensor_rate(self, dtype: str) -> Array | None:
        """FLOPs per SM and cycle of matrix products with operands of a type; None if the FP32 lanes compute them.

        Integer and 8-bit types that the tensor cores do not take are computed in 16 bit.
        """
        rate = self.tensor_flops.get(dtype)
        return self.tensor_flops.get("fp16") if rate is None and dtype in NARROW else rate

    @property
    def error_bar(self) -> str:
        """How far predictions were from the rows of the calibration, or that there is none."""
        return "; ".join(self.calibration.notes) if self.calibration.name else UNCALIBRATED

    @property
    def peak_flop_per_s(self) -> Array:
        """Matrix products in 16-bit types, all SMs at the nominal clock."""
        rate = self.tensor_rate("fp16")
        return (2.0 * self.lanes if rate is None else rate) * self.sms * self.clock_hz

    def scaled_resources(self, factor: float) -> Iterator[tuple[str, Gpu]]:
        """The machine with each of its resources scaled in turn, under its dotted name."""
        rates = {name: rate * factor for name, rate in self.tensor_flops.items()}
        if rates:
            yield "units.tensor", replace(self, tensor_flops=rates)
        for path, key in (
            ("sms", "sms"),
            ("units.exp.rate", "exps"),
            ("units.fp32.rate", "lanes"),
            ("memories.dram.bandwidth", "dram_byte_per_s"),
            ("memories.l2.capacity", "l2_bytes"),
            ("memories.shared.capacity", "shared_bytes"),
            ("memories.shared.bandwidth", "shared_rate_bytes"),
        ):
            value = getattr(self, key)
            if np.isfinite(value[0]):
                yield path, replace(self, **{key: value * factor})


class DramFile(Spec):
    """Off-chip memory."""

    capacity: Bytes
    bandwidth: BytesPerSecond
    energy: JoulesPerBit | None = Field(default=None, description="absent where no source gives it")
    source: str


class L2File(Spec):
    """Cache that all SMs share."""

    capacity: Bytes | None = Field(default=None, description="absent where sources disagree: data fit then")
    energy: JoulesPerBit | None = None
    source: str


class SharedFile(Spec):
    """Shared memory of an SM, and what one thread block may have of it."""

    capacity: Bytes
    block: Bytes
    reserved: Bytes = Field(default=0.0, description="of each block, beside its own")
    bandwidth: BytesPerCycle
    energy: JoulesPerBit | None = None
    source: str


class MemoriesFile(Spec):
    """Memories, outermost first."""

    dram: DramFile
    l2: L2File
    shared: SharedFile


class TensorFile(Spec):
    """Tensor cores of an SM: dense rate by type of the operands."""

    rates: dict[str, FlopsPerCycle]
    energy: JoulesPerOp | None = Field(default=None, description="of one multiply-add")
    source: str


class LanesFile(Spec):
    """Results per cycle and SM."""

    rate: OpsPerCycle
    energy: JoulesPerOp | None = None
    source: str


class UnitsFile(Spec):
    """Compute units of an SM."""

    tensor: TensorFile | None = None
    exp: LanesFile
    fp32: LanesFile


class LimitsFile(Spec):
    """What limits the thread blocks that run on an SM at once."""

    warps: PositiveCount
    blocks: PositiveCount
    registers: PositiveCount = Field(description="32-bit registers")
    source: str


class File(MachineFile):
    """A GPU machine file."""

    compute_capability: str
    sms: PositiveCount
    memories: MemoriesFile
    units: UnitsFile
    limits: LimitsFile
    power: Watts = Field(description="board power limit")
    calibration: str = Field(
        default="own",
        description="calibration: that named like the machine if there is one (own), none, or a name or path",
    )

    @model_validator(mode="after")
    def _calibration_known(self) -> Self:
        try:
            self._constants("")
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    def build(self, name: str) -> Gpu:
        """The machine this file describes."""
        constants = self._constants(name)
        tensor, memories = self.units.tensor, self.memories
        energies = {
            "tensor": None if tensor is None else tensor.energy,
            "exp": self.units.exp.energy,
            "fp32": self.units.fp32.energy,
            "shared": _per_byte(memories.shared.energy),
            "l2": _per_byte(memories.l2.energy),
            "dram": _per_byte(memories.dram.energy),
        }
        return Gpu(
            **self.identity(name, *_notes(constants)),
            target=f"sm_{self.compute_capability.replace('.', '')}",
            sms=one_point(self.sms),
            tensor_flops={} if tensor is None else {k: one_point(v) for k, v in tensor.rates.items()},
            exps=one_point(self.units.exp.rate),
            lanes=one_point(self.units.fp32.rate),
            shared_rate_bytes=one_point(memories.shared.bandwidth),
            shared_bytes=one_point(memories.shared.capacity),
            block_shared_bytes=one_point(memories.shared.block),
            reserved_shared_bytes=one_point(memories.shared.reserved),
            registers=one_point(self.limits.registers),
            warps=one_point(self.limits.warps),
            blocks=one_point(self.limits.blocks),
            l2_bytes=one_point(memories.l2.capacity),
            dram_byte_per_s=one_point(memories.dram.bandwidth),
            dram_bytes=one_point(memories.dram.capacity),
            power_w=one_point(self.power),
            joules={key: one_point(value) for key, value in energies.items()},
            calibration=constants,
        )

    def _constants(self, name: str) -> Calibration:
        return find_calibration(self.calibration, name)


def _notes(constants: Calibration) -> tuple[str, ...]:
    """What a result of these constants should be read with."""
    found = tuple(constants.notes) if constants.name else (UNCALIBRATED,)
    known = "tensor_energy" in constants.names() and "dram_energy" in constants.names()
    return found if known else (*found, UNCALIBRATED_ENERGY)


def _per_byte(energy: float | None) -> float | None:
    return None if energy is None else energy * 8.0
