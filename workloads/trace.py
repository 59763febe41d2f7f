"""What one run of a Triton kernel did, as frozen values: launches, program classes and their ordered events.

Modelled: which tiles every program read and wrote and in which order, matrix products, exponentials,
selections, reductions, elementwise operations and loop trips; programs that did the same apart from where
their tiles lie form one class. Executed work (every lane of every tile) and the active part of it (lanes a
mask leaves) are kept apart. Not modelled: time, placement in shared memory or registers, cache hits,
parallel order of programs.

Needs neither torch nor triton. Files are read and written by ``dse.workloads.trace_file``.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dse.errors import TraceError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dse.workloads.resources import Resources
    from dse.workloads.values import LaunchValues

KINDS = (
    "load", "store", "atomic", "dot", "exp", "select", "reduce", "scan", "loop", "elementwise", "footprint",
)  # fmt: skip
LEVELS = ("counts", "events", "values")

Value = int | float | bool | str | None | tuple["Value", ...]
Coordinates = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing a program did, or ``count`` equal ones where their order is not kept.

    Attributes
    ----------
    kind
        ``load``, ``store``, ``atomic``: a tile of ``tensor``; ``shape`` is the extent of the box that holds
        all active elements, ``origin`` its corner relative to the program's anchor in that tensor. ``dot``:
        a matrix product, ``shape`` is (M, N, K), with a leading batch where there is one. ``exp``,
        ``select``, ``elementwise``: an operator over ``shape`` (empty where several shapes are summed).
        ``reduce``, ``scan``: ``shape`` goes in, along ``axis``. ``loop``: ``elements`` trips were made;
        ``line`` is the loop's. ``footprint``: the program read ``active`` different elements of ``tensor``
        (``operator`` ``load``) or wrote them (``store``), and ``elements`` with repetition.
    operator
        Triton's name: ``exp2``, ``fadd``, ``max``; ``dot`` for a matrix product.
    dtype, result
        Element type that goes in and that comes out (``fp16`` into a dot, ``fp32`` out of it).
    line
        Line in the kernel's file, 0 where unknown.
    trip
        Iteration of the innermost loop, -1 outside loops and where order is not kept.
    elements, active
        Lanes of the tile, and how many of them a mask left (for a selection: how many took the first
        operand).
    """

    kind: str
    operator: str = ""
    tensor: str = ""
    dtype: str = ""
    result: str = ""
    line: int = 0
    trip: int = -1
    axis: int = -1
    count: int = 1
    elements: int = 0
    active: int = 0
    shape: Coordinates = ()
    origin: Coordinates = ()

    @property
    def flops(self) -> int:
        """Floating-point operations of all ``count`` products, two per multiply-add; 0 for other kinds."""
        return 2 * math.prod(self.shape) * self.count if self.kind == "dot" else 0


@dataclass(frozen=True, slots=True)
class ProgramClass:
    """Programs with equal events.

    ``programs`` are their places in the grid, ``anchors`` the corner of the first tile each touched in each
    tensor, in the same order. ``multiplicity`` is how many programs the class stands for: their number in a
    full trace, possibly more in a sampled one.
    """

    programs: tuple[Coordinates, ...]
    multiplicity: int
    anchors: Mapping[str, tuple[Coordinates, ...]]
    events: tuple[Event, ...]

    def boxes(
        self, program: int, tensor: str, kind: str = "load"
    ) -> Iterator[tuple[Coordinates, Coordinates]]:
        """Corner and extent of each tile of ``tensor`` that the ``program``-th program touched, in order."""
        anchor = self.anchors[tensor][program]
        for event in self.events:
            if event.kind == kind and event.tensor == tensor and event.origin:
                corner = tuple(base + delta for base, delta in zip(anchor, event.origin, strict=True))
                yield corner, event.shape


