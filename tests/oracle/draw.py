"""Random small problems, machines and nests: single Einsums with halos, and cascades cut into fusion groups."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.loop_nest.check import faults
from dse.simulator.loop_nest.hierarchy import ArrayUnit, Hierarchy, Level
from dse.simulator.loop_nest.nest import REGISTERS, Branch, Group, Keep, Loop, Nest, NestNode
from dse.simulator.loop_nest.problem import PLAIN, Problem, Shape, Span, Touch, problem_of
from dse.workloads.cascade_file import load_cascade

if TYPE_CHECKING:
    from random import Random

    from dse.arch.spatial_array import Operation
    from dse.workloads.cascade import Cascade

CASCADES = ("attention_elementwise", "softmax_1pass", "softmax_3pass", "dot_then_scale", "linear_chunk")
OPERATIONS = ("mac",)


class Anything(dict[str, "Operation"]):
    """A unit that can do every operation."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> Operation:
        from dse.arch.spatial_array import Operation

        one = np.ones(1)
        return Operation(key, one, one, one, one, {}, ())


@cache
def cascade(name: str) -> Cascade:
    return load_cascade(name)


def machine(random: Random) -> Hierarchy:
    """Two or three memories, one unit with two axes of any ability."""
    one = np.ones(1)
    names = ["dram", "outer", "inner"] if random.random() < 0.4 else ["dram", "outer"]
    levels = tuple(Level(name, one * 1e9, one, one, one) for name in names)
    abilities = [{axis: random.random() < 0.6 for axis in ("rows", "columns")} for _ in range(2)]
    axes = {"rows": one * 99, "columns": one * 99}
    unit = ArrayUnit("array", axes, abilities[0], abilities[1], one * 1e9, one, one, Anything())
    pool = Level("array.registers", one * 1e9, one * np.inf, one, one)
    return Hierarchy("random", levels, {"array": unit}, one, (pool,))


def single(random: Random) -> Problem:
    """One Einsum of up to four ranks and three operands; inputs may have a halo."""
    ranks = tuple("abcd"[: random.randint(1, 4)])
    output = tuple(r for r in ranks if random.random() < 0.6) or ranks[:1]
    inputs = []
    for number in range(random.randint(1, 3)):
        mine = [r for r in ranks if random.random() < 0.6] or [random.choice(ranks)]
        spans = {
            r: Span(1.0, float(random.randint(1, 2)), 0.0) if random.random() < 0.15 else PLAIN for r in mine
        }
        inputs.append(Touch(f"I{number}", spans))
    missing = [r for r in ranks if not any(r in touch.spans for touch in inputs)]
    inputs[0] = Touch("I0", {**inputs[0].spans, **dict.fromkeys(missing, PLAIN)})
    shape = Shape("Z", ranks, Touch("Z", dict.fromkeys(output, PLAIN)), tuple(inputs))
    sizes = {r: np.array([float(random.randint(1, 6))]) for r in ranks}
    return Problem("random", sizes, (shape,), tuple(t.tensor for t in inputs), ("Z",))


def fused(random: Random) -> Problem:
    """A shipped cascade at small sizes, sometimes with heads."""
    chosen = cascade(random.choice(CASCADES))
    outer = ("h",) if random.random() < 0.3 else ()
    most = 2 if len(chosen.einsums) > 6 else 3
    sizes = {r: np.array([float(random.randint(1, most))]) for r in (*outer, *chosen.ranks)}
    long = random.choice(list(chosen.ranks))
    sizes[long] = np.array([float(random.randint(2, 5))])
    return problem_of(chosen, sizes, outer)


def chain(random: Random) -> Problem:
    """Two to four Einsums of random ranks, each reading what came before it or an input."""
    ranks = "abcd"[: random.randint(2, 4)]
    shapes: list[Shape] = []
    inputs: list[str] = []
    for number in range(random.randint(2, 4)):
        touches = [Touch(f"I{number}", _plain(random, ranks))]
        inputs.append(f"I{number}")
        made = [shape for shape in shapes if random.random() < 0.7]
        touches += [Touch(shape.name, shape.output.spans) for shape in made]
        space = [rank for rank in ranks if any(rank in touch.spans for touch in touches)]
        kept = [rank for rank in space if random.random() < 0.7]
        shapes.append(
            Shape(f"T{number}", tuple(space), Touch(f"T{number}", dict.fromkeys(kept, PLAIN)), tuple(touches))
        )
    read = {touch.tensor for shape in shapes for touch in shape.inputs}
    outputs = tuple(s.name for s in shapes if s.name not in read or random.random() < 0.15)
    sizes = {rank: np.array([float(random.randint(1, 4))]) for rank in ranks}
    return Problem("chain", sizes, tuple(shapes), tuple(inputs), outputs)


def _plain(random: Random, ranks: str) -> dict[str, Span]:
    return dict.fromkeys([rank for rank in ranks if random.random() < 0.6] or [random.choice(ranks)], PLAIN)


def problem(random: Random) -> Problem:
    """One Einsum, a random chain, or a shipped cascade."""
    return random.choice((single, chain, fused))(random)


