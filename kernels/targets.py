"""GPUs that kernels are compiled for, and what a thread block may use there.

Modelled: limits of one thread block. Not modelled: how many blocks share a multiprocessor.
"""

from __future__ import annotations

from dataclasses import dataclass

_CUDA = "CUDA C++ Programming Guide, Compute Capabilities, Technical Specifications per Compute Capability"
_ROCM = "ROCm documentation, AMD GPU specifications (LDS and VGPR file of CDNA3); CDNA3 ISA guide (registers)"


@dataclass(frozen=True, slots=True)
class Target:
    """One architecture: Triton's name for it, and limits of a thread block with their source.

    ``registers`` are 32-bit ones a thread may address, ``block_registers`` those of all its threads.
    """

    backend: str
    architecture: int | str
    warp_size: int
    shared_bytes: int
    registers: int
    block_registers: int
    threads: int
    source: str

    def exceeded(self, shared_bytes: int, registers: int, num_warps: int) -> tuple[str, ...]:
        """Limits that a kernel breaks, with demand and bound; Triton compiles such kernels all the same."""
        threads = num_warps * self.warp_size
        demands = (
            ("shared memory bytes", shared_bytes, self.shared_bytes),
            ("registers per thread", registers, self.registers),
            ("registers per block", registers * threads, self.block_registers),
            ("threads per block", threads, self.threads),
        )
        return tuple(f"{what}: {got:,} of {bound:,}" for what, got, bound in demands if got > bound)


TARGETS = {
    "sm_80": Target("cuda", 80, 32, 163 * 1024, 255, 65_536, 1024, _CUDA),
    "sm_90": Target("cuda", 90, 32, 227 * 1024, 255, 65_536, 1024, _CUDA),
    "sm_100": Target("cuda", 100, 32, 227 * 1024, 255, 65_536, 1024, _CUDA),
    "gfx942": Target("hip", "gfx942", 64, 64 * 1024, 512, 131_072, 1024, _ROCM),
}
