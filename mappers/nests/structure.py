"""One candidate's structure: per fusion group a loop order, a place for each tensor, and how Einsums use their units.

A group tiles some ranks once, in an order; a tensor is kept whole, below the loop over one of its own ranks, or not at
all. Below that an Einsum fills its unit: ranks on axes, one word of a stationary tensor in each element, the rest
streams by. Not in the space: two loops over one rank in front of a memory, several words per element, part of an axis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.loop_nest.nest import REGISTERS, Branch, Group, Keep, Loop, Nest, NestNode
from dse.simulator.loop_nest.problem import PLAIN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.simulator.arrays import Array
    from dse.simulator.loop_nest.hierarchy import Hierarchy
    from dse.simulator.loop_nest.problem import Problem

BYPASS, WHOLE = "bypass", "whole"


@dataclass(frozen=True)
class Use:
    """How an Einsum uses a unit: the tensor that stays in its elements (empty for none) and the rank on each axis."""

    unit: str
    stationary: str
    axes: tuple[tuple[str, str], ...]

    @property
    def label(self) -> str:
        """As it is written in a space file, like ``array_2d W columns=n rows=k``."""
        return " ".join([self.unit, self.stationary or "-", *(f"{axis}={rank}" for axis, rank in self.axes)])


@dataclass(frozen=True)
class Layout:
    """Structure of one group: order of its shared loops, (tensor, place) of what is kept, use of each Einsum's unit."""

    einsums: tuple[str, ...]
    order: tuple[str, ...]
    keeps: tuple[tuple[str, str], ...]
    uses: tuple[Use, ...]

    def group(self, problem: Problem, memory: str) -> Group:
        """The group of a nest."""
        kept = sorted(self.keeps, key=lambda pair: problem.tensors.index(pair[0]))
        nodes: list[NestNode] = [Keep(tensor, memory) for tensor, place in kept if place == WHOLE]
        for rank in self.order:
            nodes.append(Loop(rank))
            nodes += [Keep(tensor, memory) for tensor, place in kept if place == rank]
        branches = (
            Branch(einsum, use.unit, tuple(_fill(problem, einsum, use)))
            for einsum, use in zip(self.einsums, self.uses, strict=True)
        )
        return Group(tuple(nodes), tuple(branches))

    def canonical(self) -> tuple[object, ...]:
        """Equal for layouts whose loops differ in order only where nothing is kept between them."""
        places = dict(self.keeps)
        runs: list[tuple[frozenset[str], frozenset[str]]] = []
        since: list[str] = []
        for rank in ("", *self.order):
            since += [rank] if rank else []
            here = frozenset(tensor for tensor, place in places.items() if place == (rank or WHOLE))
            if here:
                runs.append((frozenset(since), here))
                since = []
        return (*runs, frozenset(since), self.uses)


def _fill(problem: Problem, einsum: str, use: Use) -> list[NestNode]:
    """Loops of a branch: over the stationary tensor's words, the axes, and the word in each element."""
    held = _stationary_ranks(problem, einsum, use)
    nodes: list[NestNode] = [Loop(rank) for rank in held]
    nodes += [Loop(rank, axis) for axis, rank in use.axes]
    return [*nodes, Keep(use.stationary, REGISTERS)] if use.stationary else nodes


def _stationary_ranks(problem: Problem, einsum: str, use: Use) -> tuple[str, ...]:
    """Ranks of the stationary tensor as the Einsum touches it."""
    if not use.stationary:
        return ()
    shape = problem.shape(einsum)
    touch = next(t for t in (*shape.inputs, shape.output) if t.tensor == use.stationary)
    return tuple(rank for rank in shape.ranks if rank in touch.spans)


def tile_rows(
    problem: Problem,
    hierarchy: Hierarchy,
    layouts: Sequence[Layout],
    nest: Nest,
    shared: Sequence[Mapping[str, Array]],
) -> list[Array]:
    """Tile of every loop of a nest, given those of each group's shared loops."""
    found = []
    for key in nest.loops:
        given, rank = shared[key.group], key.loop.rank
        if not key.einsum:
            found.append(given[rank])
            continue
        layout = layouts[key.group]
        use = layout.uses[layout.einsums.index(key.einsum)]
        axis = next((axis for axis, spread in use.axes if spread == rank), None)
        extent = np.ones(1) if axis is None else hierarchy.units[use.unit].axes[axis]
        if rank in _stationary_ranks(problem, key.einsum, use):
            found.append(extent if key.loop.axis is None else np.ones(1))
        else:
            chunk = np.minimum(given.get(rank, problem.sizes[rank]), problem.sizes[rank])
            found.append(np.ceil(chunk / extent))
    return found


