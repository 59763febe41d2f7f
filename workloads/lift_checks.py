"""Everything that must agree for a trace to be lifted: each check names the count, traced and expected.

Exact integers throughout. Checked here: sizes and number of matrix products, dot FLOPs, exponentials,
divisions, running maxima and reductions of every launch against the cascade's operations at every step;
trips; query-key pairs against the mask; bytes are checked by ``lift_bytes``. Not checked: elementwise
multiplications, additions and subtractions, which kernels arrange as they like, and index arithmetic.
"""

from __future__ import annotations

from collections import defaultdict
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import Problem, WorkloadError
from dse.workloads.annotation import PROGRAM
from dse.workloads.cascade import Access, Call
from dse.workloads.lift_bytes import byte_problems, differs, moving_ranks, sequence_lengths

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dse.workloads.annotation import Annotation
    from dse.workloads.cascade import Cascade, Einsum
    from dse.workloads.trace_facts import Facts

FLOPS = "dot FLOPs"
_EXP, _DIVISION, _MAXIMUM, _MINIMUM = "exponentials", "divisions", "running maxima", "running minima"
_MAPS = {
    "exp": (_EXP,),
    "exp2": (_EXP,),
    "divide": (_DIVISION,),
    "reciprocal": (_DIVISION,),
    "sigmoid": (_EXP, _DIVISION),
    "silu": (_EXP, _DIVISION),
    "max": (_MAXIMUM,),
    "relu": (_MAXIMUM,),
    "min": (_MINIMUM,),
}
_ELEMENTWISE = {
    "fdiv": _DIVISION,
    "precise_divf": _DIVISION,
    "maxnumf": _MAXIMUM,
    "maximumf": _MAXIMUM,
    "minnumf": _MINIMUM,
    "minimumf": _MINIMUM,
}


def problems(facts: Sequence[Facts], annotation: Annotation, cascade: Cascade) -> list[Problem]:
    """Every count of the trace that does not follow from the cascade, the masks or the tensors' sizes."""
    found = [*_unknown_names(annotation, cascade)]
    for launch in facts:
        found += [
            *_per_class(launch, cascade),
            *_operations(launch, cascade),
            *_pairs(launch),
            *byte_problems(launch, cascade),
        ]
    return found


def computed(facts: Facts, cascade: Cascade) -> tuple[Einsum, ...]:
    """Einsums of the cascade that a launch computes; all of them where its note lists none."""
    listed = facts.note.einsums
    return tuple(einsum for einsum in cascade.einsums if not listed or einsum.name in listed)


def step_of(facts: Facts, cascade: Cascade, einsum: str, ranks: Sequence[str]) -> str:
    """The step an operation belongs to: one that lists its Einsum, or the last that moves along its ranks.

    Empty for what a program does once.
    """
    for name, step in facts.note.steps.items():
        if einsum in step.einsums:
            return name
    found = ""
    for name, step in facts.note.steps.items():
        if moving_ranks(facts, cascade, step) & set(ranks) and not step.inside:
            found = name
    return found


def tile_sizes(facts: Facts, cascade: Cascade) -> dict[str, int]:
    """Size of each cascade rank within one step: tiled, whole ones as their tile, outer parts single."""
    sizes: dict[str, int] = {}
    for parts in cascade.partition.values():
        if set(parts) & set(facts.tiles):
            sizes |= dict.fromkeys(parts, 1)
    for step in facts.note.steps.values():
        sizes |= {step.rank: facts.tiles[step.tile]} if step.tile else {step.rank: 1}
        sizes |= dict.fromkeys(cascade.partition.get(step.rank, ()), 1)
    return sizes | dict(facts.tiles)


