"""The reference problem: nests of its known best mappings, as structure and tiles."""

from __future__ import annotations

import numpy as np

from dse.arch.machine import load_machine
from dse.simulator.loop_nest.hierarchy import Hierarchy, hierarchy_of
from dse.simulator.loop_nest.nest import Branch, Group, Keep, Loop, Nest
from dse.simulator.loop_nest.plan import Conventions
from dse.simulator.loop_nest.problem import Problem, problem_of
from dse.workloads.cascade_file import load_cascade

BUFFER = "global_buffer"
PEERS = Conventions(array_fill="ignored")


def machine(name: str) -> Hierarchy:
    """A reference machine."""
    return hierarchy_of(load_machine(name))  # type: ignore[arg-type]


def matmul(size: float = 1024.0) -> Problem:
    """Square matrix product."""
    return problem_of(load_cascade("matmul"), {rank: np.array([size]) for rank in "mnk"})


def attention(heads: float = 16.0, length: float = 4096.0, depth: float = 64.0) -> Problem:
    """Attention with one elementwise operation."""
    sizes = {"h": heads, "m": length, "p": length, "e": depth, "f": depth}
    cascade = load_cascade("attention_elementwise")
    return problem_of(cascade, {rank: np.array([size]) for rank, size in sizes.items()}, ("h",))


def stationary() -> Nest:
    """Weight-stationary product: m, n, k tiles in the buffer, n and k on the array."""
    nodes = (
        Loop("m"),
        Loop("n"),
        Keep("Z", BUFFER),
        Loop("k"),
        Keep("A", BUFFER),
        Loop("n"),
        Loop("n", "columns"),
        Loop("k", "rows"),
        Keep("W", "registers"),
    )
    return Nest((Group((), (Branch("Z", "array_2d", nodes),)),))


def fused(free: bool = False) -> Nest:
    """Attention fused over heads and keys; ``free`` holds scores, not values, in the array."""
    scores = (Loop("m", "columns"), Loop("e", "rows"), Keep("K", "registers"))
    lanes = (Loop("p"), Loop("p", "lanes"))
    values: tuple[Loop | Keep, ...] = (Loop("f", "columns"), Loop("m", "rows"), Keep("V", "registers"))
    if free:
        values = (Loop("p"), Loop("p", "columns"), Loop("m", "rows"), Keep("SM", "registers"))
    shared = (
        Loop("h"),
        Keep("Q", BUFFER),
        Keep("AV", BUFFER),
        Loop("m"),
        Keep("QK", BUFFER),
        Keep("SM", BUFFER),
    )
    branches = (
        Branch("QK", "array_2d", scores),
        Branch("SM", "array_1d", lanes),
        Branch("AV", "array_2d", values),
    )
    return Nest((Group(shared, branches),))


def column(*tiles: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """One candidate."""
    return np.array(tiles, dtype=np.float64).reshape(-1, 1)
