"""Everything that must agree for a trace to be lifted: each check names the count, traced and expected.

Exact integers throughout. Checked: sizes and number of matrix products, dot FLOPs, exponentials, divisions,
running maxima and reductions against the cascade's operations at every visited tile; trips; query-key pairs
against the mask; bytes, unique bytes and traversals of every tensor. Not checked: elementwise
multiplications, additions and subtractions, which kernels arrange as they like, and index arithmetic.
"""

from __future__ import annotations

from collections import defaultdict
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import Problem, WorkloadError
from dse.workloads.cascade import Access, Call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.workloads.annotation import Annotation, TensorNote
    from dse.workloads.cascade import Cascade, Einsum
    from dse.workloads.trace import Coordinates
    from dse.workloads.trace_facts import Facts

FLOPS = "dot FLOPs"
_MAPS = {"exp": "exponentials", "exp2": "exponentials", "divide": "divisions", "max": "running maxima"}
_ELEMENTWISE = {
    "fdiv": "divisions",
    "precise_divf": "divisions",
    "maxnumf": "running maxima",
    "maximumf": "running maxima",
}


def problems(facts: Facts, annotation: Annotation, cascade: Cascade) -> list[Problem]:
    """Every count of the trace that does not follow from the cascade, the mask or the tensors' sizes."""
    return [
        *_unknown_names(annotation, cascade),
        *_per_class(facts, annotation),
        *_operations(facts, annotation, cascade),
        *_pairs(facts, annotation),
        *_bytes(facts, annotation, cascade),
    ]


def _differs(what: str, traced: int, expected: int, because: str) -> Iterator[Problem]:
    if traced != expected:
        yield Problem(f"{what}: traced {traced:,}, expected {expected:,} ({because})")


def _unknown_names(annotation: Annotation, cascade: Cascade) -> Iterator[Problem]:
    """Names of the annotation that the cascade does not define."""
    for name in annotation.dots:
        try:
            cascade.einsum(name)
        except WorkloadError as error:
            yield Problem(f"dots.{name}: {error}")
    for argument, note in annotation.tensors.items():
        if note.tensor and note.tensor not in cascade.tensors:
            yield Problem(f"tensors.{argument}: cascade '{cascade.name}' has no tensor '{note.tensor}'")
    for einsum in cascade.einsums:
        if _contracts(einsum) and einsum.name not in annotation.dots:
            yield Problem(
                f"cascade '{cascade.name}' contracts {einsum.name}, the annotation names no dot for it"
            )


def _contracts(einsum: Einsum) -> bool:
    """Whether an Einsum is a product of tensors summed over ranks: what a matrix product computes."""
    product = einsum.expression
    factors = product.operands if isinstance(product, Call) and product.operator == "multiply" else ()
    summed = any(reduction.operator == "add" for reduction in einsum.reductions)
    return summed and len(factors) == 2 and all(isinstance(factor, Access) for factor in factors)


def _per_class(facts: Facts, annotation: Annotation) -> Iterator[Problem]:
    """Loop trips and matrix products of every class: one per visited tile, of the tiles' size."""
    for number, members in enumerate(facts.classes):
        label = f"program class {number}"
        yield from _differs(f"{label}, loop trips", members.trips, members.tiles, "one per visited tile")
        for name, ranks in annotation.dots.items():
            count = members.dots.get(name, 0)
            yield from _differs(f"{label}, dots of {name}", count, members.tiles, "one per visited tile")
            sizes = tuple(facts.tiles[rank] for rank in ranks)
            for shape in sorted(members.shapes[name] - {sizes}):
                yield Problem(f"{label}, dot {name}: traced sizes {shape}, expected {sizes} (the tiles)")


def _operations(facts: Facts, annotation: Annotation, cascade: Cascade) -> Iterator[Problem]:
    """Traced operations of each kind against those of the cascade at every tile and program."""
    expected: dict[str, int] = defaultdict(int)
    sources: dict[str, list[str]] = defaultdict(list)
    sizes = _tile_sizes(facts, annotation, cascade)
    looped = {annotation.loop.rank, *cascade.partition.get(annotation.loop.rank, ())}
    programs = facts.totals.programs
    visited = sum(members.programs * members.tiles for members in facts.classes)
    for kind, einsum, ranks in _cascade_operations(annotation, cascade):
        unsized = [rank for rank in ranks if rank not in sizes]
        if unsized:
            yield Problem(f"{einsum}: the annotation gives no tile size for rank {', '.join(unsized)}")
            continue
        times = visited if looped & set(ranks) else programs
        expected[kind] += times * prod(sizes[rank] for rank in ranks)
        sources[kind].append(einsum)
    traced = _traced_operations(facts)
    for kind in sorted({*expected, *traced}):
        names = ", ".join(dict.fromkeys(sources[kind])) or "no Einsum"
        yield from _differs(kind, traced.get(kind, 0), expected[kind], f"{names} of {cascade.name}")


def _tile_sizes(facts: Facts, annotation: Annotation, cascade: Cascade) -> dict[str, int]:
    """Size of each cascade rank within one tile: the looped rank is its tile, its outer parts are single."""
    loop = annotation.loop
    outer = dict.fromkeys(cascade.partition.get(loop.rank, ()), 1)
    return outer | dict(facts.tiles) | {loop.rank: facts.tiles[loop.tile]}