def _unknown_names(annotation: Annotation, cascade: Cascade) -> Iterator[Problem]:
    """Names of the annotation that the cascade does not define, and Einsums that nothing computes."""
    several = len(annotation.launches) > 1
    for label, note in annotation.launches.items():
        prefix = f"{label}, " if several else ""
        for key, names in (
            ("einsums", note.einsums),
            ("dots", note.dots),
            ("vector", note.vector),
            *((f"steps.{name}.einsums", step.einsums) for name, step in note.steps.items()),
        ):
            for name in names:
                try:
                    cascade.einsum(name)
                except WorkloadError as error:
                    yield Problem(f"{prefix}{key}.{name}: {error}")
        for argument, tensor in note.tensors.items():
            if tensor.tensor and tensor.tensor not in cascade.tensors:
                yield Problem(
                    f"{prefix}tensors.{argument}: cascade '{cascade.name}' has no tensor '{tensor.tensor}'"
                )
        for einsum in cascade.einsums:
            mine = not note.einsums or einsum.name in note.einsums
            if mine and _contracts(einsum) and einsum.name not in (*note.dots, *note.vector):
                yield Problem(
                    f"{prefix}cascade '{cascade.name}' contracts {einsum.name}, "
                    "the annotation names no dot for it"
                )
        if several and not note.einsums and not note.extra:
            yield Problem(f"launches.{label}: says neither which einsums it computes nor what extra it does")
    yield from _uncomputed(annotation, cascade)


def _uncomputed(annotation: Annotation, cascade: Cascade) -> Iterator[Problem]:
    if all(note.einsums for note in annotation.launches.values()):
        done = {name for note in annotation.launches.values() for name in note.einsums}
        for einsum in cascade.einsums:
            if einsum.name not in done and einsum.name not in annotation.outside:
                yield Problem(f"no launch computes {einsum.name} of cascade '{cascade.name}'")


def _contracts(einsum: Einsum) -> bool:
    """Whether an Einsum is a product of tensors summed over ranks: what a matrix product computes."""
    product = einsum.expression
    factors = product.operands if isinstance(product, Call) and product.operator == "multiply" else ()
    summed = any(reduction.operator == "add" for reduction in einsum.reductions)
    return summed and len(factors) == 2 and all(isinstance(factor, Access) for factor in factors)


def _per_class(facts: Facts, cascade: Cascade) -> Iterator[Problem]:
    """Loop trips and matrix products of every class: one per step, of the tiles' size."""
    note = facts.note
    dots = {
        name: (ranks, step_of(facts, cascade, name, _ranks_of(cascade, name)))
        for name, ranks in note.dots.items()
    }
    for number, members in enumerate(facts.classes):
        label = f"{facts.prefix}program class {number}"
        trips = sum(members.steps[name] for name, step in note.steps.items() if not step.inside)
        yield from differs(f"{label}, loop trips", members.trips, trips, "one per visited tile")
        for name, (ranks, step) in dots.items():
            times = members.steps[step] if step else 1
            because = "one per visited tile" if step else "one per program"
            yield from differs(f"{label}, dots of {name}", members.dots.get(name, 0), times, because)
            sizes = tuple(facts.tiles[rank] for rank in ranks)
            for shape in sorted(members.shapes[name] - {sizes}):
                yield Problem(f"{label}, dot {name}: traced sizes {shape}, expected {sizes} (the tiles)")


def _ranks_of(cascade: Cascade, name: str) -> tuple[str, ...]:
    """Iteration space of an Einsum; none where the cascade has no such Einsum, which is reported apart."""
    return next((einsum.ranks for einsum in cascade.einsums if einsum.name == name), ())


