"""From a trace to checked facts: what the kernel did agrees with its annotation and its cascade.

Rank sizes, tile sizes, precisions, visited tiles and masks come from the trace; ``lift_checks`` says what
must follow from them. Modelled: any number of launches, each with its steps and mask; sampled traces whose
summary was verified. Not modelled: what kernels compute between launches outside of Triton.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING

from dse.errors import TraceError
from dse.workloads.lift_checks import cascade_operations, computed, problems, step_of
from dse.workloads.trace_facts import read_facts
from dse.workloads.trace_file import content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dse.workloads.annotation import Annotation
    from dse.workloads.cascade import Cascade
    from dse.workloads.trace import Coordinates, Trace
    from dse.workloads.trace_facts import Facts, Visits


@dataclass(frozen=True, slots=True)
class LiftedLaunch:
    """What one launch did: Einsums it computed, programs, how often each step happened, work executed and useful."""

    label: str
    kernel: str
    einsums: tuple[str, ...]
    programs: int
    steps: Mapping[str, int]
    flops: Mapping[str, int]
    exps: int
    read_bytes: Mapping[str, int]
    written_bytes: Mapping[str, int]
    useful_flops: int


@dataclass(frozen=True, slots=True)
class LiftedTrace:
    """What a traced kernel computed, checked against its cascade.

    Attributes
    ----------
    ranks
        Size of every rank of the annotation, outer ranks (batch, heads) included.
    shape
        The same sizes under the kernel's parameter names (``batch``, ``heads``, ``sequence``, ...).
    tiles
        Tile size of every tiled rank, padding included.
    precisions
        Element type of the cascade's inputs, outputs and matrix products' operands and results.
    query_lengths, key_lengths
        Rows and keys in use of each sequence, or of each head of each sequence; empty if all are full.
    executed_pairs, useful_pairs
        Query-key pairs computed by the scoring launch, and those its mask leaves; their quotient is the
        density of the work done. 0 for a kernel without scores.
    executed_flops, useful_flops, executed_exps, useful_exps
        Floating-point operations of matrix products and exponentials; see the annotation's ``useful``.
    read_bytes, written_bytes, unique_read_bytes, unique_written_bytes
        By cascade tensor, by argument for tensors outside the cascade.
    traversals
        How often each program reads its part of an input.
    visits, tiles_full, tiles_masked, tiles_skipped
        Tiles of scores visited by class of programs, in total without and with a mask, and never.
    launches
        The same work launch by launch.
    """

    kernel: str
    cascade: str
    family: str
    ranks: Mapping[str, int]
    shape: Mapping[str, int]
    tiles: Mapping[str, int]
    precisions: Mapping[str, str]
    causal: bool
    query_lengths: Coordinates
    key_lengths: Coordinates
    executed_pairs: int
    useful_pairs: int
    executed_flops: int
    useful_flops: int
    executed_exps: int
    useful_exps: int
    read_bytes: Mapping[str, int]
    written_bytes: Mapping[str, int]
    unique_read_bytes: Mapping[str, int]
    unique_written_bytes: Mapping[str, int]
    traversals: Mapping[str, int]
    visits: tuple[Visits, ...]
    tiles_full: int
    tiles_masked: int
    tiles_skipped: int
    trace_hash: str
    kernel_hash: str
    seed: int
    versions: Mapping[str, str]
    launches: tuple[LiftedLaunch, ...]


def lift(trace: Trace, annotation: Annotation, cascade: Cascade) -> LiftedTrace:
    """Check a trace against its kernel's annotation and a cascade, and give the facts of the workload it ran.

    Raises
    ------
    TraceError
        If any count differs: each problem names the count, what was traced and what the cascade, the mask or
        the tensors' sizes lead to.
    """
    if trace.sampled and not all(launch.sampling for launch in trace.launches):
        raise TraceError("the trace is sampled, but nothing verified it: trace every program")
    facts = read_facts(trace, annotation)
    found = problems(facts, annotation, cascade)
    if found:
        raise TraceError(*found)
    return _lifted(trace, facts, annotation, cascade)


def _lifted(trace: Trace, facts: Sequence[Facts], annotation: Annotation, cascade: Cascade) -> LiftedTrace:
    scoring = next((launch for launch in facts if launch.label == annotation.scoring), facts[0])
    visited = sum(visits.programs * visits.tiles for visits in scoring.visits)
    masked = sum(visits.programs * visits.masked for visits in scoring.visits)
    known = {launch.label: launch for launch in facts}
    rows, keys = _scores(scoring)
    inputs = [note for launch in facts for note in launch.note.tensors.values()]
    sums = {
        name: _by_tensor((launch, getattr(launch.totals, name)) for launch in facts)
        for name in ("read_bytes", "written_bytes", "unique_read_bytes", "unique_written_bytes")
    }
    return LiftedTrace(
        kernel=trace.kernel,
        cascade=cascade.name,
        family=cascade.family,
        ranks=scoring.ranks,
        shape={name: scoring.ranks[rank] for rank, name in annotation.ranks.items() if name},
        tiles=scoring.tiles,
        precisions={name: kind for launch in reversed(facts) for name, kind in launch.precisions.items()},
        causal=scoring.causal,
        query_lengths=scoring.lengths.get(rows, ()),
        key_lengths=scoring.lengths.get(keys, ()),
        executed_pairs=visited * _tile_pairs(scoring),
        useful_pairs=scoring.useful_pairs,
        executed_flops=sum(sum(launch.totals.dot_flops.values()) for launch in facts),
        useful_flops=sum(_useful_flops(launch, known, cascade) for launch in facts),
        executed_exps=sum(sum(launch.totals.exps.values()) for launch in facts),
        useful_exps=sum(_useful_exps(launch, cascade) for launch in facts),
        **sums,
        traversals={note.tensor: note.traversals for note in inputs if note.tensor in cascade.inputs},
        visits=scoring.visits,
        tiles_full=visited - masked,
        tiles_masked=masked,
        tiles_skipped=_existing_tiles(scoring) - visited,
        trace_hash=content_hash(trace),
        kernel_hash=trace.kernel_hash,
        seed=trace.seed,
        versions=trace.versions,
        launches=tuple(_launch(launch, known, cascade) for launch in facts),
    )


def _launch(facts: Facts, known: Mapping[str, Facts], cascade: Cascade) -> LiftedLaunch:
    return LiftedLaunch(
        label=facts.label,
        kernel=facts.launch.kernel,
        einsums=tuple(einsum.name for einsum in computed(facts, cascade)),
        programs=facts.totals.programs,
        steps={name: facts.count(name) for name in facts.note.steps},
        flops=facts.totals.dot_flops,
        exps=sum(facts.totals.exps.values()),
        read_bytes=facts.totals.read_bytes,
        written_bytes=facts.totals.written_bytes,
        useful_flops=_useful_flops(facts, known, cascade),
    )


def _scores(facts: Facts) -> tuple[str, str]:
    """Whole ranks of the rows and keys of the scores, empty without a mask."""
    if facts.note.mask is None:
        return "", ""
    rows, keys = facts.note.mask.scores
    return facts.whole.get(rows, rows), facts.whole.get(keys, keys)


def _tile_pairs(facts: Facts) -> int:
    mask = facts.note.mask
    return prod(facts.tiles[rank] for rank in mask.scores) if mask else 0


def _existing_tiles(facts: Facts) -> int:
    """Tiles of scores there are, visited or not, over all outer ranks."""
    mask = facts.note.mask
    if mask is None:
        return 0
    counts = [
        ceil(facts.ranks[whole] / facts.tiles[tile])
        for whole, tile in zip(_scores(facts), mask.scores, strict=True)
    ]
    return prod(counts) * prod(facts.ranks[rank] for rank in facts.outer)


def _useful_flops(facts: Facts, known: Mapping[str, Facts], cascade: Cascade) -> int:
    """Two per multiply-add: of the pairs the mask leaves, or of whole ranks where no scores take part.

    The mask is the launch's own, or that of the launch its note names under ``pairs_of``.
    """
    masked = known.get(facts.note.pairs_of, facts)
    own = masked is facts
    mask = masked.note.mask
    scores = set(() if mask is None else mask.scores if own else _scores(masked))
    outer = prod(facts.ranks[rank] for rank in facts.outer)
    total = 0
    for name, tiled in facts.note.dots.items():
        # Tiles of another launch have sizes, and names, of their own.
        ranks = tiled if own else tuple(facts.whole.get(rank, rank) for rank in tiled)
        if scores and scores <= set(ranks):
            pairs = masked.pairs_of(step_of(facts, cascade, name, ranks) if own else "")
            total += 2 * pairs * prod(_whole(facts, rank) for rank in ranks if rank not in scores)
        else:
            total += 2 * outer * prod(_whole(facts, rank) for rank in ranks)
    return total


def _whole(facts: Facts, rank: str) -> int:
    """Size of the rank a tiled rank is part of."""
    whole = facts.whole.get(rank, rank)
    if whole not in facts.ranks:
        raise TraceError(f"rank {rank} is tiled, but the annotation's 'whole' does not say of which rank")
    return facts.ranks[whole]


def _useful_exps(facts: Facts, cascade: Cascade) -> int:
    """Exponentials of scores that the mask leaves."""
    mask = facts.note.mask
    if mask is None:
        return 0
    return sum(
        facts.pairs_of(step_of(facts, cascade, einsum, ranks))
        for kind, einsum, ranks in cascade_operations(facts, cascade)
        if kind == "exponentials"
        and all(rank in ranks or facts.whole.get(rank, rank) in ranks for rank in mask.scores)
    )


def _by_tensor(launches: Iterable[tuple[Facts, Mapping[str, int]]]) -> dict[str, int]:
    """Amounts summed by cascade tensor, by argument for others."""
    summed: Counter[str] = Counter()
    for facts, amounts in launches:
        for argument, amount in amounts.items():
            note = facts.note.tensors.get(argument)
            summed[(note.tensor if note else "") or argument] += amount
    return dict(summed)
