"""What makes a nest wrong whatever its tile sizes: names, order of loops and stores, and order of the computation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.errors import nearest
from dse.simulator.loop_nest.nest import REGISTERS, Group, Keep, Loop, Nest
from dse.simulator.loop_nest.sites import SHARED, Sites

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.simulator.loop_nest.hierarchy import Hierarchy
    from dse.simulator.loop_nest.problem import Problem, Shape

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
            found += [(path, text) for text in (*_order(sites, hierarchy), *_values(sites), *_carried(sites))]
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
    elif sorted(bound) == sorted(names) and bound != names and not _ordered(problem, bound):
        yield "groups", f"Einsums must come after what they read: {', '.join(names)}"


def _ordered(problem: Problem, bound: list[str]) -> bool:
    place = {name: number for number, name in enumerate(bound)}
    return all(
        touch.tensor not in place
        or place[touch.tensor] < place[shape.name]
        or _older(problem, shape, touch.tensor)
        for shape in problem.shapes
        for touch in shape.inputs
    )


def _older(problem: Problem, shape: Shape, tensor: str) -> bool:
    """Whether only the previous step of a carried tensor is read."""
    touch = next(touch for touch in shape.inputs if touch.tensor == tensor)
    carried = problem.carried(tensor)
    return (
        bool(carried)
        and not touch.last
        and touch.spans[carried].once < 0
        and touch.spans[carried].each in (0, 1)
    )


def _names(problem: Problem, hierarchy: Hierarchy, group: Group) -> Iterator[Fault]:
    for branch in group.branches:
        if branch.unit not in hierarchy.units:
            yield branch.einsum, f"no unit '{branch.unit}'{nearest(branch.unit, hierarchy.units)}"
            continue
        unit = hierarchy.units[branch.unit]
        ranks = problem.shape(branch.einsum).ranks if branch.einsum in problem.by_name else ()
        for node in branch.nodes:
            if isinstance(node, Loop):
                if node.rank not in ranks:
                    yield (
                        branch.einsum,
                        f"{branch.einsum} has no rank '{node.rank}'{nearest(node.rank, ranks)}",
                    )
                if node.axis is not None and node.axis not in unit.axes:
                    yield (
                        branch.einsum,
                        f"{unit.name} has no axis '{node.axis}'{nearest(node.axis, unit.axes)}",
                    )
            else:
                yield from _stored(problem, hierarchy, group, node, branch.einsum)
    for node in group.shared:
        if isinstance(node, Loop):
            if node.rank not in problem.sizes:
                yield "shared", f"no rank '{node.rank}'{nearest(node.rank, problem.sizes)}"
            if node.axis is not None:
                yield "shared", f"loop over {node.rank} on axis {node.axis}: shared loops are in time"
        else:
            yield from _stored(problem, hierarchy, group, node, "shared")


def _stored(problem: Problem, hierarchy: Hierarchy, group: Group, node: Keep, at: str) -> Iterator[Fault]:
    inner = hierarchy.names[1:]
    known = [*inner, *([REGISTERS] if at != "shared" else [])]
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
    for branch in sites.group.branches:
        nodes = sites.group.nodes(branch.einsum)
        deepest: dict[str, int] = {}
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
    """Values are complete when they are read, and not lost before."""
    problem, group = sites.problem, sites.group
    loops = [(i, n.rank) for i, n in enumerate(group.shared) if isinstance(n, Loop)]
    for rank in sites.shared_ranks:
        late = _late(sites, rank)
        for name in group.einsums:
            shape = problem.shape(name)
            if rank in shape.ranks and late & set(shape.operand_names):
                some = ", ".join(sorted(late & set(shape.operand_names)))
                yield f"{name} needs {some} whole before the shared loop over {rank} is through"
    for tensor in group.einsums:
        shape, keeps = problem.shape(tensor), sites.keeps(SHARED, tensor)
        if not keeps:
            continue
        above = {rank for index, rank in loops if index < keeps[0][0]}
        if sites.inside(tensor):
            lost = above & set(shape.reduced)
            if lost:
                yield f"sums of {tensor} are lost: keep it above the shared loop over {', '.join(sorted(lost))}"
        else:
            again = {
                rank
                for reader in sites.accessors(tensor)
                for rank in problem.shape(reader).ranks
                if rank in above and rank not in shape.ranks
            }
            if again:
                yield f"{tensor} would be fetched again: keep it above the shared loop over {', '.join(sorted(again))}"


def _late(sites: Sites, rank: str) -> set[str]:
    """Tensors of the group that are complete only after the shared loop over a rank."""
    found: set[str] = set()
    for name in sites.group.einsums:
        shape = sites.problem.shape(name)
        last = any(t.last and t.carried == rank and t.tensor in sites.group.einsums for t in shape.inputs)
        if rank in shape.reduced or last or (rank not in shape.ranks and found & set(shape.operand_names)):
            found.add(name)
    return found


def _carried(sites: Sites) -> Iterator[str]:
    """Recurrences advance in step, and their state outlives an iteration."""
    problem, group = sites.problem, sites.group
    for rank, names in problem.recurrences:
        here = [name for name in names if name in group.einsums]
        if here and (len(here) < len(names) or rank not in sites.shared_ranks):
            yield f"{', '.join(names)} feed each other along {rank}: they need one group with a shared loop over it"
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
