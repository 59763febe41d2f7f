"""Checks of a whole cascade: names, ranks, order, reductions, recurrences; finds all problems at once."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

from dse.errors import Problem, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.workloads.cascade import Access, Cascade, Einsum

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_RESERVED = {"last", "inf"}


def problems(cascade: Cascade) -> tuple[Problem, ...]:
    """Everything wrong with the cascade, in file order; recurrences only once the rest is right."""
    found = [*_names(cascade), *_partitions(cascade), *_inputs(cascade), *_carried(cascade)]
    for place, einsum in enumerate(cascade.einsums):
        faults = _einsum(cascade, place, einsum)
        found += [Problem(_shown(einsum, *fault), path=f"einsums.{place}") for fault in faults]
    found += _unused(cascade)
    return tuple(found or recurrence_problems(cascade))


def _shown(einsum: Einsum, message: str, column: int) -> str:
    from dse.workloads.language import pointed

    return pointed(message, einsum.text, column) if einsum.text else f"{message} in {einsum}"


def _names(cascade: Cascade) -> Iterator[Problem]:
    sections = {
        "ranks": cascade.ranks,
        "partition": cascade.partition,
        "inputs": cascade.inputs,
        "constants": cascade.constants,
    }
    seen: dict[str, str] = {}
    for section, names in sections.items():
        for name in names:
            path = f"{section}.{name}"
            if not _NAME.match(name):
                yield Problem(f"'{name}' is not a name: letters, digits and _", path=path)
            elif name in _RESERVED:
                yield Problem(f"'{name}' is reserved", path=path)
            elif name in seen:
                yield Problem(f"'{name}' is already a name under {seen[name]}", path=path)
            seen.setdefault(name, section)
    if not cascade.einsums:
        yield Problem("a cascade needs at least one Einsum", path="einsums")


def _partitions(cascade: Cascade) -> Iterator[Problem]:
    owner: dict[str, str] = {}
    for whole, parts in cascade.partition.items():
        path = f"partition.{whole}"
        if len(parts) < 2:
            yield Problem("a partition has at least two ranks, outermost first", path=path)
        for part in parts:
            if part not in cascade.ranks:
                yield Problem(f"rank '{part}' is not defined{nearest(part, cascade.ranks)}", path=path)
            elif part in owner:
                yield Problem(f"rank '{part}' is already a part of '{owner[part]}'", path=path)
            owner[part] = whole


def _inputs(cascade: Cascade) -> Iterator[Problem]:
    for name, ranks in cascade.inputs.items():
        for rank, times in Counter(ranks).items():
            if rank not in cascade.ranks:
                hint = nearest(rank, cascade.ranks)
                yield Problem(f"rank '{rank}' is not defined{hint}", path=f"inputs.{name}")
            elif times > 1:
                yield Problem(f"rank '{rank}' occurs {times} times", path=f"inputs.{name}")


def _carried(cascade: Cascade) -> Iterator[Problem]:
    outputs = {einsum.name: einsum.output for einsum in cascade.einsums}
    for name, carried in cascade.carried.items():
        path = f"carried.{name}"
        if math.isnan(carried.initial):
            yield Problem("the initial value is not a number", path=path)
        if carried.rank not in cascade.ranks:
            yield Problem(
                f"rank '{carried.rank}' is not defined{nearest(carried.rank, cascade.ranks)}", path=path
            )
        elif name not in outputs:
            yield Problem(f"no Einsum defines '{name}'{nearest(name, outputs)}", path=path)
        elif not any(i.rank == carried.rank and i.offset == 1 for i in outputs[name].indices):
            message = f"its Einsum must define it at [{carried.rank}+1], not as {outputs[name]}"
            yield Problem(message, path=path)


def _einsum(cascade: Cascade, place: int, einsum: Einsum) -> Iterator[tuple[str, int]]:
    yield from _output(cascade, place, einsum)
    for operand in einsum.operands:
        yield from _operand(cascade, place, einsum, operand)
    available = {rank for operand in einsum.operands for rank in operand.ranks}
    for rank in einsum.output.ranks:
        if rank in cascade.ranks and rank not in available:
            yield f"output rank '{rank}' is missing from the operands", einsum.output.column
    yield from _reductions(einsum, available)


def _output(cascade: Cascade, place: int, einsum: Einsum) -> Iterator[tuple[str, int]]:
    output = einsum.output
    earlier = {other.name: index for index, other in enumerate(cascade.einsums[:place])}
    if einsum.name in cascade.inputs:
        yield f"'{einsum.name}' is an input and cannot be defined again", output.column
    elif einsum.name in earlier:
        yield f"'{einsum.name}' is already defined by einsums.{earlier[einsum.name]}", output.column
    elif einsum.name in cascade.ranks or einsum.name in cascade.partition or einsum.name in cascade.constants:
        yield f"'{einsum.name}' is already the name of a rank or a constant", output.column
    if output.last:
        yield "an output cannot be written at 'last'", output.column
    yield from _ranks(cascade, output)
    carried = cascade.carried.get(einsum.name)
    for index in output.indices:
        if index.offset and (carried is None or index.rank != carried.rank):
            message = f"'{output}' carries rank '{index.rank}' but '{einsum.name}' has no initial value"
            yield (
                f"{message}; expected carried: {einsum.name}: {{rank: {index.rank}, initial: ...}}",
                output.column,
            )
        elif index.offset > 1:
            yield f"'{output}' must carry one step: {index.rank}+1", output.column


def _ranks(cascade: Cascade, access: Access) -> Iterator[tuple[str, int]]:
    for rank, times in Counter(index.rank for index in access.indices).items():
        if rank not in cascade.ranks:
            parts = cascade.partition.get(rank)
            hint = f"; it is partitioned into {', '.join(parts)}" if parts else nearest(rank, cascade.ranks)
            yield f"rank '{rank}' of '{access}' is not defined{hint}", access.column
        elif times > 1:
            yield f"rank '{rank}' occurs {times} times in '{access}'", access.column


def _operand(cascade: Cascade, place: int, einsum: Einsum, access: Access) -> Iterator[tuple[str, int]]:
    yield from _ranks(cascade, access)
    later = {other.name: index for index, other in enumerate(cascade.einsums) if index >= place}
    known = cascade.tensors
    if access.tensor not in known:
        yield f"tensor '{access.tensor}' is not defined{nearest(access.tensor, known)}", access.column
        return
    expected = known[access.tensor]
    found = tuple(index.rank for index in access.indices)
    if len(found) != len(expected):
        wanted = f"{access.tensor}[{','.join(expected)}]"
        yield (
            f"'{access.tensor}' has {len(expected)} rank(s), not {len(found)}; expected {wanted}",
            access.column,
        )
        return
    if found != expected:
        yield f"'{access}' does not match {access.tensor}[{','.join(expected)}]", access.column
        return
    carried = cascade.carried.get(access.tensor)
    for index in access.indices:
        if index.offset and (carried is None or index.rank != carried.rank or index.offset > 1):
            yield f"'{index}' is only for the carried rank of a carried tensor, one step", access.column
            return
    if access.tensor in later and (access.last or cascade.distance(access) < 1):
        yield _too_early(cascade, einsum, access, later[access.tensor]), access.column


def _too_early(cascade: Cascade, einsum: Einsum, access: Access, defined: int) -> str:
    import networkx as nx

    needs: nx.DiGraph[str] = nx.DiGraph()
    needs.add_edges_from(
        (e.name, o.tensor) for e in cascade.einsums for o in e.operands if _needs_now(cascade, o)
    )
    if access.tensor == einsum.name or nx.has_path(needs, access.tensor, einsum.name):
        path = nx.shortest_path(needs, access.tensor, einsum.name)
        return f"the cascade is cyclic: {' needs '.join([einsum.name, *path])}"
    return f"tensor '{access.tensor}' is used before einsums.{defined} defines it"


def _needs_now(cascade: Cascade, access: Access) -> bool:
    carried = cascade.carried.get(access.tensor)
    return carried is None or access.last or any(i.rank == carried.rank and i.offset for i in access.indices)


def _reductions(einsum: Einsum, available: set[str]) -> Iterator[tuple[str, int]]:
    seen: set[str] = set()
    for reduction in einsum.reductions:
        for rank in reduction.ranks:
            if rank in einsum.output.ranks:
                yield f"rank '{rank}' is reduced but stays in the output", reduction.column
            elif rank not in available:
                yield f"reduced rank '{rank}' is in no operand{nearest(rank, available)}", reduction.column
            elif rank in seen:
                yield f"rank '{rank}' is reduced twice", reduction.column
            seen.add(rank)
    for rank in einsum.reduced:
        if rank not in seen:
            yield f"rank '{rank}' is neither in the output nor reduced", einsum.output.column


def _unused(cascade: Cascade) -> Iterator[Problem]:
    read = {operand.tensor for einsum in cascade.einsums for operand in einsum.operands}
    ranks = {rank for ranks in cascade.tensors.values() for rank in ranks}
    constants = {constant.name for einsum in cascade.einsums for constant in einsum.constants}
    made = {einsum.name for einsum in cascade.einsums}
    for section, names, used in (
        ("ranks", cascade.ranks, ranks),
        ("inputs", cascade.inputs, read),
        ("constants", cascade.constants, constants),
    ):
        yield from (
            Problem(f"'{name}' is never used", path=f"{section}.{name}") for name in names if name not in used
        )
    for name in cascade.outputs:
        if name not in made:
            yield Problem(f"no Einsum defines '{name}'{nearest(name, made)}", path="outputs")
    for place, einsum in enumerate(cascade.einsums):
        if einsum.name not in read and einsum.name not in cascade.outputs:
            yield Problem(f"'{einsum.name}' is neither read nor an output", path=f"einsums.{place}")


def recurrences(cascade: Cascade) -> tuple[tuple[str, ...], ...]:
    """Groups of Einsums that depend on each other through carried tensors, each in program order."""
    import networkx as nx

    graph = cascade.graph()
    order = {einsum.name: place for place, einsum in enumerate(cascade.einsums)}
    loops = [part for part in nx.strongly_connected_components(graph) if len(part) > 1]
    loops += [{name} for name in nx.nodes_with_selfloops(graph) if not any(name in part for part in loops)]
    return tuple(
        sorted((tuple(sorted(part, key=order.__getitem__)) for part in loops), key=lambda p: order[p[0]])
    )


def recurrence_problems(cascade: Cascade) -> tuple[Problem, ...]:
    """Recurrences that no traversal of one carried rank can compute."""
    found = []
    order = {einsum.name: place for place, einsum in enumerate(cascade.einsums)}
    for loop in recurrences(cascade):
        ranks = {cascade.carried[name].rank for name in loop if name in cascade.carried}
        if len(ranks) > 1:
            message = f"a recurrence over two ranks ({', '.join(sorted(ranks))}): {' -> '.join(loop)}"
            found.append(Problem(message, path=f"einsums.{order[loop[0]]}"))
            continue
        (rank,) = ranks
        for name in loop:
            einsum = cascade.einsum(name)
            inside = [operand for operand in einsum.operands if operand.tensor in loop]
            if rank not in einsum.output.ranks or any(rank not in operand.ranks for operand in inside):
                message = f"the cascade is cyclic: '{name}' needs all of '{rank}' inside its recurrence"
                found.append(Problem(_shown(einsum, message, 0), path=f"einsums.{order[name]}"))
    return tuple(found)