@dataclass(frozen=True, slots=True)
class TracedTensor:
    """A tensor argument; strides count elements, unique bytes count every element touched in the launch once.

    ``values`` holds the content of small integer tensors (lengths, index lists), which steer a kernel's
    control flow; empty for others.
    """

    dtype: str
    item_bytes: int
    shape: Coordinates
    strides: Coordinates
    unique_read_bytes: int
    unique_written_bytes: int
    values: Coordinates = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a launch was sampled: programs that the summary was fitted on, and held-out ones that agreed.

    ``trips`` is how many iterations of loops ran. ``pieces`` says for each axis of the grid where counts are
    affine: first position, position behind the last, and the period within which they are (0: each position
    was measured).
    """

    fitted: int
    held_out: int
    trips: int
    pieces: tuple[tuple[Coordinates, ...], ...]


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch: grid, scalar and compile-time arguments, tensors by argument name, program classes.

    In a sampled launch a class lists its first program only.
    """

    kernel: str
    grid: Coordinates
    arguments: Mapping[str, Value]
    tensors: Mapping[str, TracedTensor]
    classes: tuple[ProgramClass, ...]
    sampling: Sampling | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """The launches of one kernel run, and what is needed to repeat it.

    ``sampled`` says that not every program ran. ``max_error`` is the largest difference between the run's
    outputs and its naive reference, None where they were not compared. ``values`` holds the scores of a trace
    of level ``values``; they stand in a file of their own. ``resources`` are those of its launches, where they
    were compiled; ``configurations`` names the configuration of each autotuned kernel.
    """

    kernel: str
    kernel_hash: str
    parameters: Mapping[str, Value]
    seed: int
    level: str
    sampled: bool
    versions: Mapping[str, str]
    max_error: float | None
    launches: tuple[Launch, ...]
    values: tuple[LaunchValues, ...] = field(default=(), compare=False)
    resources: tuple[Resources, ...] = ()
    configurations: Mapping[str, str] = field(default_factory=dict)

    def launch(self, kernel: str) -> Launch:
        """The only launch of ``kernel``; TraceError if there is none or there are several."""
        found = [launch for launch in self.launches if launch.kernel == kernel]
        if len(found) != 1:
            names = [launch.kernel for launch in self.launches]
            hint = nearest(kernel, names) if not found else ""
            raise TraceError(f"the trace has {len(found)} launches of '{kernel}', expected 1{hint}")
        return found[0]


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all programs of a trace; counts of elements, operations or bytes as exact integers.

    ``dot_flops`` by operand dtype, ``exps`` and ``reductions`` (elements going in) by operator,
    ``elementwise`` by (operator, dtype), bytes by tensor argument.
    """

    programs: int
    trips: int
    dot_flops: Mapping[str, int]
    exps: Mapping[str, int]
    reductions: Mapping[str, int]
    elementwise: Mapping[tuple[str, str], int]
    read_bytes: Mapping[str, int]
    written_bytes: Mapping[str, int]
    unique_read_bytes: Mapping[str, int]
    unique_written_bytes: Mapping[str, int]


def totals(launch: Launch) -> Totals:
    """Executed work of one launch; masked lanes count, masked memory accesses do not."""
    flops: Counter[str] = Counter()
    exps: Counter[str] = Counter()
    reductions: Counter[str] = Counter()
    elementwise: Counter[tuple[str, str]] = Counter()
    moved: dict[str, Counter[str]] = {"load": Counter(), "store": Counter(), "atomic": Counter()}
    trips = 0
    for members in launch.classes:
        for event in members.events:
            amount = event.elements * event.count * members.multiplicity
            if event.kind == "dot":
                flops[event.dtype] += event.flops * members.multiplicity
            elif event.kind == "exp":
                exps[event.operator] += amount
            elif event.kind == "reduce":
                reductions[event.operator] += amount
            elif event.kind in ("elementwise", "select"):
                elementwise[event.operator, event.dtype] += amount
            elif event.kind == "loop":
                trips += amount
            elif event.kind in moved and event.tensor:
                item_bytes = launch.tensors[event.tensor].item_bytes
                moved[event.kind][event.tensor] += (
                    event.active * event.count * members.multiplicity * item_bytes
                )
    tensors = launch.tensors.items()
    return Totals(
        programs=sum(members.multiplicity for members in launch.classes),
        trips=trips,
        dot_flops=dict(flops),
        exps=dict(exps),
        reductions=dict(reductions),
        elementwise=dict(elementwise),
        read_bytes=dict(moved["load"] + moved["atomic"]),
        written_bytes=dict(moved["store"] + moved["atomic"]),
        unique_read_bytes={name: t.unique_read_bytes for name, t in tensors if t.unique_read_bytes},
        unique_written_bytes={name: t.unique_written_bytes for name, t in tensors if t.unique_written_bytes},
    )