def _cascade_operations(
    annotation: Annotation, cascade: Cascade
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Kind, Einsum and ranks of the cascade's operations that a trace can be compared with."""
    for einsum in cascade.einsums:
        is_dot = einsum.name in annotation.dots
        maps = len(einsum.operations) - len(einsum.reductions)
        for place, operation in enumerate(einsum.operations):
            if is_dot and operation.operator in ("multiply", "add"):
                yield FLOPS, einsum.name, operation.ranks
            elif place >= maps:
                yield f"{operation.operator} reductions", einsum.name, operation.ranks
            elif operation.operator in _MAPS:
                yield _MAPS[operation.operator], einsum.name, operation.ranks


def _traced_operations(facts: Facts) -> dict[str, int]:
    total = facts.totals
    found: dict[str, int] = defaultdict(int)
    found[FLOPS] = sum(total.dot_flops.values())
    found["exponentials"] = sum(total.exps.values())
    for operator, elements in total.reductions.items():
        found[f"{operator} reductions"] += elements
    for (operator, _), lanes in total.elementwise.items():
        if operator in _ELEMENTWISE:
            found[_ELEMENTWISE[operator]] += lanes
    return found


def _pairs(facts: Facts, annotation: Annotation) -> Iterator[Problem]:
    """Query-key pairs left by the traced masks against the causal mask and the lengths."""
    rows, keys = _lengths(facts, annotation)
    heads = prod(facts.ranks[rank] for rank in annotation.outer[1:])
    per_head = sum(_visible(row, key, facts.causal) for row, key in zip(rows, keys, strict=True))
    mask = "causal mask" if facts.causal else "no causal mask"
    yield from _differs("query-key pairs", facts.useful_pairs, heads * per_head, f"{mask} and lengths")


def _lengths(facts: Facts, annotation: Annotation) -> tuple[Coordinates, Coordinates]:
    """Query rows and keys in use of each sequence."""
    batch = facts.ranks[annotation.outer[0]]
    rows, _ = annotation.mask.scores
    return facts.lengths_of(rows, batch), facts.lengths_of(annotation.loop.rank, batch)


def _visible(rows: int, keys: int, causal: bool) -> int:
    """Pairs of one head and sequence; the last row sees the last key."""
    if not causal:
        return rows * keys
    return int(np.clip(np.arange(rows, dtype=np.int64) + 1 + keys - rows, 0, keys).sum())


def _bytes(facts: Facts, annotation: Annotation, cascade: Cascade) -> Iterator[Problem]:
    """Bytes, unique bytes and traversals of every annotated tensor."""
    total = facts.totals
    for argument, note in annotation.tensors.items():
        is_input = note.tensor in cascade.inputs
        moved = total.read_bytes if is_input else total.written_bytes
        unique = total.unique_read_bytes if is_input else total.unique_written_bytes
        whole = _used_elements(facts, annotation, note) * facts.launch.tensors[argument].item_bytes
        verb = "read" if is_input else "written"
        label = f"unique bytes {verb} of {argument}"
        yield from _differs(label, unique.get(argument, 0), whole, "every element in use once")
        if annotation.loop.rank in note.ranks:
            yield from _looped_bytes(facts, annotation, argument)
        else:
            reason = f"{_times(note)} every element in use"
            label = f"bytes {verb} of {argument}"
            yield from _differs(label, moved.get(argument, 0), note.traversals * whole, reason)


def _used_elements(facts: Facts, annotation: Annotation, note: TensorNote) -> int:
    """Elements of a tensor within the lengths; keys of a sequence without query rows are not used."""
    rows, keys = _lengths(facts, annotation)
    row_rank, key_rank = annotation.mask.scores[0], annotation.loop.rank
    fixed = (annotation.outer[0], row_rank, key_rank)
    each = prod(facts.ranks[rank] for rank in note.ranks if rank not in fixed)
    if key_rank in note.ranks:
        return each * sum(key for row, key in zip(rows, keys, strict=True) if row)
    return each * (sum(rows) if row_rank in note.ranks else len(rows))


def _looped_bytes(facts: Facts, annotation: Annotation, argument: str) -> Iterator[Problem]:
    """Tiles read in the loop: whole keys, as many as the visited tiles hold, as often as annotated."""
    note, loop = annotation.tensors[argument], annotation.loop
    depth = prod(facts.ranks[rank] for rank in _depths(annotation, note))
    tile = facts.tiles[loop.tile]
    for number, members in enumerate(facts.classes):
        different, touched = members.touched.get((argument, "load"), (0, 0))
        label = f"program class {number}, {argument}"
        again = f"{_times(note)} {different:,} elements"
        yield from _differs(f"{label}, elements read", touched, note.traversals * different, again)
        keys, rest = divmod(different, depth)
        yield from _differs(f"{label}, elements of incomplete keys", rest, 0, f"keys of depth {depth}")
        tiles = note.traversals * -(-keys // tile)
        yield from _differs(
            f"{label}, visited tiles", members.tiles, tiles, f"{keys} keys in tiles of {tile}"
        )


def _times(note: TensorNote) -> str:
    return "once" if note.traversals == 1 else f"{note.traversals} times"


def _depths(annotation: Annotation, note: TensorNote) -> list[str]:
    """Ranks of a tensor within one key of one head."""
    within = {rank for ranks in annotation.dots.values() for rank in ranks}
    return [rank for rank in note.ranks if rank in within and rank != annotation.loop.rank]
