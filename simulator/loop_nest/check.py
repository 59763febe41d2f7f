"""What makes a nest wrong whatever its tile sizes: names, order of loops and stores, and order of the computation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.errors import MappingError, nearest
from dse.simulator.loop_nest.hierarchy import operations_of
from dse.simulator.loop_nest.nest import REGISTERS, Branch, Group, Keep, Loop, Nest
from dse.simulator.loop_nest.sites import SHARED, Sites

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.simulator.loop_nest.hierarchy import Hierarchy
    from dse.simulator.loop_nest.problem import Problem

Fault = tuple[str, str]  # path, message


def faults(problem: Problem, hierarchy: Hierarchy, nest: Nest) -> tuple[Fault, ...]:
    """Everything wrong; what a group computes is looked at once its names are right."""
    found = list(_coverage(problem, nest))
    for number, group in enumerate(nest.groups):
        path = f"groups.{number}"
        wrong = [(f"{path}.{at}".rstrip("."), text) for at, text in _names(problem, hierarchy, group)]
        found += wrong
        if not wrong and not found:
            sites = Sites(problem, nest, number)
            found += [
                (path, text)
                for text in (
                    *_order(sites, hierarchy),
                    *_values(sites),
                    *_kept(sites),
                    *_together(sites),
                    *_in_place(sites, hierarchy),
                    *_carried(sites),
                )
            ]
    return tuple(found)


def _coverage(problem: Problem, nest: Nest) -> Iterator[Fault]:
    """Every Einsum once, in an order in which values exist before they are read."""
    bound = [branch.einsum for group in nest.groups for branch in group.branches]
    names = [shape.name for shape in problem.shapes]
    for name in dict.fromkeys(bound):
        if name not in names:
            yield "groups", f"'{name}' is no Einsum{nearest(name, names)}"
        elif bound.count(name) > 1:
            yield "groups", f"Einsum {name} is computed {bound.count(name)} times"
    missing = [name for name in names if name not in bound]
    if missing:
        yield "groups", f"Einsums {', '.join(missing)} are in no group"
    elif sorted(bound) == sorted(names):
        yield from _sequence(problem, nest, bound)


def _sequence(problem: Problem, nest: Nest, bound: list[str]) -> Iterator[Fault]:
    """Einsums come after what they read, but for the previous step of what the same shared loop carries on."""
    place = {name: number for number, name in enumerate(bound)}
    group = {name: number for number, part in enumerate(nest.groups) for name in part.einsums}
    for shape in problem.shapes:
        for touch in shape.inputs:
            if place.get(touch.tensor, -1) <= place[shape.name]:
                continue
            shared = nest.groups[group[shape.name]].shared
            loops = {node.rank for node in shared if isinstance(node, Loop)}
            if not touch.older:
                yield "groups", f"{shape.name} must come after {touch.tensor}, which it reads"
            elif group[touch.tensor] != group[shape.name] or touch.carried not in loops:
                text = f"{shape.name} reads {touch.tensor} of the step before it is made"
                yield "groups", f"{text}: they need one group with a shared loop over {touch.carried}"


def _names(problem: Problem, hierarchy: Hierarchy, group: Group) -> Iterator[Fault]:
    for branch in group.branches:
        if branch.unit not in hierarchy.units:
            yield branch.einsum, f"no unit '{branch.unit}'{nearest(branch.unit, hierarchy.units)}"
        elif branch.einsum in problem.by_name:
            yield from _branch(problem, hierarchy, group, branch)
    for node in group.shared:
        if isinstance(node, Keep):
            yield from _stored(problem, hierarchy, group, node, "shared")
            continue
        if node.rank not in problem.sizes:
            yield "shared", f"no rank '{node.rank}'{nearest(node.rank, problem.sizes)}"
        if node.axis is not None:
            yield "shared", f"loop over {node.rank} on axis {node.axis}: shared loops are in time"


def _branch(problem: Problem, hierarchy: Hierarchy, group: Group, branch: Branch) -> Iterator[Fault]:
    """Names in one branch, and operations its unit does not have."""
    shape, unit, at = problem.shape(branch.einsum), hierarchy.units[branch.unit], branch.einsum
    try:
        operations_of(at, shape.operations, unit)
    except MappingError as error:
        yield at, str(error)
    for node in branch.nodes:
        if isinstance(node, Keep):
            yield from _stored(problem, hierarchy, group, node, at)
            continue
        if node.rank not in shape.ranks:
            yield at, f"{at} has no rank '{node.rank}'{nearest(node.rank, shape.ranks)}"
        if node.axis is not None and node.axis not in unit.axes:
            yield at, f"{unit.name} has no axis '{node.axis}'{nearest(node.axis, unit.axes)}"


def _stored(problem: Problem, hierarchy: Hierarchy, group: Group, node: Keep, at: str) -> Iterator[Fault]:
    pools = [level.name for level in hierarchy.registers]
    known = [*hierarchy.names[1:], *(pools if at == "shared" else [REGISTERS])]
    if node.memory not in known:
        hint = f"{nearest(node.memory, known)}; there are {', '.join(known)}"
        yield at, f"{node.tensor} cannot be kept in '{node.memory}'{hint}"
    einsums = group.einsums if at == "shared" else (at,)
    used = {
        name
        for einsum in einsums
        if einsum in problem.by_name
        for name in (einsum, *problem.shape(einsum).operand_names)
    }
    if node.tensor not in used:
        yield at, f"'{node.tensor}' is not used here{nearest(node.tensor, used)}"


def _order(sites: Sites, hierarchy: Hierarchy) -> Iterator[str]:
    """Stores from outside inwards; memories above the array's axes, registers below them."""
    levels = {name: place for place, name in enumerate((*hierarchy.names, REGISTERS))}
    levels |= {level.name: len(hierarchy.names) for level in hierarchy.registers}
    for branch in sites.group.branches:
        nodes = sites.group.nodes(branch.einsum)
        deepest: dict[str, int] = {}
        placed = [(n.rank, n.axis) for n in nodes if isinstance(n, Loop) and n.axis is not None]
        for rank, axis in dict.fromkeys(pair for pair in placed if placed.count(pair) > 1):
            yield f"{branch.einsum}: {rank} is on axis {axis} twice"
        spatial = [i for i, n in enumerate(nodes) if isinstance(n, Loop) and n.axis is not None]
        for index, node in enumerate(nodes):
            if isinstance(node, Keep):
                if levels[node.memory] <= deepest.get(node.tensor, 0):
                    yield f"{branch.einsum}: {node.tensor} is kept in {node.memory} inside a store as far in or further"
                deepest[node.tensor] = levels[node.memory]
                if node.memory != REGISTERS and spatial and index > spatial[0]:
                    yield f"{branch.einsum}: {node.tensor} is kept in {node.memory} below an axis of the array"
                if node.memory == REGISTERS and spatial and index < spatial[-1]:
                    yield f"{branch.einsum}: {node.tensor} is kept in registers above an axis of the array"