def _operations(facts: Facts, cascade: Cascade) -> Iterator[Problem]:
    """Traced operations of each kind against those of the cascade at every step and program."""
    expected: dict[str, int] = defaultdict(int)
    sources: dict[str, list[str]] = defaultdict(list)
    sizes = tile_sizes(facts, cascade)
    for kind, einsum, ranks in cascade_operations(facts, cascade):
        unsized = [rank for rank in ranks if rank not in sizes]
        if unsized:
            yield Problem(
                f"{facts.prefix}{einsum}: the annotation gives no tile size for rank {', '.join(unsized)}"
            )
            continue
        times = facts.count(step_of(facts, cascade, einsum, ranks))
        expected[kind] += times * prod(sizes[rank] for rank in ranks)
        sources[kind].append(einsum)
    for step, kinds in facts.note.extra.items():
        times = facts.count("" if step == PROGRAM else step)
        for kind, operations in kinds.items():
            expected[kind] += times * sum(prod(sizes[rank] for rank in ranks) for ranks in operations)
            sources[kind].append("extra operations")
    traced = _traced_operations(facts)
    for kind in sorted({*expected, *traced}):
        names = ", ".join(dict.fromkeys(sources[kind])) or "no Einsum"
        because = f"{names} of {cascade.name}"
        yield from differs(f"{facts.prefix}{kind}", traced.get(kind, 0), expected[kind], because)


def cascade_operations(facts: Facts, cascade: Cascade) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Kind, Einsum and ranks of a launch's cascade operations that a trace can be compared with."""
    for einsum in computed(facts, cascade):
        is_dot = einsum.name in facts.note.dots
        maps = len(einsum.operations) - len(einsum.reductions)
        for place, operation in enumerate(einsum.operations):
            if is_dot and operation.operator in ("multiply", "add"):
                yield FLOPS, einsum.name, operation.ranks
            elif place >= maps:
                yield f"{operation.operator} reductions", einsum.name, operation.ranks
            else:
                for kind in _MAPS.get(operation.operator, ()):
                    yield kind, einsum.name, operation.ranks


def _traced_operations(facts: Facts) -> Mapping[str, int]:
    """Operations on floating-point values by kind; matrix products of integers too."""
    total = facts.totals
    found: dict[str, int] = defaultdict(int)
    found[FLOPS] = sum(total.dot_flops.values())
    found[_EXP] = sum(total.exps.values())
    for members in facts.launch.classes:
        for event in members.events:
            if event.kind == "reduce" and event.dtype.startswith("fp"):
                found[f"{event.operator} reductions"] += event.elements * event.count * members.multiplicity
    for (operator, _), lanes in total.elementwise.items():
        if operator in _ELEMENTWISE:
            found[_ELEMENTWISE[operator]] += lanes
    return found


def _pairs(facts: Facts) -> Iterator[Problem]:
    """Query-key pairs left by the traced masks against the causal mask, the window and the lengths."""
    mask = facts.note.mask
    if mask is None or mask.other:
        return
    rows, keys = (sequence_lengths(facts, rank) for rank in _whole_scores(facts))
    shape = np.broadcast_shapes(rows.shape, keys.shape)
    each = prod(facts.ranks[rank] for rank in facts.outer) // prod(shape)
    pairs = zip(np.broadcast_to(rows, shape).flat, np.broadcast_to(keys, shape).flat, strict=True)
    expected = each * sum(_visible(int(row), int(key), facts.causal, facts.window) for row, key in pairs)
    name = "causal mask" if facts.causal else "no causal mask"
    window = f", window {facts.window}" if facts.window else ""
    because = f"{name}{window} and lengths"
    yield from differs(f"{facts.prefix}query-key pairs", facts.useful_pairs, expected, because)


def _whole_scores(facts: Facts) -> tuple[str, str]:
    """Whole ranks of the rows and keys of a tile of scores."""
    if facts.note.mask is None:
        raise AssertionError("a launch without mask has no scores")
    rows, keys = facts.note.mask.scores
    return facts.whole.get(rows, rows), facts.whole.get(keys, keys)


def _visible(rows: int, keys: int, causal: bool, window: int | None) -> int:
    """Pairs of one head and sequence; the last row sees the last key, a window ends at the row's own key."""
    if not causal:
        return rows * keys
    last = np.clip(np.arange(rows, dtype=np.int64) + 1 + keys - rows, 0, keys)
    return int(last.sum() if window is None else np.minimum(last, window).sum())
