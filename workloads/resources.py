"""What a compiled kernel needs of a GPU, kept with the trace of the launch it was compiled for.

Modelled: registers, stack, shared memory, static instruction counts, and limits of the target that are
broken. Not modelled: time, occupancy, and how often an instruction runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Resources:
    """One launch compiled for one target.

    Attributes
    ----------
    launch
        Number of the launch in its trace.
    target
        ``sm_90``, ``gfx942``, ...
    shared_bytes, registers, stack_bytes
        Shared memory of a block; 32-bit registers and stack of a thread. A stack above 0 means spilling.
    instructions
        Instructions in the code (PTX, or AMD assembly) by kind, each counted once whatever loop it is in.
    exceeded
        Limits of the target that are broken, with demand and bound; empty if the kernel can run.
    triton
        Version that compiled it: the figures change with it.
    """

    launch: int
    target: str
    num_warps: int
    num_stages: int
    shared_bytes: int
    registers: int
    stack_bytes: int
    instructions: Mapping[str, int]
    exceeded: tuple[str, ...]
    triton: str


def read_resources(plain: Mapping[str, Any]) -> Resources:
    """Resources of plain values; KeyError, TypeError or ValueError if they are not such."""
    numbers = ("launch", "num_warps", "num_stages", "shared_bytes", "registers", "stack_bytes")
    return Resources(
        target=str(plain["target"]),
        instructions={str(name): int(count) for name, count in plain["instructions"].items()},
        exceeded=tuple(str(text) for text in plain["exceeded"]),
        triton=str(plain["triton"]),
        **{name: int(plain[name]) for name in numbers},
    )
