"""The pruned search of loop nests against evaluating every candidate, on small random problems and machines."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse.arch.machine import load_machine
from dse.arch.spatial_array import SpatialArray
from dse.mappers.nests.part import NestPart, Setting, axes_of
from dse.mappers.nests.pruned import explore_part
from dse.mappers.search.candidates import Axis, Space, grid
from dse.mappers.search.objective import objective
from dse.mappers.search.pareto import front
from dse.mappers.search.search import Search
from dse.simulator.loop_nest.hierarchy import Hierarchy, hierarchy_of
from dse.simulator.loop_nest.plan import Conventions
from dse.simulator.loop_nest.problem import Problem, problem_of
from dse.workloads.cascade_file import load_cascade
from dse.workloads.load import load_workload

if TYPE_CHECKING:
    from dse.mappers.search.candidates import Measures

FAST, FULL = 12, 325
STRUCTURES, TILES = 64, 128
CASCADES = {
    "matmul": (),
    "attention_elementwise": ("h",),
    "dot_then_scale": (),
    "softmax_unstable": (),
    "linear_attention": (),
    "linear_step": (),
}


def hierarchy(generator: np.random.Generator) -> Hierarchy:
    """A small machine with little of everything."""
    found = hierarchy_of(load_machine("fusemax"))  # type: ignore[arg-type]
    dram, buffer = found.memories

    def some(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([generator.choice(values)])

    small = replace(buffer, capacity_bytes=some(16, 40, 100, 4000), byte_per_cycle=some(2, 8, 64))
    units = {
        name: replace(unit, axes={axis: some(1, 2, 3, 4) for axis in unit.axes})
        for name, unit in found.units.items()
    }
    return replace(found, memories=(replace(dram, byte_per_cycle=some(0.5, 4, 32)), small), units=units)


def problem(generator: np.random.Generator) -> Problem:
    name = str(generator.choice(list(CASCADES)))
    cascade, outer = load_cascade(name), CASCADES[name]
    most = 7 if name == "matmul" else 4
    sizes = {rank: np.array([float(generator.integers(1, most))]) for rank in (*outer, *cascade.ranks)}
    return problem_of(cascade, sizes, outer)


def part(seed: int) -> NestPart:
    """A random way to fuse a random problem on a random machine, with some choices left out."""
    generator = np.random.default_rng(seed)
    asked, machine = problem(generator), hierarchy(generator)
    conventions = Conventions(
        register_reads=generator.choice(["operation", "fill"]),
        bandwidth=generator.choice(["pooled", "ports", "operands"]),
        array_fill=generator.choice(["counted", "ignored"]),
    )
    array = load_machine("fusemax")
    assert isinstance(array, SpatialArray)
    setting = Setting(load_workload("matmul", {"m": 1, "n": 1, "k": 1}), array, asked, machine, conventions)
    names = [shape.name for shape in asked.shapes]
    cuts = [0, *sorted({int(c) for c in generator.integers(0, len(names), 2)} - {0}), len(names)]
    groups = tuple(tuple(names[a:b]) for a, b in itertools.pairwise(cuts))
    axes = list(axes_of(setting, groups, ("1", "2"), "all"))
    structural = NestPart(setting, groups, tuple(axes)).structural
    thin(axes, range(structural), STRUCTURES, generator)
    thin(axes, range(structural, len(axes)), TILES, generator)
    return NestPart(setting, groups, tuple(axes))


def thin(axes: list[Axis], places: range, most: int, generator: np.random.Generator) -> None:
    """Leave choices out, at random, until there are no more than so many combinations."""
    while math.prod(len(axes[place].choices) for place in places) > most:
        place = int(generator.choice([place for place in places if len(axes[place].choices) > 1]))
        choices = axes[place].choices
        fewer = len(choices) - max(1, len(choices) // 3)
        left = generator.choice(len(choices), size=fewer, replace=False)
        axes[place] = Axis(axes[place].name, tuple(choices[i] for i in sorted(left.tolist())))


def rules(seed: int, tried: NestPart) -> tuple[dict[str, str | float], ...]:
    """Up to two forbidden combinations of choices on two axes."""
    generator = np.random.default_rng(seed + 1)
    free = [axis for axis in tried.axes if len(axis.choices) > 1]
    found = []
    for _ in range(int(generator.integers(3)) if len(free) > 1 else 0):
        picked = generator.choice(len(free), size=2, replace=False)
        found.append(
            {free[i].name: free[i].choices[int(generator.integers(len(free[i].choices)))] for i in picked}
        )
    return tuple(found)


def everything(space: Space, tried: NestPart) -> Measures:
    lengths = tuple(len(axis.choices) for axis in tried.axes)
    codes = grid(lengths, 0, math.prod(lengths))
    allowed = codes[space.allowed(tried, codes)]
    assert len(allowed) == space.size
    return tried.measure(allowed)


def rounded(scores: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> list[list[float]]:
    """A Pareto front to nine digits, sorted: sums in another order differ in the last ones."""
    short = np.array([[float(f"{value:.9e}") for value in row] for row in scores]).reshape(scores.shape)
    return sorted(short[front(short)].tolist())


def compare(seed: int) -> int:
    """Whether any candidate fits; if one does, every objective's optimum and front are the same."""
    tried = part(seed)
    space = Space((tried,), rules(seed, tried))
    every = everything(space, tried)
    fits = every.reason == 0
    for name in ("latency", "energy", "edp", "capacity", "pareto", "latency,energy,capacity"):
        wanted = objective(name)
        search = Search(space, wanted)
        explore_part(tried, search)
        if not fits.any():
            assert search.best is None
            continue
        scores = wanted.scores(every)[fits]
        found = search.front if wanted.several else [search.best]
        mine = np.array([candidate.scores for candidate in found if candidate is not None])
        # What lies between two rounded numbers may go either way.
        np.testing.assert_allclose(rounded(mine), rounded(scores), rtol=3e-9, err_msg=f"{seed} {name}")
    return int(fits.any())


@pytest.mark.parametrize("start", range(0, FAST, 4))
def test_pruned_search_equals_unpruned_enumeration(start: int) -> None:
    assert sum(compare(seed) for seed in range(start, start + 4)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("start", range(FAST, FAST + FULL, 25))
def test_pruned_search_equals_unpruned_enumeration_of_many(start: int) -> None:
    assert sum(compare(seed) for seed in range(start, start + 25)) > 10