def nest(random: Random, problem: Problem, hierarchy: Hierarchy) -> tuple[Nest, list[int]]:
    """A nest that passes the checks, with tiles; wilder ones are tried first."""
    for attempt in range(200):
        wildness = 1.0 if attempt < 100 else 0.4
        groups = tuple(_group(random, problem, hierarchy, part, wildness) for part in _cuts(random, problem))
        found = Nest(groups)
        if not faults(problem, hierarchy, found):
            return found, _tiles(random, problem, found)
    names = tuple(shape.name for shape in problem.shapes)
    ranks = _stepped(problem)
    found = Nest((Group(tuple(Loop(rank) for rank in ranks), tuple(Branch(n, "array") for n in names)),))
    return found, [1] * len(found.loops)


def _fed(problem: Problem) -> list[tuple[str, str, str]]:
    return problem.feedback(tuple(shape.name for shape in problem.shapes))


def _stepped(problem: Problem) -> set[str]:
    return {rank for _, _, rank in _fed(problem)}


def _tiles(random: Random, problem: Problem, found: Nest) -> list[int]:
    tiles = [random.randint(1, int(problem.sizes[key.loop.rank][0]) + 1) for key in found.loops]
    steps = _stepped(problem)
    return [
        1 if not key.einsum and key.loop.rank in steps else tile
        for key, tile in zip(found.loops, tiles, strict=True)
    ]


def _cuts(random: Random, problem: Problem) -> list[tuple[Shape, ...]]:
    """Consecutive Einsums fused into groups."""
    found: list[list[Shape]] = [[]]
    for shape in problem.shapes:
        if found[-1] and random.random() < 0.25:
            found.append([])
        found[-1].append(shape)
    return [tuple(part) for part in found]


def _group(
    random: Random, problem: Problem, hierarchy: Hierarchy, part: tuple[Shape, ...], wildness: float
) -> Group:
    alone = len(part) == 1
    ranks = list(dict.fromkeys(rank for shape in part for rank in shape.ranks))
    count = 0 if alone else random.randint(0, 2 + (wildness == 1.0))
    missing = [rank for rank in ranks if any(rank not in shape.ranks for shape in part)]
    if missing and random.random() < 0.4:
        ranks = missing
    loops: list[NestNode] = [Loop(random.choice(ranks)) for _ in range(count)]
    names = {shape.name for shape in part}
    loops += [Loop(rank) for reader, _, rank in _fed(problem) if reader in names]
    tensors = {t for shape in part for t in (*shape.operand_names, shape.name)}
    shared = (
        []
        if alone
        else _with_keeps(
            random, loops, sorted(tensors), (*hierarchy.names[1:], "array.registers"), 0.5 * wildness
        )
    )
    if random.random() < 0.5:  # what is made here is stored innermost: made again for other loops
        shared.sort(key=lambda node: isinstance(node, Keep) and node.tensor in names)
    stored = {node.tensor for node in shared if isinstance(node, Keep)}
    for name in sorted(name for name in names - stored if problem.carried(name) and not alone):
        if random.random() < 0.6:
            shared.insert(0, Keep(name, hierarchy.names[1]))
    kept = {node.tensor: node.memory for node in shared if isinstance(node, Keep)}
    return Group(tuple(shared), tuple(_branch(random, shape, hierarchy, kept, wildness) for shape in part))


def _branch(
    random: Random, shape: Shape, hierarchy: Hierarchy, kept: dict[str, str], wildness: float
) -> Branch:
    memories = hierarchy.names
    kept = {tensor: memory for tensor, memory in kept.items() if memory in memories} | {
        tensor: memories[-1] for tensor, memory in kept.items() if memory not in memories
    }
    above: list[NestNode] = [Loop(random.choice(shape.ranks)) for _ in range(random.randint(0, 3))]
    tensors = sorted({*shape.operand_names, shape.name})
    free = [t for t in tensors if memories.index(kept.get(t, memories[0])) + 1 < len(memories)]
    nodes = above
    for memory in memories[1:]:
        mine = [t for t in free if memories.index(kept.get(t, memories[0])) < memories.index(memory)]
        nodes = _with_keeps(random, nodes, mine, (memory,), 0.35 * wildness)
    axes = [axis for axis in ("rows", "columns") if random.random() < 0.6]
    if random.random() < 0.15:
        axes.append("rows")
    spatial: list[NestNode] = [Loop(random.choice(shape.ranks), axis) for axis in axes]
    inside: list[NestNode] = [Loop(random.choice(shape.ranks)) for _ in range(random.randint(0, 1))]
    below = _with_keeps(random, inside, tensors, (REGISTERS,), 0.3 * wildness)
    return Branch(shape.name, "array", (*nodes, *spatial, *below))


def _with_keeps(
    random: Random, loops: list[NestNode], tensors: list[str], memories: tuple[str, ...], chance: float
) -> list[NestNode]:
    found = list(loops)
    for tensor in tensors:
        if random.random() < chance:
            found.insert(random.randint(0, len(found)), Keep(tensor, random.choice(memories)))
    return found
