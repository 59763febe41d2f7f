"""Independent references for the tests of the language: attention by definition, counting by elements."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from dse.workloads.cascade import Access, Call, Cascade, Constant, Einsum, Expression
from dse.workloads.cascade_file import load_cascade
from dse.workloads.numeric import execute
from dse.workloads.operators import OPERATORS
from dse.workloads.sizes import partition_inputs, whole_ranks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.workloads.operators import Array

SOFTMAX = (
    "softmax_unstable",
    "softmax_3pass",
    "softmax_deferred",
    "softmax_2pass",
    "softmax_1pass",
    "softmax_flash",
    "softmax_split_k",
    "softmax_split_flash",
)


GOOD = """\
assumes: [test]
source: test
family: test
title: test
ranks: {e: depth, m: keys, p: queries}
inputs: {Q: [e, p], K: [e, m]}
carried: {R: {rank: m, initial: 0}}
constants: {scale: 2}
einsums:
  - S[m,p] = scale * (Q[e,p] * K[e,m])
  - R[m+1,p] = R[m,p] + S[m,p]
  - Z[p] = R[last,p]
"""


def probabilities(q: Array, k: Array) -> Array:
    """Softmax over keys of scores [m, p], shifted by the maximum."""
    scores = k.T @ q
    weights = np.exp(scores - scores.max(axis=0))
    return np.asarray(weights / weights.sum(axis=0))


def draw(cascade: Cascade, sizes: Mapping[str, int], seed: int, scale: float = 1.0) -> dict[str, Array]:
    """Normal inputs over whole ranks; scale multiplies all of them but V."""
    rng = np.random.default_rng(seed)
    shapes = {
        name: [sizes[rank] for rank in whole_ranks(cascade, ranks)] for name, ranks in cascade.inputs.items()
    }
    return {name: rng.normal(size=shape) * (1.0 if name == "V" else scale) for name, shape in shapes.items()}


def run(
    name: str, sizes: Mapping[str, int], whole: Mapping[str, Array], **constants: float
) -> dict[str, Array]:
    """All tensors of a shipped cascade from whole inputs."""
    cascade = load_cascade(name)
    return execute(cascade, sizes, partition_inputs(cascade, sizes, whole), constants)


class Elementwise:
    """Value of any element of a cascade from its definition alone, on demand and in plain recursion."""

    def __init__(self, cascade: Cascade, sizes: Mapping[str, int], inputs: Mapping[str, Array]) -> None:
        self.cascade = cascade
        self.sizes = sizes
        self.inputs = inputs
        self.known: dict[tuple[str, tuple[int, ...]], float] = {}

    def value(self, tensor: str, coordinates: tuple[int, ...]) -> float:
        """One element; coordinate 0 of a carried rank is the initial value."""
        if tensor in self.inputs:
            return float(self.inputs[tensor][coordinates])
        if (tensor, coordinates) not in self.known:
            self.known[tensor, coordinates] = self._einsum(tensor, coordinates)
        return self.known[tensor, coordinates]

    def _einsum(self, tensor: str, coordinates: tuple[int, ...]) -> float:
        einsum = self.cascade.einsum(tensor)
        point = {}
        for index, coordinate in zip(einsum.output.indices, coordinates, strict=True):
            if coordinate < index.offset:
                return self.cascade.carried[tensor].initial
            point[index.rank] = coordinate - index.offset
        return self._reduced(einsum, len(einsum.reductions), point)

    def _reduced(self, einsum: Einsum, depth: int, point: Mapping[str, int]) -> float:
        if depth == 0:
            return self._expression(einsum.expression, point)
        reduction = einsum.reductions[depth - 1]
        steps = itertools.product(*(range(self.sizes[rank]) for rank in reduction.ranks))
        values = sorted(
            self._reduced(einsum, depth - 1, {**point, **dict(zip(reduction.ranks, step, strict=True))})
            for step in steps
        )
        if reduction.argument:
            return values[-int(reduction.argument.value)]
        return {"add": sum(values), "max": values[-1], "min": values[0]}[reduction.operator]

    def _expression(self, expression: Expression, point: Mapping[str, int]) -> float:
        if isinstance(expression, Constant):
            return expression.value
        if isinstance(expression, Call):
            operands = [self._expression(operand, point) for operand in expression.operands]
            return float(OPERATORS[expression.operator].function(*map(np.float64, operands)))
        at = [self.sizes[i.rank] if i.last else point[i.rank] + i.offset for i in expression.indices]
        return self.value(expression.tensor, tuple(at))


class Counting:
    """Executes one Einsum element by element in plain Python and counts every operator it applies."""

    def __init__(self, einsum: Einsum, sizes: Mapping[str, int]) -> None:
        self.counts: Counter[str] = Counter()
        self.sizes = sizes
        self.seen: set[tuple[int, tuple[int, ...]]] = set()
        self.einsum = einsum
        self.run()

    def run(self) -> None:
        """Visit the iteration space once, then reduce value by value."""
        ranks = list(self.einsum.ranks)
        space = list(itertools.product(*(range(self.sizes[rank]) for rank in ranks)))
        for point in space:
            self.visit(self.einsum.expression, dict(zip(ranks, point, strict=True)))
        values = set(space)
        for reduction in self.einsum.reductions:
            kept = [place for place, rank in enumerate(ranks) if rank not in reduction.ranks]
            self.counts[reduction.operator] += len(values)
            values = {tuple(point[place] for place in kept) for point in values}
            ranks = [ranks[place] for place in kept]

    def visit(self, expression: Expression, point: Mapping[str, int]) -> frozenset[str]:
        """Apply the operators at one point, each once per coordinate of its operands; returns the ranks."""
        if isinstance(expression, Access):
            return frozenset(index.rank for index in expression.indices if not index.last)
        if isinstance(expression, Constant):
            return frozenset()
        assert isinstance(expression, Call)
        ranks = frozenset[str]().union(*(self.visit(operand, point) for operand in expression.operands))
        key = (id(expression), tuple(point[rank] for rank in sorted(ranks)))
        if key not in self.seen:
            self.seen.add(key)
            self.counts[expression.operator] += 1
        return ranks