def useful_places(
    problem: Problem, einsums: Sequence[str], tensor: str, order: Sequence[str], allowed: Sequence[str]
) -> list[str]:
    """Of the allowed places of a tensor, those that another is not at least as good as, whatever the tiles.

    Between loops over its own ranks the innermost place takes least room and moves as much. That holds as long as every
    place is a possible one, and for tensors without a halo or a carried rank; those keep all their places.
    """
    own = problem.ranks_of(tensor)
    if not _plain(problem, einsums, tensor):
        return list(allowed)
    found: dict[int, str] = {}
    foreign = 0
    for place in (WHOLE, *order):
        foreign += place != WHOLE and place not in own
        if place in allowed:
            found[foreign] = place
    return [*(BYPASS for choice in allowed if choice == BYPASS), *found.values()]


def _plain(problem: Problem, einsums: Sequence[str], tensor: str) -> bool:
    """Whether tiles of a tensor never reach beyond themselves."""
    shapes = [problem.shape(name) for name in einsums]
    touches = [t for s in shapes for t in (*s.inputs, s.output) if t.tensor == tensor]
    return all(span == PLAIN for touch in touches for span in touch.spans.values())


def inside(problem: Problem, einsums: Sequence[str], tensor: str) -> bool:
    """Whether a tensor is made and used up within a group."""
    readers = problem.readers(tensor)
    return (
        tensor in einsums and tensor not in problem.outputs and bool(readers) and set(readers) <= set(einsums)
    )


def group_tensors(problem: Problem, einsums: Sequence[str]) -> tuple[str, ...]:
    """Tensors a group touches, in the problem's order."""
    touched = {t for name in einsums for t in (name, *problem.shape(name).operand_names)}
    return tuple(tensor for tensor in problem.tensors if tensor in touched)


def shared_ranks(problem: Problem, einsums: Sequence[str]) -> tuple[str, ...]:
    """Ranks a group may tile together: all of a single Einsum, else those of at least two that nothing has to wait for.

    Nothing that goes over a rank may need what is complete only after the loop over it.
    """
    if len(einsums) == 1:
        return problem.shape(einsums[0]).ranks
    counts = {rank: sum(rank in problem.shape(e).ranks for e in einsums) for rank in problem.sizes}
    return tuple(r for r, count in counts.items() if count >= 2 and not _waits(problem, einsums, r))


def _waits(problem: Problem, einsums: Sequence[str], rank: str) -> bool:
    """Whether an Einsum that goes over a rank reads what another has complete only after all of it."""
    late: set[str] = set()
    before: set[str] | None = None
    while late != before:
        before = set(late)
        for shape in (problem.shape(name) for name in einsums):
            last = any(t.last and t.carried == rank and t.tensor in einsums for t in shape.inputs)
            after = rank not in shape.ranks and late & set(shape.operand_names)
            if rank in shape.reduced or last or after:
                late.add(shape.name)
    return any(rank in problem.shape(e).ranks and late & set(problem.shape(e).operand_names) for e in einsums)


def nest_of(problem: Problem, memory: str, layouts: Sequence[Layout]) -> Nest:
    """The nest of a candidate."""
    return Nest(tuple(layout.group(problem, memory) for layout in layouts))


def accessors(problem: Problem, einsums: Sequence[str], tensor: str) -> tuple[str, ...]:
    """Einsums of a group that make or read a tensor; the one its shared stores are counted for first."""
    return tuple(
        sorted(
            (e for e in einsums if e == tensor or tensor in problem.shape(e).operand_names),
            key=lambda e: (e != tensor, einsums.index(e)),
        )
    )


def alone(problem: Problem, einsums: Sequence[str]) -> Problem:
    """The problem of one group: what it reads from others is an input, what others read of it an output."""
    shapes = tuple(shape for shape in problem.shapes if shape.name in einsums)
    inputs = tuple(t for t in group_tensors(problem, einsums) if t not in einsums)
    ranks = {rank for shape in shapes for rank in shape.ranks}
    return replace(
        problem,
        sizes={rank: size for rank, size in problem.sizes.items() if rank in ranks},
        shapes=shapes,
        inputs=inputs,
        outputs=tuple(e for e in einsums if not inside(problem, einsums, e)),
    )