def _values(sites: Sites) -> Iterator[str]:
    """Values are complete when they are read, and still there."""
    for rank in sites.shared_ranks:
        late = _late(sites, rank)
        for name in sites.group.einsums:
            shape = sites.problem.shape(name)
            if rank in shape.ranks and late & set(shape.operand_names):
                some = ", ".join(sorted(late & set(shape.operand_names)))
                yield f"{name} needs {some} whole before the shared loop over {rank} is through"
        kept = (name for name in sites.group.einsums if sites.keeps(SHARED, name) and name not in late)
        for name in kept:
            readers = set(sites.accessors(name)) - {name}
            above = sites.loops(SHARED, rank, sites.keeps(SHARED, name)[0][0])
            done = (
                sites.repeats[name].get(rank, 0)
                if rank not in sites.problem.shape(name).ranks
                else len(above)
            )
            if done < len(above) and readers & late:
                yield f"{name} is needed after the shared loop over {rank}: keep it above"


def _kept(sites: Sites) -> Iterator[str]:
    """Shared stores lose no sums, and need not fetch what was made before they opened."""
    problem, group = sites.problem, sites.group
    for tensor in (name for name in group.einsums if sites.keeps(SHARED, name)):
        shape, first = problem.shape(tensor), sites.keeps(SHARED, tensor)[0][0]
        above = {node.rank for node in group.shared[:first] if isinstance(node, Loop)}
        if sites.inside(tensor):
            lost = above & set(shape.reduced)
            if lost:
                yield f"sums of {tensor} are lost: keep it above the shared loop over {', '.join(sorted(lost))}"
            continue
        ranks = {rank for reader in sites.accessors(tensor) for rank in problem.shape(reader).ranks}
        again = (ranks & above) - set(shape.ranks)
        if again:
            yield f"{tensor} would be fetched again: keep it above the shared loop over {', '.join(sorted(again))}"


