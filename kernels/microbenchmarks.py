# mypy: disallow-untyped-decorators=False
"""Kernels that load one resource of a GPU each: launches, DRAM, L2, tensor cores, exponentials, FP32 arithmetic.

Each has a function ``<name>(parameters, device) -> Work`` that says what it does and how much; the results are checked
like those of any kernel. Their latencies bracket the constants of a machine's calibration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from dse.errors import WorkloadError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dse.workloads.trace import Value

BLOCK = 1024
TILE = 128
DEPTH = 64


@dataclass(frozen=True)
class Work:
    """A microbenchmark that is ready to run: ``call`` launches it, ``wanted`` is what ``output`` then holds."""

    call: Callable[[], None]
    output: torch.Tensor
    wanted: torch.Tensor
    tolerance: float
    flops: float = 0.0
    bytes: float = 0.0
    exps: float = 0.0


@triton.jit
def empty_kernel(output: tl.tensor) -> None:
    """One number by one block: what is left is the launch."""
    tl.store(output, 1.0)


@triton.jit
def copy_kernel(source: tl.tensor, output: tl.tensor, count: tl.tensor, BLOCK: tl.constexpr) -> None:
    """Reads and writes every element once."""
    places = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = places < count
    tl.store(output + places, tl.load(source + places, mask=inside), mask=inside)


@triton.jit
def l2_kernel(
    source: tl.tensor, output: tl.tensor, blocks: tl.tensor, passes: tl.tensor, BLOCK: tl.constexpr
) -> None:
    """Every program reads the whole buffer several times, each from another place on; L1 is passed by."""
    first = tl.program_id(0)
    total = tl.zeros((BLOCK,), tl.float32)
    for step in range(passes * blocks):
        places = (first + step) % blocks * BLOCK + tl.arange(0, BLOCK)
        total += tl.load(source + places, cache_modifier=".cg")
    tl.store(output + first * BLOCK + tl.arange(0, BLOCK), total)


@triton.jit
def tensor_kernel(
    a: tl.tensor, b: tl.tensor, output: tl.tensor, steps: tl.tensor, TILE: tl.constexpr, DEPTH: tl.constexpr
) -> None:
    """The same product of two tiles, added up again and again."""
    rows, deep = tl.arange(0, TILE), tl.arange(0, DEPTH)
    left = tl.load(a + rows[:, None] * DEPTH + deep[None, :])
    right = tl.load(b + deep[:, None] * TILE + rows[None, :])
    total = tl.zeros((TILE, TILE), tl.float32)
    for _ in range(steps):
        total = tl.dot(left, right, total)
    places = tl.program_id(0) * TILE * TILE + rows[:, None] * TILE + rows[None, :]
    tl.store(output + places, total)


@triton.jit
def exp_kernel(output: tl.tensor, steps: tl.tensor, BLOCK: tl.constexpr) -> None:
    """A chain of exponentials for each element."""
    lanes = tl.arange(0, BLOCK)
    value = lanes.to(tl.float32) / BLOCK
    for _ in range(steps):
        value = tl.exp2(-value)
    tl.store(output + tl.program_id(0) * BLOCK + lanes, value)


@triton.jit
def fp32_kernel(output: tl.tensor, steps: tl.tensor, BLOCK: tl.constexpr) -> None:
    """A chain of multiply-adds for each element."""
    lanes = tl.arange(0, BLOCK)
    value = lanes.to(tl.float32) / BLOCK
    for _ in range(steps):
        value = value * 0.5 + 0.25
    tl.store(output + tl.program_id(0) * BLOCK + lanes, value)


def empty(parameters: Mapping[str, Value], device: str) -> Work:
    """A launch that does next to nothing."""
    output = torch.zeros(1, device=device)
    return Work(lambda: empty_kernel[(1,)](output), output, torch.ones(1), 0.0, bytes=4.0)


def copy(parameters: Mapping[str, Value], device: str) -> Work:
    """``size`` bytes read and as many written, float32."""
    count = int(str(parameters["size"])) // 4
    source = torch.randn(count, generator=torch.Generator().manual_seed(0))
    given, output = source.to(device), torch.zeros(count, device=device)
    grid = (triton.cdiv(count, BLOCK),)
    return Work(
        lambda: copy_kernel[grid](given, output, count, BLOCK=BLOCK), output, source, 0.0, bytes=8.0 * count
    )


def l2(parameters: Mapping[str, Value], device: str) -> Work:
    """A buffer of ``size`` bytes that stays in the L2 cache, read ``passes`` times by each of ``programs``."""
    size, passes, programs = _whole(parameters, "size", "passes", "programs")
    blocks = max(1, size // (4 * BLOCK))
    source = torch.randint(0, 8, (blocks * BLOCK,), generator=torch.Generator().manual_seed(0)).float()
    given, output = source.to(device), torch.zeros(programs * BLOCK, device=device)
    wanted = (source.view(blocks, BLOCK).sum(0) * passes).repeat(programs)

    def call() -> None:
        l2_kernel[(programs,)](given, output, blocks, passes, BLOCK=BLOCK)

    return Work(call, output, wanted, 0.0, bytes=4.0 * BLOCK * blocks * passes * programs)


def tensor(parameters: Mapping[str, Value], device: str) -> Work:
    """``steps`` products of 128 by 64 by 128 in fp16 by each of ``programs``."""
    steps, programs = _whole(parameters, "steps", "programs")
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(-2, 3, (TILE, DEPTH), generator=generator).half()
    b = torch.randint(-2, 3, (DEPTH, TILE), generator=generator).half()
    left, right = a.to(device), b.to(device)
    output = torch.zeros(programs * TILE * TILE, device=device)
    wanted = (steps * (a.float() @ b.float())).flatten().repeat(programs)

    def call() -> None:
        tensor_kernel[(programs,)](left, right, output, steps, TILE=TILE, DEPTH=DEPTH)

    return Work(call, output, wanted, 0.0, flops=2.0 * TILE * TILE * DEPTH * steps * programs)


def exp(parameters: Mapping[str, Value], device: str) -> Work:
    """``steps`` exponentials of 1,024 elements by each of ``programs``."""
    steps, programs = _whole(parameters, "steps", "programs")
    output = torch.zeros(programs * BLOCK, device=device)
    wanted = _chain(lambda value: torch.exp2(-value), steps, programs)
    return Work(
        lambda: exp_kernel[(programs,)](output, steps, BLOCK=BLOCK),
        output,
        wanted,
        1e-5,
        exps=float(BLOCK * steps * programs),
    )


def fp32(parameters: Mapping[str, Value], device: str) -> Work:
    """``steps`` multiply-adds of 1,024 elements by each of ``programs``."""
    steps, programs = _whole(parameters, "steps", "programs")
    output = torch.zeros(programs * BLOCK, device=device)
    wanted = _chain(lambda value: value * 0.5 + 0.25, steps, programs)
    return Work(
        lambda: fp32_kernel[(programs,)](output, steps, BLOCK=BLOCK),
        output,
        wanted,
        1e-6,
        flops=2.0 * BLOCK * steps * programs,
    )


MICROBENCHMARKS = {"empty": empty, "copy": copy, "l2": l2, "tensor": tensor, "exp": exp, "fp32": fp32}


def prepare(name: str, parameters: Mapping[str, Value], device: str) -> Work:
    """A microbenchmark by name.

    Raises
    ------
    WorkloadError
        No such microbenchmark, or a parameter is missing.
    """
    if name not in MICROBENCHMARKS:
        raise WorkloadError(f"no microbenchmark '{name}'{nearest(name, MICROBENCHMARKS)}")
    try:
        return MICROBENCHMARKS[name](parameters, device)
    except KeyError as error:
        raise WorkloadError(f"microbenchmark {name} needs {error}") from None


def _whole(parameters: Mapping[str, Value], *names: str) -> list[int]:
    return [int(str(parameters[name])) for name in names]


def _chain(step: Callable[[torch.Tensor], torch.Tensor], steps: int, programs: int) -> torch.Tensor:
    value = torch.arange(BLOCK, dtype=torch.float32) / BLOCK
    for _ in range(steps):
        value = step(value)
    return value.repeat(programs)
