"""Exhaustive search: every candidate of a space is evaluated, or shown not to matter.

``explore`` serves any objective on one problem. ``choose`` serves sweeps: all options on all points and blocks at once,
for latency, then energy, then the order of the space, so that the result does not depend on chance.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from dse.mappers.nests.part import NestPart
from dse.mappers.nests.pruned import explore_part
from dse.mappers.search.candidates import grid
from dse.mappers.search.each import chooser
from dse.mappers.search.search import BATCH
from dse.mappers.space import SpaceFile, blocks, combinations, has_space, load_space
from dse.simulator.evaluate import evaluate
from dse.simulator.loop_nest.mapping import KIND
from dse.simulator.lowering import lower
from dse.simulator.stack import take

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.arch.spatial_array import SpatialArray
    from dse.mappers.search.search import Search
    from dse.simulator.arrays import Array
    from dse.simulator.mapping import Mapping
    from dse.workloads.workload import Workload


def explore(search: Search) -> None:
    """Try every candidate, in the order of the space; of loop nests those that no argument excludes."""
    for part in search.space.parts:
        if isinstance(part, NestPart):
            explore_part(part, search)
            continue
        lengths = tuple(len(axis.choices) for axis in part.axes)
        total = math.prod(lengths)
        for start in range(0, total, BATCH):
            codes = grid(lengths, start, min(start + BATCH, total))
            search.measure(part, codes[search.space.allowed(part, codes)])


def choose(
    workload: Workload, machine: SpatialArray, mapping: Mapping, accounting: str, size: int
) -> list[Mapping]:
    """The best mapping of each design point; the mapping itself where it has no space."""
    if mapping.file.kind == KIND:
        return chooser(explore, None)(workload, machine, mapping, accounting, size)
    if not has_space(mapping) or not workload.sizes:
        return [mapping] * size
    if "block" not in mapping.numbers:
        return chooser(explore, None)(workload, machine, mapping, accounting, size)
    space = load_space(mapping.name)
    if not _plain(space, mapping):
        return chooser(explore, None)(workload, machine, mapping, accounting, size)
    owner, block = _candidates(space, workload, machine, size)
    many_workloads, many_machines = take(workload, owner), take(machine, owner)
    best = _Best(size)
    options = _combinations(space.mapping)
    for number, option in enumerate(options):
        cycles, joules = _cost(many_workloads, many_machines, option.with_numbers(block=block), accounting)
        best.offer(number, owner, block, cycles, joules)
    chosen = zip(best.option, best.block, strict=True)
    return [mapping if o < 0 else options[o].with_numbers(block=np.array([b])) for o, b in chosen]


class _Best:
    """The best candidate of each point so far; of equals the first offered."""

    def __init__(self, size: int) -> None:
        self.cycles, self.joules = np.full(size, np.inf), np.full(size, np.inf)
        self.option, self.block = np.full(size, -1, dtype=np.int64), np.zeros(size)

    def offer(self, option: int, owner: NDArray[np.intp], block: Array, cycles: Array, joules: Array) -> None:
        """Candidates of one option, those of a point together; NaN is infeasible, unknown joules count as most."""
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        cost = np.where(np.isnan(cycles), np.inf, cycles)
        least = np.minimum.reduceat(cost, starts)
        energy = np.where(
            cost == least[owner], np.where(np.isnan(joules), np.finfo(float).max, joules), np.inf
        )
        lowest = np.minimum.reduceat(energy, starts)
        places = np.where(energy == lowest[owner], np.arange(len(owner)), len(owner))
        first = np.minimum.reduceat(places, starts)
        better = (least < self.cycles) | (
            np.isfinite(least) & (least == self.cycles) & (lowest < self.joules)
        )
        self.cycles, self.joules = np.where(better, least, self.cycles), np.where(better, lowest, self.joules)
        self.option = np.where(better, option, self.option)
        self.block = np.where(better, block[first], self.block)


def _plain(space: SpaceFile, mapping: Mapping) -> bool:
    """Whether a space varies options and blocks of the mapping itself and nothing else."""
    more = (space.numbers, space.cascades, space.alternatives, space.fix, space.forbid, space.range)
    return space.mapping == mapping.name and not any(more)


@cache
def _combinations(name: str) -> tuple[Mapping, ...]:
    return tuple(combinations(load_space(name)))


def _candidates(
    space: SpaceFile, workload: Workload, machine: SpatialArray, size: int
) -> tuple[NDArray[np.intp], Array]:
    """Point index and block of every candidate."""
    tile = machine.units["array_1d"].axes["lanes"]
    queries = np.broadcast_to(workload.sizes["p"] * workload.sizes["g"], (size,))
    tiles = np.broadcast_to(tile, (size,))
    each = [blocks(space, float(tiles[point]), float(queries[point])) for point in range(size)]
    owner = np.repeat(np.arange(size, dtype=np.intp), [len(found) for found in each])
    return owner, np.concatenate(each)


def _cost(
    workload: Workload, machine: SpatialArray, mapping: Mapping, accounting: str
) -> tuple[Array, Array]:
    """Cycles and joules of every candidate."""
    evaluation = evaluate(lower(workload, machine, mapping, accounting).program)
    shape = mapping.numbers["block"].shape
    return np.broadcast_to(evaluation.cycles, shape), np.broadcast_to(evaluation.joules, shape)
