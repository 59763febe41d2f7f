"""What a traced launch says about its workload when read with the kernel's annotation.

Modelled: rank and tile sizes, lengths, precisions, and for each program class how many tiles it visited, how
many of them through a mask, and how many query-key pairs the masks left. Nothing is compared with a cascade.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.errors import Problem, TraceError, nearest
from dse.workloads.trace import totals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.workloads.annotation import Annotation
    from dse.workloads.trace import Coordinates, Launch, ProgramClass, Totals


@dataclass(frozen=True, slots=True)
class Visits:
    """Programs that visited equally many ``tiles``, ``masked`` of them through a mask."""

    programs: int
    tiles: int
    masked: int


@dataclass(frozen=True, slots=True)
class ClassFacts:
    """One program class: ``pairs`` are the query-key pairs the masks left in one of its programs.

    ``dots`` counts each annotated matrix product, ``shapes`` holds the sizes they came in, ``touched`` the
    elements of each tensor read or written: different ones, and with repetition.
    """

    programs: int
    tiles: int
    masked: int
    pairs: int
    trips: int
    dots: Mapping[str, int]
    shapes: Mapping[str, frozenset[Coordinates]]
    touched: Mapping[tuple[str, str], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Facts:
    """A launch in the terms of its annotation; see ``LiftedTrace`` for the names."""

    launch: Launch
    totals: Totals
    ranks: Mapping[str, int]
    tiles: Mapping[str, int]
    lengths: Mapping[str, Coordinates]
    causal: bool
    precisions: Mapping[str, str]
    classes: tuple[ClassFacts, ...]

    @property
    def useful_pairs(self) -> int:
        """Query-key pairs the masks left, over all programs."""
        return sum(members.programs * members.pairs for members in self.classes)

    def lengths_of(self, rank: str, batch: int) -> Coordinates:
        """Length of ``rank`` in each of ``batch`` sequences: as given to the launch, or its full size."""
        return self.lengths.get(rank) or (self.ranks[rank],) * batch

    @property
    def visits(self) -> tuple[Visits, ...]:
        """How many programs visited how many tiles, fewest tiles first."""
        programs: Counter[tuple[int, int]] = Counter()
        for members in self.classes:
            programs[members.tiles, members.masked] += members.programs
        return tuple(Visits(count, *key) for key, count in sorted(programs.items()))


def read_facts(launch: Launch, annotation: Annotation) -> Facts:
    """Read a launch with its annotation.

    Raises
    ------
    TraceError
        If they do not fit together: tensors, arguments, ranks or matrix products that only one of them has,
        or tensors that disagree about the size of a rank.
    """
    found = [*_missing(launch, annotation), *_unannotated(launch, annotation)]
    if found:
        raise TraceError(*found)
    ranks = _ranks(launch, annotation)
    tiles = {rank: _count(launch, name) for rank, name in annotation.tiles.items()}
    lines = _dot_lines(launch, annotation)
    lengths = {
        rank: launch.tensors[name].values
        for rank, name in annotation.mask.lengths.items()
        if name in launch.tensors
    }
    return Facts(
        launch=launch,
        totals=totals(launch),
        ranks=ranks,
        tiles=tiles,
        lengths=lengths,
        causal=launch.arguments[annotation.mask.causal] is True,
        precisions=_precisions(launch, annotation, lines),
        classes=tuple(_class_facts(members, annotation, tiles, lines) for members in launch.classes),
    )


def _missing(launch: Launch, annotation: Annotation) -> list[Problem]:
    """Names of the annotation that the launch does not have."""
    tensors = [*annotation.tensors]
    arguments = [*annotation.tiles.values(), annotation.mask.causal]
    return [
        Problem(f"the annotation names {what} '{name}', the launch has none{nearest(name, known)}")
        for what, names, known in (
            ("tensor", tensors, launch.tensors),
            ("argument", arguments, launch.arguments),
        )
        for name in names
        if name not in known
    ]


def _unannotated(launch: Launch, annotation: Annotation) -> list[Problem]:
    known = {*annotation.tensors, *annotation.mask.lengths.values()}
    return [
        Problem(f"the launch uses tensor '{name}', the annotation does not say what it is")
        for name in launch.tensors
        if name not in known
    ]


def _ranks(launch: Launch, annotation: Annotation) -> dict[str, int]:
    """Size of every rank, on which all tensors must agree."""
    sizes: dict[str, int] = {}
    owner: dict[str, str] = {}
    found: list[Problem] = []
    for argument, note in annotation.tensors.items():
        shape = launch.tensors[argument].shape
        if len(shape) != len(note.ranks):
            found.append(
                Problem(f"tensor '{argument}' has shape {shape}, annotated as {', '.join(note.ranks)}")
            )
            continue
        for rank, size in zip(note.ranks, shape, strict=True):
            if sizes.setdefault(rank, size) != size:
                found.append(
                    Problem(f"rank {rank}: {size} in '{argument}', but {sizes[rank]} in '{owner[rank]}'")
                )
            owner.setdefault(rank, argument)
    found += [
        Problem(f"rank {rank} is a dimension of no tensor") for rank in annotation.ranks if rank not in sizes
    ]
    if found:
        raise TraceError(*found)
    return {rank: sizes[rank] for rank in annotation.ranks}


def _count(launch: Launch, name: str) -> int:
    value = launch.arguments[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise TraceError(f"argument '{name}' is {value!r}, no tile size")
    return value


def _dot_lines(launch: Launch, annotation: Annotation) -> dict[int, str]:
    """Annotated matrix product at each line of the kernel that has one; both are in program order."""
    lines = sorted(
        {event.line for members in launch.classes for event in members.events if event.kind == "dot"}
    )
    # A launch whose programs all skip every tile has no matrix product, and nothing to tell apart.
    if lines and len(lines) != len(annotation.dots):
        expected = ", ".join(annotation.dots)
        raise TraceError(
            f"matrix products: traced at {len(lines)} lines of the kernel, "
            f"expected {len(annotation.dots)} ({expected})"
        )
    return dict(zip(lines, annotation.dots, strict=False))


def _precisions(launch: Launch, annotation: Annotation, lines: Mapping[int, str]) -> dict[str, str]:
    """Element types of annotated tensors, and of what goes into and comes out of each matrix product."""
    found = {
        note.tensor: launch.tensors[argument].dtype
        for argument, note in annotation.tensors.items()
        if note.tensor
    }
    for members in launch.classes:
        for event in members.events:
            if event.kind == "dot":
                found[f"{lines[event.line]} operands"] = event.dtype
                found[lines[event.line]] = event.result
    return found


def _class_facts(
    members: ProgramClass, annotation: Annotation, tiles: Mapping[str, int], lines: Mapping[int, str]
) -> ClassFacts:
    loop, scores = annotation.loop, tuple(tiles[rank] for rank in annotation.mask.scores)
    visited = masked = kept = trips = 0
    dots: Counter[str] = Counter()
    shapes: dict[str, set[Coordinates]] = {name: set() for name in annotation.dots}
    touched: dict[tuple[str, str], tuple[int, int]] = {}
    for event in members.events:
        if event.kind == "load" and event.tensor == loop.loads:
            visited += event.count
        elif event.kind == "select" and event.shape == scores:
            masked += event.count
            kept += event.active * event.count
        elif event.kind == "loop":
            trips += event.elements * event.count
        elif event.kind == "dot":
            dots[lines[event.line]] += event.count
            shapes[lines[event.line]].add(event.shape)
        elif event.kind == "footprint":
            touched[event.tensor, event.operator] = event.active, event.elements
    pairs = kept + (visited - masked) * scores[0] * scores[1]
    frozen = {name: frozenset(found) for name, found in shapes.items()}
    return ClassFacts(members.multiplicity, visited, masked, pairs, trips, dict(dots), frozen, touched)
