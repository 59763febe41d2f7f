"""What a loop nest computes: Einsums as iteration spaces, and how far each operand reaches along each rank.

Modelled: any cascade at its rank sizes, with outer ranks (heads, batch) added to everything; accesses at the same
coordinate, at neighbours (a halo, inputs only), at the previous step of a carried rank, and at its last value.
Not modelled: masks and sparsity; every point of the iteration space is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import Problem as Fault
from dse.errors import WorkloadError
from dse.simulator.arrays import ONE, Array, as_array

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from dse.workloads.cascade import Access, Cascade, Einsum
    from dse.workloads.workload import Workload

OUTER = ("b", "h")


@dataclass(frozen=True, slots=True)
class Span:
    """Coordinates that tiles of one rank touch in all: ``whole`` × size + ``each`` × tiles + ``once``.

    A plain rank is (1, 0, 0). A halo of h coordinates is (1, h, 0): every tile reaches h further. A carried tensor read
    at both steps is (1, 1, -1): one version before every tile, but the initial value is a constant.
    """

    whole: float = 1.0
    each: float = 0.0
    once: float = 0.0

    @property
    def extra(self) -> float:
        """Coordinates one tile needs beyond its own extent."""
        return self.each if self.whole else 1.0


PLAIN = Span()
OLD, BOTH, BASE = Span(1.0, 0.0, -1.0), Span(1.0, 1.0, -1.0), Span(0.0, 1.0, -1.0)


@dataclass(frozen=True)
class Touch:
    """One tensor as one Einsum accesses it: its ranks there, with what tiles of each touch."""

    tensor: str
    spans: Mapping[str, Span]
    carried: str = ""
    last: bool = False

    @property
    def ranks(self) -> tuple[str, ...]:
        """Ranks that move along the tensor."""
        return tuple(self.spans)

    @property
    def older(self) -> bool:
        """Whether the previous step of a carried tensor is all it reads."""
        return bool(self.carried) and not self.last and self.spans[self.carried] in (OLD, BASE)

    @property
    def resumes(self) -> bool:
        """Whether the previous step of a carried tensor is among what it reads."""
        return bool(self.carried) and not self.last and self.spans[self.carried].once < 0


@dataclass(frozen=True)
class Shape:
    """One Einsum: its ranks, its accesses, and its operations with the ranks each is done over."""

    name: str
    ranks: tuple[str, ...]
    output: Touch
    inputs: tuple[Touch, ...]
    operations: tuple[tuple[str, tuple[str, ...]], ...] = (("mac", ()),)

    @property
    def reduced(self) -> tuple[str, ...]:
        """Ranks the output does not have."""
        return tuple(rank for rank in self.ranks if rank not in self.output.spans)

    @property
    def operand_names(self) -> tuple[str, ...]:
        """Tensors it reads."""
        return tuple(touch.tensor for touch in self.inputs)


@dataclass(frozen=True)
class Problem:
    """Einsums in program order with rank sizes (arrays of shape (1,) or (n,)); ``inputs`` and ``outputs`` of all."""

    name: str
    sizes: Mapping[str, Array]
    shapes: tuple[Shape, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    value_bytes: Array = field(default_factory=lambda: np.full(1, 2.0))

    @cached_property
    def by_name(self) -> dict[str, Shape]:
        """Einsums by name."""
        return {shape.name: shape for shape in self.shapes}

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """All tensors, inputs first."""
        return (*self.inputs, *(shape.name for shape in self.shapes))

    def shape(self, name: str) -> Shape:
        """The Einsum of that name."""
        return self.by_name[name]

    def readers(self, tensor: str) -> tuple[str, ...]:
        """Einsums that read a tensor, in program order."""
        return tuple(shape.name for shape in self.shapes if tensor in shape.operand_names)

    def ranks_of(self, tensor: str) -> tuple[str, ...]:
        """Ranks of a tensor, the carried one included."""
        if tensor in self.by_name:
            return self.by_name[tensor].output.ranks
        found = [t.ranks for shape in self.shapes for t in shape.inputs if t.tensor == tensor]
        return max(found, key=len)

    def feedback(self, order: tuple[str, ...]) -> list[tuple[str, str, str]]:
        """(reader, tensor, carried rank) where an Einsum reads the previous step of a tensor made after it."""
        place = {name: number for number, name in enumerate(order)}
        return [
            (name, touch.tensor, touch.carried)
            for name in order
            for touch in self.shape(name).inputs
            if touch.older and place.get(touch.tensor, -1) > place[name]
        ]

    def carried(self, tensor: str) -> str:
        """Carried rank of a tensor, empty if it has none."""
        return self.by_name[tensor].output.carried if tensor in self.by_name else ""


def problem_of(
    cascade: Cascade, sizes: Mapping[str, Array], outer: Sequence[str] = (), value_bytes: Array | None = None
) -> Problem:
    """Loop-nest problem of a cascade; every Einsum and tensor also has the ``outer`` ranks.

    Raises
    ------
    WorkloadError
        A rank has no size, or a tensor is accessed in a way loop nests do not model.
    """
    missing = [rank for rank in (*outer, *cascade.ranks) if rank not in sizes]
    if missing:
        raise WorkloadError(*(Fault(f"rank '{rank}' has no size") for rank in missing))
    shapes = tuple(_shape(cascade, einsum, tuple(outer)) for einsum in cascade.einsums)
    return Problem(
        name=cascade.name,
        sizes={rank: as_array(sizes[rank]) for rank in (*outer, *cascade.ranks)},
        shapes=shapes,
        inputs=tuple(cascade.inputs),
        outputs=cascade.outputs,
        value_bytes=np.full(1, 2.0) if value_bytes is None else value_bytes,
    )


def problem_of_workload(
    workload: Workload, cascade: Cascade, parts: Mapping[str, Array], named: Collection[str] = ()
) -> Problem:
    """Loop-nest problem of a workload: heads and batch are outer ranks where they are ``named`` or more than one.

    ``parts`` holds the sizes of the innermost part of each split rank (keys in a tile).

    Raises
    ------
    WorkloadError
        The workload has a mask, or no size for a rank of the cascade.
    """
    if workload.causal:
        raise WorkloadError(f"{workload.name} is causal; loop nests have no masks")
    given: dict[str, Array] = dict(workload.sizes)
    if not given:
        layers = [layer for layer in workload.linear if layer.name == cascade.name]
        if not layers:
            raise WorkloadError(f"{workload.name} computes no {cascade.name}")
        given = {rank: getattr(layers[0], rank) for rank in "mnk"}
    elif "p" in given:
        given["p"] = given["p"] * given.pop("g")
    more = {rank for rank in OUTER if rank in named or bool(np.any(given.get(rank, ONE) > 1))}
    outer = tuple(rank for rank in OUTER if rank in more and rank in given and rank not in cascade.ranks)
    return problem_of(cascade, given | _split(cascade, given, parts), outer, workload.value_bytes)


def _split(cascade: Cascade, sizes: Mapping[str, Array], parts: Mapping[str, Array]) -> dict[str, Array]:
    """Sizes of the parts of split ranks: the inner one as given, the outer one whole tiles of it."""
    found: dict[str, Array] = {}
    for whole, (first, *rest) in cascade.partition.items():
        inner = ONE
        for rank in rest:
            size = np.minimum(parts.get(rank, ONE), sizes[whole])
            found[rank] = size
            inner = inner * size
        found[first] = np.ceil(sizes[whole] / inner)
    return found


def _shape(cascade: Cascade, einsum: Einsum, outer: tuple[str, ...]) -> Shape:
    by_tensor: dict[str, list[Access]] = {}
    for operand in einsum.operands:
        by_tensor.setdefault(operand.tensor, []).append(operand)
    carried = cascade.carried.get(einsum.name)
    return Shape(
        name=einsum.name,
        ranks=(*outer, *einsum.ranks),
        output=Touch(
            einsum.name,
            dict.fromkeys((*outer, *einsum.output.ranks), PLAIN),
            "" if carried is None else carried.rank,
        ),
        inputs=tuple(_touch(cascade, einsum, accesses, outer) for accesses in by_tensor.values()),
        operations=tuple((each.operator, (*outer, *each.ranks)) for each in einsum.operations),
    )


def _touch(cascade: Cascade, einsum: Einsum, accesses: list[Access], outer: tuple[str, ...]) -> Touch:
    """How one Einsum touches one tensor, over all its accesses."""
    tensor = accesses[0].tensor
    carried = cascade.carried.get(tensor)
    if len({access.ranks for access in accesses}) > 1:
        raise WorkloadError(f"Einsum {einsum.name} reads {tensor} in ways loop nests do not model together")
    spans = dict.fromkeys((*outer, *accesses[0].ranks), PLAIN)
    last = accesses[0].last
    if carried is not None and not last:
        offsets = {
            index.offset for access in accesses for index in access.indices if index.rank == carried.rank
        }
        if tensor == einsum.name:
            spans[carried.rank] = BASE
        else:
            spans[carried.rank] = {frozenset({0}): OLD, frozenset({1}): PLAIN}.get(frozenset(offsets), BOTH)
    return Touch(tensor, spans, "" if carried is None else carried.rank, last)
