"""From a trace to checked facts: what the kernel did agrees with its annotation and its cascade.

Rank sizes, tile sizes, precisions, visited tiles and masks come from the trace; ``lift_checks`` says what
must follow from them. Modelled: one launch that loops over tiles of one rank. Not modelled: several launches
and sampled traces, which are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING

from dse.errors import TraceError
from dse.workloads.lift_checks import problems
from dse.workloads.trace_facts import read_facts
from dse.workloads.trace_file import content_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.workloads.annotation import Annotation
    from dse.workloads.cascade import Cascade
    from dse.workloads.trace import Coordinates, Trace
    from dse.workloads.trace_facts import Facts, Visits


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
        Rows and keys in use of each sequence; empty if all are full.
    executed_pairs, useful_pairs
        Query-key pairs computed, and those the mask leaves; their quotient is the density of the work done.
    executed_flops, useful_flops, executed_exps, useful_exps
        Floating-point operations of matrix products and exponentials; see the annotation's ``useful``.
    read_bytes, written_bytes, unique_read_bytes, unique_written_bytes
        By cascade tensor, by argument for tensors outside the cascade.
    traversals
        How often each program reads its part of an input.
    visits, tiles_full, tiles_masked, tiles_skipped
        Tiles of the looped rank visited by class of programs, in total without and with a mask, and never.
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


def lift(trace: Trace, annotation: Annotation, cascade: Cascade) -> LiftedTrace:
    """Check a trace against its kernel's annotation and a cascade, and give the facts of the workload it ran.

    Raises
    ------
    TraceError
        If any count differs: each problem names the count, what was traced and what the cascade, the mask or
        the tensors' sizes lead to.
    """
    if trace.sampled:
        raise TraceError("the trace is sampled; only a full trace can be lifted: trace every program")
    facts = read_facts(trace.launch(annotation.kernel), annotation)
    found = problems(facts, annotation, cascade)
    if found:
        raise TraceError(*found)
    return _lifted(trace, facts, annotation, cascade)


def _lifted(trace: Trace, facts: Facts, annotation: Annotation, cascade: Cascade) -> LiftedTrace:
    total = facts.totals
    names = {argument: note.tensor or argument for argument, note in annotation.tensors.items()}
    visited = sum(visits.programs * visits.tiles for visits in facts.visits)
    masked = sum(visits.programs * visits.masked for visits in facts.visits)
    loop = annotation.loop
    existing = ceil(facts.ranks[loop.rank] / facts.tiles[loop.tile])
    scores = annotation.mask.scores
    depths = [
        prod(facts.ranks[rank] for rank in dot if rank not in scores) for dot in annotation.dots.values()
    ]
    return LiftedTrace(
        kernel=trace.kernel,
        cascade=cascade.name,
        family=cascade.family,
        ranks=facts.ranks,
        shape={name: facts.ranks[rank] for rank, name in annotation.ranks.items()},
        tiles=facts.tiles,
        precisions=facts.precisions,
        causal=facts.causal,
        query_lengths=facts.lengths.get(scores[0], ()),
        key_lengths=facts.lengths.get(loop.rank, ()),
        executed_pairs=visited * prod(facts.tiles[rank] for rank in scores),
        useful_pairs=facts.useful_pairs,
        executed_flops=sum(total.dot_flops.values()),
        useful_flops=2 * facts.useful_pairs * sum(depths),
        executed_exps=sum(total.exps.values()),
        useful_exps=facts.useful_pairs,
        read_bytes=_renamed(total.read_bytes, names),
        written_bytes=_renamed(total.written_bytes, names),
        unique_read_bytes=_renamed(total.unique_read_bytes, names),
        unique_written_bytes=_renamed(total.unique_written_bytes, names),
        traversals={
            note.tensor: note.traversals
            for note in annotation.tensors.values()
            if note.tensor in cascade.inputs
        },
        visits=facts.visits,
        tiles_full=visited - masked,
        tiles_masked=masked,
        tiles_skipped=total.programs * existing - visited,
        trace_hash=content_hash(trace),
        kernel_hash=trace.kernel_hash,
        seed=trace.seed,
        versions=trace.versions,
    )


def _renamed(amounts: Mapping[str, int], names: Mapping[str, str]) -> dict[str, int]:
    return {names.get(argument, argument): amount for argument, amount in amounts.items()}
