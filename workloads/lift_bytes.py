"""Bytes, unique bytes and traversals of every tensor of a launch against sizes, lengths and visited tiles."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from dse.workloads.annotation import StepNote, TensorNote
    from dse.workloads.cascade import Cascade
    from dse.workloads.trace_facts import Facts

    Lengths = npt.NDArray[np.int64]

# Marking the elements that boxes cover takes a byte each; larger tensors are not compared.
LARGEST_COVERAGE = 1 << 28


def differs(what: str, traced: int, expected: int, because: str) -> Iterator[Problem]:
    """A problem that names the count, unless both agree."""
    if traced != expected:
        yield Problem(f"{what}: traced {traced:,}, expected {expected:,} ({because})")


def sequence_lengths(facts: Facts, rank: str) -> Lengths:
    """Length of ``rank`` in use, one axis for each leading outer rank that lengths vary with."""
    sizes = [facts.ranks[outer] for outer in facts.outer]
    given = facts.lengths.get(rank)
    if given is None:
        return np.full([1] * len(sizes), facts.ranks[rank], dtype=np.int64)
    shape = [*facts.length_shape, *[1] * (len(sizes) - len(facts.length_shape))]
    return np.asarray(given, dtype=np.int64).reshape(shape)


def byte_problems(facts: Facts, cascade: Cascade) -> Iterator[Problem]:
    """Every annotated tensor whose traffic does not follow."""
    for argument, note in facts.note.tensors.items():
        for verb in _verbs(facts, cascade, note):
            yield from _tensor(facts, cascade, argument, verb)


def _verbs(facts: Facts, cascade: Cascade, note: TensorNote) -> tuple[str, ...]:
    """Whether a tensor is read, written or both; what a launch computes it writes, the rest it reads."""
    if note.access:
        return {"read": ("read",), "write": ("written",), "both": ("read", "written")}[note.access]
    listed = facts.note.einsums
    foreign = note.tensor in cascade.inputs or (listed and note.tensor and note.tensor not in listed)
    return ("read",) if foreign else ("written",)


def _tensor(facts: Facts, cascade: Cascade, argument: str, verb: str) -> Iterator[Problem]:
    note, total = facts.note.tensors[argument], facts.totals
    reads = verb == "read"
    moved = (total.read_bytes if reads else total.written_bytes).get(argument, 0)
    unique = (total.unique_read_bytes if reads else total.unique_written_bytes).get(argument, 0)
    item_bytes = facts.launch.tensors[argument].item_bytes
    label = f"{facts.prefix}unique bytes {verb} of {argument}"
    whole = _used_elements(facts, note) * item_bytes
    if note.coverage == "visited":
        yield from _visited(facts, argument, verb, unique, whole)
    else:
        yield from differs(label, unique, whole, "every element in use once")
    step = _step_of(facts, cascade, note)
    if step:
        yield from _stepped(facts, argument, verb, step)
    elif note.coverage == "all":
        again = _repeats(facts, note)
        reason = f"{_times(note.traversals * again)} every element in use"
        label = f"{facts.prefix}bytes {verb} of {argument}"
        yield from differs(label, moved, note.traversals * again * whole, reason)


def _visited(facts: Facts, argument: str, verb: str, unique: int, whole: int) -> Iterator[Problem]:
    """Unique bytes of a tensor of which only visited tiles are touched: those in the union of their boxes."""
    label = f"{facts.prefix}unique bytes {verb} of {argument}"
    if unique > whole:
        yield Problem(f"{label}: traced {unique:,}, expected at most {whole:,} (every element in use once)")
    tensor = facts.launch.tensors[argument]
    kinds = ("load", "atomic") if verb == "read" else ("store", "atomic")
    boxes = {
        box
        for members in facts.launch.classes
        for program in range(len(members.programs) if argument in members.anchors else 0)
        for kind in kinds
        for box in members.boxes(program, argument, kind)
    }
    if not boxes or prod(tensor.shape) > LARGEST_COVERAGE:
        return
    touched = np.zeros(tensor.shape, dtype=np.bool_)
    for corner, extent in boxes:
        touched[tuple(slice(at, at + size) for at, size in zip(corner, extent, strict=True))] = True
    covered = int(np.count_nonzero(touched)) * tensor.item_bytes
    if unique > covered:
        yield Problem(f"{label}: traced {unique:,}, expected at most {covered:,} (the visited tiles)")


def _used_elements(facts: Facts, note: TensorNote) -> int:
    """Elements of a tensor within the lengths; keys of a sequence without query rows are not used."""
    mask = facts.note.mask
    ragged = {rank: sequence_lengths(facts, rank) for rank in note.ranks if rank in facts.lengths}
    sizes = [facts.ranks[rank] for rank in facts.outer]
    used = np.ones(sizes, dtype=np.int64)
    for lengths in ragged.values():
        used = used * lengths
    if mask is not None:
        rows, keys = (facts.whole.get(rank, rank) for rank in mask.scores)
        if keys in note.ranks and rows in facts.lengths:
            used = used * (sequence_lengths(facts, rows) > 0)
    for axis, rank in enumerate(facts.outer):
        used = _along(facts, note, used, axis, rank)
    fixed = {*ragged, *facts.outer, *(group for group, rank in facts.groups.items() if rank in facts.outer)}
    return int(used.sum()) * prod(facts.elements(rank) for rank in note.ranks if rank not in fixed)


def _along(facts: Facts, note: TensorNote, used: Lengths, axis: int, rank: str) -> Lengths:
    """Use along one outer rank: of each index the tensor has, of each group that shares one, or of any."""
    if rank in note.ranks:
        return used
    groups = [group for group, member in facts.groups.items() if member == rank and group in note.ranks]
    if not groups:
        shared: Lengths = used.max(axis=axis, keepdims=True)
        return shared
    count = facts.ranks[groups[0]]
    shape = (*used.shape[:axis], count, used.shape[axis] // count, *used.shape[axis + 1 :])
    result: Lengths = used.reshape(shape).max(axis=axis + 1)
    return result


def _step_of(facts: Facts, cascade: Cascade, note: TensorNote) -> str:
    """The step that touches one tile of a tensor, empty if a program touches its part at once."""
    found = note.step
    for name, step in facts.note.steps.items():
        if not note.step and moving_ranks(facts, cascade, step) & set(note.ranks):
            found = name
    return found


def moving_ranks(facts: Facts, cascade: Cascade, step: StepNote) -> set[str]:
    """Ranks a step moves along: its own, its tile, and parts that the launch does not split otherwise."""
    parts = {part for part in cascade.partition.get(step.rank, ()) if part not in facts.tiles}
    return {step.rank, step.tile, *parts} - {""}


def _stepped(facts: Facts, argument: str, verb: str, step: str) -> Iterator[Problem]:
    """Tiles touched step by step: whole rows of the tiled rank, as many and as often as annotated."""
    note, moving = facts.note.tensors[argument], facts.note.steps[step]
    depth, whole = _depth(facts, note, moving.rank)
    tile = facts.tiles[moving.tile] if moving.tile else 1
    for number, members in enumerate(facts.classes):
        different, touched = members.touched.get((argument, "load" if verb == "read" else "store"), (0, 0))
        label = f"{facts.prefix}program class {number}, {argument}"
        again = f"{_times(note.traversals)} {different:,} elements"
        yield from differs(f"{label}, elements {verb}", touched, note.traversals * different, again)
        if note.coverage == "visited" or moving.rank not in note.ranks or not whole:
            continue
        keys, rest = divmod(different, depth)
        yield from differs(f"{label}, elements of incomplete keys", rest, 0, f"keys of depth {depth}")
        tiles = note.traversals * -(-keys // tile)
        because = f"{keys} keys in tiles of {tile}"
        yield from differs(f"{label}, visited tiles", members.steps[step], tiles, because)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _repeats(facts: Facts, note: TensorNote) -> int:
    """How many programs touch the same part of a tensor: one for each tile or index of ranks it lacks."""
    total = 1
    for rank in note.repeats:
        tiled = [tile for tile, whole in facts.whole.items() if whole == rank and tile in facts.tiles]
        size = facts.tiles.get(rank, facts.tiles[tiled[0]] if tiled else 1)
        count = -(-facts.ranks[rank] // size)
        shared = [group for group, member in facts.groups.items() if member == rank and group in note.ranks]
        total *= count // facts.ranks[shared[0]] if shared else count
    return total


def _depth(facts: Facts, note: TensorNote, moving: str) -> tuple[int, bool]:
    """Elements that a program touches of one row of the moving rank, and whether all programs touch as many.

    A dimension that is tiled, but not covered by one tile, is split between programs; the last of them, and
    those of shorter sequences, may touch fewer.
    """
    depth, whole = 1, True
    for dimension in note.ranks:
        rank = dimension.partition("/")[0]
        tiled = [tile for tile, owner in facts.whole.items() if owner == rank and tile in facts.tiles]
        if dimension == moving or dimension.isdigit() or not (rank in facts.tiles or tiled):
            continue
        size, tile = facts.elements(dimension), facts.tiles.get(rank, facts.tiles[tiled[0]] if tiled else 1)
        depth *= min(size, tile)
        whole = whole and rank not in facts.lengths and (size <= tile or size % tile == 0)
    return depth, whole
