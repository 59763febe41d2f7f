"""What a kernel launch asks of a GPU: classes of thread blocks, demand of their tiles, traffic, resources.

Modelled: blocks by the number of tiles they visit, in arithmetic runs; demand of one tile and of one block (matrix
products by operand type, exponentials, FP32 operations, shared-memory bytes, bytes in and out); bytes of each tensor,
distinct and in total; what a block occupies of an SM. A traced kernel gives classes as they ran, a description by shape
gives them in closed form. Not modelled: addresses, bank conflicts, instruction order, atomics that collide.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Array: TypeAlias = NDArray[np.float64]
Order = Literal["grid", "longest_first"]

NOTHING = np.zeros(1)
ONCE = np.ones(1)
UNKNOWN = np.full(1, np.nan)
LOAD_STORE = np.full(1, 2.0)  # round trips of a block: its first data in, its result out
FAMILIES = {
    "prefill": "attention of many queries: a block of query rows walks over tiles of keys",
    "decode": "attention of few queries: a block walks over a part of the keys",
    "gemm": "matrix products: a block owns a tile of the output",
    "linear": "linear attention: a block carries a state from chunk to chunk",
    "other": "everything else: pooling, selection, combining, rows of a softmax",
}


@dataclass(frozen=True, slots=True)
class Demand:
    """Work of one tile or one block, over design points.

    ``flops`` are those of matrix products (two per multiply-add) by type of the operands, ``fp32`` operations of FP32
    lanes beside exponentials (a fused multiply-add counts one), ``shared_bytes`` those written to and read from shared
    memory, ``read_bytes`` and ``written_bytes`` those between an SM and the L2 cache.
    """

    flops: Mapping[str, Array] = field(default_factory=dict)
    exps: Array = field(default_factory=lambda: NOTHING)
    fp32: Array = field(default_factory=lambda: NOTHING)
    shared_bytes: Array = field(default_factory=lambda: NOTHING)
    read_bytes: Array = field(default_factory=lambda: NOTHING)
    written_bytes: Array = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Thread blocks in an arithmetic run: ``classes`` classes visit ``first``, ``first + step``, ... tiles.

    Each class has ``each`` blocks; ``masked`` of a block's tiles go through a mask. ``tile`` is the demand of a tile,
    ``once`` that of a block beside its tiles.
    """

    first: Array
    step: Array
    classes: Array
    each: Array
    tile: Demand
    once: Demand = field(default_factory=Demand)
    masked: Array = field(default_factory=lambda: NOTHING)

    @property
    def count(self) -> Array:
        """Blocks of the run."""
        return self.classes * self.each

    @property
    def tiles(self) -> Array:
        """Tiles that all blocks of the run visit."""
        return self.each * (self.classes * self.first + self.step * self.classes * (self.classes - 1.0) / 2.0)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of one tensor over a launch: distinct ones (``unique``), and what blocks ask for in ``total``.

    Of n blocks that run together, n ** ``spread`` share the same bytes (no more than there are sharers): all of them
    where sharers follow one another in the grid, the square root where the grid is walked in patches. ``far`` says that
    all of the tensor passes before its bytes are asked for again.
    """

    unique: Array
    total: Array
    written: bool = False
    spread: float = 1.0
    far: bool = False


@dataclass(frozen=True, slots=True)
class Resources:
    """What one thread block takes of an SM; NaN where nothing was compiled.

    ``registers`` are those of a thread. ``co_resident`` states the blocks on an SM outright, instead of the limits.
    ``assumed`` says that the launch parameters behind them are not known: they limit nothing but the sharing of an SM.
    """

    shared_bytes: Array = field(default_factory=lambda: UNKNOWN)
    registers: Array = field(default_factory=lambda: UNKNOWN)
    warps: Array = field(default_factory=lambda: UNKNOWN)
    stages: Array = field(default_factory=lambda: UNKNOWN)
    co_resident: Array = field(default_factory=lambda: UNKNOWN)
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel launch over design points.

    Attributes
    ----------
    family
        Kernel family whose constants apply; see ``FAMILIES``.
    order
        Order in which blocks start: that of the grid, or those with most tiles first.
    round_trips
        Accesses to memory that a block makes one after the other and waits for, beside those its tiles hide.
    start_trips
        Those that only the first block of each slot waits for: later ones find theirs made while others ran.
    carried
        Whether the tiles of a block depend on one another through a state (a recurrence).
    flops
        Useful floating-point operations, two per multiply-add.
    einsums
        Cascade Einsums it computes.
    compiled
        Resources by the target they were compiled for (``sm_90``), where it was compiled; they win over ``resources``.
    """

    name: str
    family: str
    blocks: tuple[Blocks, ...]
    tensors: Mapping[str, Traffic]
    resources: Resources = field(default_factory=Resources)
    order: Order = "grid"
    carried: bool = False
    round_trips: Array = field(default_factory=lambda: LOAD_STORE)
    start_trips: Array = field(default_factory=lambda: NOTHING)
    flops: Array = field(default_factory=lambda: UNKNOWN)
    einsums: tuple[str, ...] = ()
    compiled: Mapping[str, Resources] = field(default_factory=dict)

    @property
    def count(self) -> Array:
        """Thread blocks."""
        total = NOTHING
        for run in self.blocks:
            total = total + run.count
        return total

    @property
    def unique_bytes(self) -> Array:
        """Distinct bytes of all tensors."""
        total = NOTHING
        for tensor in self.tensors.values():
            total = total + tensor.unique
        return total


def where(launch: Launch, here: NDArray[np.bool_]) -> Launch:
    """A launch with blocks at some design points only; no traffic and no work at the others."""
    runs = tuple(replace(run, each=np.where(here, run.each, 0.0)) for run in launch.blocks)
    tensors = {
        name: replace(t, unique=np.where(here, t.unique, 0.0), total=np.where(here, t.total, 0.0))
        for name, t in launch.tensors.items()
    }
    return replace(launch, blocks=runs, tensors=tensors, flops=np.where(here, launch.flops, 0.0))


def merged(launches: Sequence[Launch]) -> Launch:
    """One launch with the blocks of all: the same kernel on requests of different lengths."""
    first = launches[0]
    tensors = dict(first.tensors)
    flops = first.flops
    for other in launches[1:]:
        flops = flops + other.flops
        for name, t in other.tensors.items():
            mine = tensors[name]
            tensors[name] = replace(mine, unique=mine.unique + t.unique, total=mine.total + t.total)
    blocks = tuple(run for launch in launches for run in launch.blocks)
    return replace(first, blocks=blocks, tensors=tensors, flops=flops)
