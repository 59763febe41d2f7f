"""What traced launches say about their workload when read with the kernel's annotation.

Modelled: rank and tile sizes, lengths, precisions, and for each program class how often each step happened,
how many tiles were masked, and how many query-key pairs the masks left. Nothing is compared with a cascade.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

from dse.errors import Problem, TraceError, nearest
from dse.workloads.trace import totals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dse.workloads.annotation import Annotation, LaunchNote, StepNote
    from dse.workloads.trace import Coordinates, Event, Launch, ProgramClass, Totals, Trace

WRITES = ("store", "atomic")
READS = ("load", "atomic")


@dataclass(frozen=True, slots=True)
class Visits:
    """Programs that visited equally many ``tiles``, ``masked`` of them through a mask."""

    programs: int
    tiles: int
    masked: int


@dataclass(frozen=True, slots=True)
class ClassFacts:
    """One program class: ``pairs`` are the query-key pairs the masks left in one of its programs.

    ``steps`` counts each step, ``tiles`` the score tiles and ``step_pairs`` the pairs in them by step (a
    branch sees those of the tiles it was taken for). ``dots`` counts each annotated matrix product,
    ``shapes`` holds the sizes they came in, ``touched`` the elements of each tensor read or written:
    different ones, and with repetition.
    """

    programs: int
    steps: Mapping[str, int]
    tiles: int
    masked: int
    pairs: int
    step_pairs: Mapping[str, int]
    trips: int
    dots: Mapping[str, int]
    shapes: Mapping[str, frozenset[Coordinates]]
    touched: Mapping[tuple[str, str], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Facts:
    """A launch in the terms of its annotation; see ``LiftedTrace`` for the names.

    ``lengths`` maps a rank to its length in every sequence, or every sequence and head, as ``length_shape``
    says; ``prefix`` starts every message about this launch.
    """

    label: str
    launch: Launch
    note: LaunchNote
    totals: Totals
    ranks: Mapping[str, int]
    outer: tuple[str, ...]
    groups: Mapping[str, str]
    whole: Mapping[str, str]
    tiles: Mapping[str, int]
    lengths: Mapping[str, Coordinates]
    length_shape: Coordinates
    causal: bool
    window: int | None
    precisions: Mapping[str, str]
    classes: tuple[ClassFacts, ...]
    prefix: str = ""

    @property
    def useful_pairs(self) -> int:
        """Query-key pairs the masks left, over all programs."""
        return sum(members.programs * members.pairs for members in self.classes)

    def count(self, step: str) -> int:
        """How often a step happened in all programs; the programs themselves for no step."""
        each = (members.steps[step] if step else 1 for members in self.classes)
        return sum(members.programs * times for members, times in zip(self.classes, each, strict=True))

    def pairs_of(self, step: str) -> int:
        """Query-key pairs that a step computes with, over all programs."""
        return sum(members.programs * members.step_pairs.get(step, members.pairs) for members in self.classes)

    @property
    def visits(self) -> tuple[Visits, ...]:
        """How many programs visited how many tiles, fewest tiles first."""
        programs: Counter[tuple[int, int]] = Counter()
        for members in self.classes:
            programs[members.tiles, members.masked] += members.programs
        return tuple(Visits(count, *key) for key, count in sorted(programs.items()))

    def elements(self, dimension: str) -> int:
        """Size of a dimension of a tensor note: a rank, a part of one (``e/2``), or a number."""
        if dimension.isdigit():
            return int(dimension)
        rank, _, divisor = dimension.partition("/")
        return self.ranks[rank] // int(divisor or 1)


def read_facts(trace: Trace, annotation: Annotation) -> tuple[Facts, ...]:
    """Read every launch of a trace with its part of the annotation.

    Raises
    ------
    TraceError
        If they do not fit together: launches, tensors, arguments, ranks or matrix products that only one of
        them has, or tensors that disagree about the size of a rank.
    """
    kernels = [launch.kernel for launch in trace.launches]
    wanted = [
        (label, note, note.kernel or label)
        for label, note in annotation.launches.items()
        if not note.optional or (note.kernel or label) in kernels
    ]
    if len(wanted) == 1:
        trace.launch(wanted[0][2])
    expected = [kernel for _, _, kernel in wanted]
    if kernels != expected:
        raise TraceError(
            f"launches: traced {', '.join(kernels) or 'none'}, the annotation expects {', '.join(expected)}"
        )
    launched = {
        label: (launch, note.with_arguments(launch.tensors))
        for (label, note, _), launch in zip(wanted, trace.launches, strict=True)
    }
    found = [
        problem
        for label, (launch, note) in launched.items()
        for problem in (*_missing(launch, note), *_unannotated(launch, note), *_unordered(trace, label, note))
    ]
    if found:
        raise TraceError(*found)
    ranks = _ranks(tuple(launched.values()), annotation)
    several = len(annotation.launches) > 1
    return tuple(
        _facts(launch, note, annotation, label, ranks, f"{label}, " if several else "")
        for label, (launch, note) in launched.items()
    )


def _facts(
    launch: Launch,
    note: LaunchNote,
    annotation: Annotation,
    label: str,
    ranks: Mapping[str, int],
    prefix: str,
) -> Facts:
    tiles = {rank: _count(launch, name) for rank, name in note.tiles.items()}
    lines = _dot_lines(launch, note, prefix)
    mask = note.mask
    named = mask.lengths if mask else note.lengths
    given = {rank: launch.tensors[name] for rank, name in named.items() if name in launch.tensors}
    steps = {step.tile: step.rank for step in note.steps.values() if step.tile and step.rank in ranks}
    return Facts(
        label=label,
        launch=launch,
        note=note,
        totals=totals(launch),
        ranks=ranks,
        outer=note.outer or annotation.outer,
        groups=annotation.groups,
        whole=steps | dict(annotation.whole),
        tiles=tiles,
        lengths={rank: tensor.values for rank, tensor in given.items()},
        length_shape=next((tensor.shape for tensor in given.values()), ()),
        causal=bool(mask and mask.causal and launch.arguments[mask.causal] is True),
        window=_window(launch, mask.window) if mask else None,
        precisions=_precisions(launch, note, lines),
        classes=tuple(_Reader(launch, note, tiles, lines).read(members) for members in launch.classes),
        prefix=prefix,
    )


def _missing(launch: Launch, note: LaunchNote) -> list[Problem]:
    """Names of the annotation that the launch does not have."""
    mask = note.mask
    arguments = [name for name in note.tiles.values() if not name.isdigit()]
    arguments += [name for name in (mask.causal, mask.window) if name] if mask else []
    return [
        Problem(f"the annotation names {what} '{name}', the launch has none{nearest(name, known)}")
        for what, names, known in (
            ("tensor", [*note.tensors], launch.tensors),
            ("argument", arguments, launch.arguments),
        )
        for name in names
        if name not in known
    ]


def _unannotated(launch: Launch, note: LaunchNote) -> list[Problem]:
    lengths = note.mask.lengths if note.mask else note.lengths
    known = {*note.tensors, *note.steering, *lengths.values()}
    return [
        Problem(f"the launch uses tensor '{name}', the annotation does not say what it is")
        for name in launch.tensors
        if name not in known
    ]


def _unordered(trace: Trace, label: str, note: LaunchNote) -> list[Problem]:
    """A branch belongs to the tile before it, which merged events do not tell."""
    branches = [name for name, step in note.steps.items() if step.inside]
    if trace.level != "counts" or not branches or note.mask is None:
        return []
    return [Problem(f"{label}: step '{branches[0]}' is a branch, which needs a trace of level events")]


def _ranks(launched: Sequence[tuple[Launch, LaunchNote]], annotation: Annotation) -> dict[str, int]:
    """Size of every rank, on which all tensors of all launches must agree."""
    sizes: dict[str, int] = {}
    owner: dict[str, str] = {}
    found: list[Problem] = []
    for launch, note in launched:
        for argument, tensor in note.tensors.items():
            shape = launch.tensors[argument].shape
            if len(shape) != len(tensor.ranks):
                ranks = ", ".join(tensor.ranks)
                found.append(Problem(f"tensor '{argument}' has shape {shape}, annotated as {ranks}"))
                continue
            for rank, size in zip(tensor.ranks, shape, strict=True):
                if sizes.setdefault(rank, size) != size:
                    found.append(
                        Problem(f"rank {rank}: {size} in '{argument}', but {sizes[rank]} in '{owner[rank]}'")
                    )
                owner.setdefault(rank, argument)
    found += [
        Problem(f"rank {rank} is a dimension of no tensor") for rank in annotation.ranks if rank not in sizes
    ]
    found += list(_packed(sizes, owner))
    if found:
        raise TraceError(*found)
    return {rank: sizes[rank] for rank in annotation.ranks}


def _packed(sizes: Mapping[str, int], owner: Mapping[str, str]) -> Iterator[Problem]:
    """Dimensions that are numbers or parts of ranks and have another size."""
    for dimension, size in sizes.items():
        rank, _, divisor = dimension.partition("/")
        wanted = int(rank) if rank.isdigit() else -(-sizes.get(rank, size) // int(divisor or 1))
        if size != wanted:
            yield Problem(f"dimension {dimension} of '{owner[dimension]}': {size}, expected {wanted}")


def _count(launch: Launch, name: str) -> int:
    value = int(name) if name.isdigit() else launch.arguments[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise TraceError(f"argument '{name}' is {value!r}, no tile size")
    return value


def _window(launch: Launch, name: str) -> int | None:
    """Keys that a row sees up to its own; None where there is no window (0 or none given)."""
    value = launch.arguments[name] if name else None
    return value if isinstance(value, int) and value > 0 else None


def _dot_lines(launch: Launch, note: LaunchNote, prefix: str) -> dict[int, str]:
    """Annotated matrix product at each line of the kernel that has one; both are in program order.

    A branch that no program took leaves no line.
    """
    lines = sorted({e.line for members in launch.classes for e in members.events if e.kind == "dot"})
    branches = {name for step in note.steps.values() if step.inside for name in step.einsums}
    always = [name for name in note.dots if name not in branches]
    # A launch whose programs all skip every tile has no matrix product, and nothing to tell apart.
    if lines and len(lines) not in (len(note.dots), len(always)):
        expected = ", ".join(note.dots)
        raise TraceError(
            f"{prefix}matrix products: traced at {len(lines)} lines of the kernel, "
            f"expected {len(note.dots)} ({expected})"
        )
    return dict(zip(lines, note.dots if len(lines) == len(note.dots) else always, strict=False))


def _precisions(launch: Launch, note: LaunchNote, lines: Mapping[int, str]) -> dict[str, str]:
    """Element types of annotated tensors, and of what goes into and comes out of each matrix product."""
    found: dict[str, str] = {}
    for argument, tensor in note.tensors.items():
        if tensor.tensor:
            found.setdefault(tensor.tensor, launch.tensors[argument].dtype)
    for members in launch.classes:
        for event in members.events:
            if event.kind == "dot":
                found[f"{lines[event.line]} operands"] = event.dtype
                found[lines[event.line]] = event.result
    return found


@dataclass(slots=True)
class _Tally:
    """Counts of one program of a class while its events are read."""

    steps: Counter[str] = field(default_factory=Counter)
    masked: int = 0
    kept: int = 0
    trips: int = 0
    dots: Counter[str] = field(default_factory=Counter)
    shapes: defaultdict[str, set[Coordinates]] = field(default_factory=lambda: defaultdict(set))
    touched: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    open_pairs: int = 0
    branch_pairs: Counter[str] = field(default_factory=Counter)


class _Reader:
    """Reads program classes of one launch."""

    def __init__(
        self, launch: Launch, note: LaunchNote, tiles: Mapping[str, int], lines: Mapping[int, str]
    ) -> None:
        self._note = note
        self._lines = lines
        self._scores = tuple(tiles[rank] for rank in note.mask.scores) if note.mask else ()
        self._scoring = note.scoring_step
        loops = sorted({e.line for members in launch.classes for e in members.events if e.kind == "loop"})
        self._loops = {line: number for number, line in enumerate(loops)}

    def read(self, members: ProgramClass) -> ClassFacts:
        """Counts of one program of the class."""
        tally = _Tally()
        for event in members.events:
            self._event(tally, event)
        steps = {name: tally.steps[name] for name in self._note.steps}
        visited = steps[self._scoring] if self._scoring else 1
        tiles = visited if self._note.mask else 0
        pairs = tally.kept + (tiles - tally.masked) * prod(self._scores) if self._note.mask else 0
        return ClassFacts(
            programs=members.multiplicity,
            steps=steps,
            tiles=tiles,
            masked=tally.masked,
            pairs=pairs,
            step_pairs={name: tally.branch_pairs[name] for name, s in self._note.steps.items() if s.inside},
            trips=tally.trips,
            dots=dict(tally.dots),
            shapes={name: frozenset(tally.shapes[name]) for name in self._note.dots},
            touched=tally.touched,
        )

    def _event(self, tally: _Tally, event: Event) -> None:
        for name, step in self._note.steps.items():
            times = self._happened(step, event)
            tally.steps[name] += times
            if times and name == self._scoring:
                tally.open_pairs = prod(self._scores)
            elif times and step.inside:
                tally.branch_pairs[name] += tally.open_pairs * times
        if event.kind == "select" and self._scores and event.shape == self._scores:
            tally.masked += event.count
            tally.kept += event.active * event.count
            tally.open_pairs = event.active
        elif event.kind == "loop":
            tally.trips += event.elements * event.count
        elif event.kind == "dot":
            name = self._lines[event.line]
            tally.dots[name] += event.count
            tally.shapes[name].add(event.shape)
        elif event.kind == "footprint":
            tally.touched[event.tensor, event.operator] = event.active, event.elements

    def _happened(self, step: StepNote, event: Event) -> int:
        if step.loop is not None:
            same = event.kind == "loop" and self._loops[event.line] == step.loop
            return event.elements * event.count if same else 0
        kinds = READS if step.loads else WRITES
        return event.count if event.kind in kinds and event.tensor == (step.loads or step.stores) else 0