def _late(sites: Sites, rank: str) -> set[str]:
    """Tensors of the group that are complete only after the shared loop over a rank."""
    found: set[str] = set()
    before: set[str] | None = None
    while found != before:
        before = set(found)
        for name in sites.group.einsums:
            shape = sites.problem.shape(name)
            last = any(t.last and t.carried == rank and t.tensor in sites.group.einsums for t in shape.inputs)
            if (
                rank in shape.reduced
                or last
                or (rank not in shape.ranks and found & set(shape.operand_names))
            ):
                found.add(name)
    return found


def _in_place(sites: Sites, hierarchy: Hierarchy) -> Iterator[str]:
    """What stays in the registers of a unit is used by the elements that made it: along the same axes."""
    units = {branch.einsum: branch.unit for branch in sites.group.branches}
    pools = {f"{name}.{REGISTERS}": name for name in hierarchy.units}
    for node in sites.group.shared:
        if isinstance(node, Keep) and node.memory in pools:
            unit, ranks = pools[node.memory], sites.problem.ranks_of(node.tensor)
            users = [name for name in sites.accessors(node.tensor) if units[name] == unit]
            if not users:
                yield f"{node.tensor} is kept in {node.memory}, but no Einsum on {unit} uses it"
            if len({sites.spread(name, ranks) for name in users}) > 1:
                some = ", ".join(users)
                yield f"{some} spread {node.tensor} over {unit} in different ways: it cannot stay in its registers"


def _together(sites: Sites) -> Iterator[str]:
    """A store that several Einsums share serves them at the same iterations, or one at all those of the others."""
    for index, node in enumerate(sites.group.shared):
        users = sites.accessors(node.tensor) if isinstance(node, Keep) else ()
        if not isinstance(node, Keep) or len(users) < 2:
            continue
        loops = [[len(sites.chain(name, r, index)) for r in sites.shared_ranks] for name in users]
        most = [max(counts) for counts in zip(*loops, strict=True)]
        if most not in loops:
            some = ", ".join(users)
            yield f"{some} use {node.tensor} at different iterations: keep it in their branches, or further out"
        for rank, count in zip(sites.shared_ranks, most, strict=True):
            if count < len(sites.loops(SHARED, rank, index)) and node.tensor not in sites.group.einsums:
                yield f"{node.tensor} is used once for all of {rank}: keep it above the shared loop over it"


def _carried(sites: Sites) -> Iterator[str]:
    """Recurrences advance in step, and their state outlives an iteration."""
    problem, group = sites.problem, sites.group
    for tensor in group.einsums:
        rank, keeps = problem.carried(tensor), sites.keeps(SHARED, tensor)
        if rank and keeps and sites.inside(tensor) and sites.loops(SHARED, rank, keeps[0][0]):
            yield f"the state of {tensor} is lost: keep it above the shared loop over {rank}"
    for branch in group.branches:
        shape = problem.shape(branch.einsum)
        own = problem.carried(shape.name) if shape.name in shape.operand_names else ""
        for node in branch.nodes:
            if isinstance(node, Loop) and node.axis is not None and node.rank == own:
                yield f"{shape.name} goes on from its own value along {own}: not on axis {node.axis}"
