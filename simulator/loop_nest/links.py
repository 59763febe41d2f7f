"""Words that move between the stores of a tensor, as terms: one link for each store and the one that encloses it.

Going in: a tile is read from the outer store at every iteration above the inner one; along an axis that multicasts, one
read serves all elements whose tile is the same. Coming out: a tile is written back at the end of every iteration above
its store; along an axis that reduces, the elements' parts are added up on the way. Of sums that go on, the part so far
is read first, except at the first visit; sums in registers start from zero, and the part so far is added on their way
out. Registers of an element take part in every operation.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from dse.simulator.loop_nest.chains import POINT
from dse.simulator.loop_nest.nest import REGISTERS
from dse.simulator.loop_nest.problem import BASE, PLAIN, Span, Touch
from dse.simulator.loop_nest.sites import SHARED, Sites
from dse.simulator.loop_nest.terms import Factor, TermTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.simulator.loop_nest.hierarchy import ArrayUnit
    from dse.simulator.loop_nest.problem import Shape

COMPUTE = "compute"


@dataclass(frozen=True, slots=True)
class Move:
    """Words of a tensor read or written at a memory: term ``words``, or ``words`` × (``visits`` - 1) where sums go on.

    ``owner`` is the branch whose loops decide it, empty for the shared ones; ``einsum`` is the one it is done for.
    """

    owner: str
    memory: str
    einsum: str
    tensor: str
    action: Literal["read", "write"]
    words: int
    visits: int | None = None


@dataclass(frozen=True)
class Ends:
    """A store and the one inside it: memories and node indices; the innermost end is the compute unit itself."""

    outer: str
    outer_index: int
    inner: str
    inner_index: int


@dataclass
class Links:
    """Moves of one group."""

    sites: Sites
    units: Mapping[str, ArrayUnit]
    table: TermTable
    outermost: str
    register_reads: str

    def moves(self) -> list[Move]:
        """All moves: of shared stores first, then branch by branch."""
        found: list[Move] = []
        group = self.sites.group
        tensors = dict.fromkeys(
            name for e in group.einsums for name in (*self.sites.problem.shape(e).operand_names, e)
        )
        for tensor in tensors:
            found += self._shared(tensor)
        for branch in group.branches:
            shape = self.sites.problem.shape(branch.einsum)
            for touch in shape.inputs:
                for ends in self._chain(branch.einsum, touch.tensor):
                    found += self._input(branch.einsum, branch.einsum, touch, ends)
            for ends in self._chain(branch.einsum, shape.name):
                found += self._output(branch.einsum, shape, ends)
        return found

    def _chain(self, einsum: str, tensor: str) -> list[Ends]:
        """Stores of a tensor from the innermost shared one, or the outermost memory, down to the compute unit."""
        shared = self.sites.keeps(SHARED, tensor)
        own = self.sites.keeps(einsum, tensor)[len(shared) :]
        index, memory = shared[-1] if shared else (-1, self.outermost)
        stores = [(memory, index), *((m, i) for i, m in own), (COMPUTE, len(self.sites.group.nodes(einsum)))]
        return [Ends(*outer, *inner) for outer, inner in pairwise(stores)]

    def _shared(self, tensor: str) -> list[Move]:
        """Links of the shared stores of a tensor, for its maker or else its first reader."""
        keeps = [(memory, index) for index, memory in self.sites.keeps(SHARED, tensor)]
        stores = keeps if self.sites.inside(tensor) else [(self.outermost, -1), *keeps]
        problem, found = self.sites.problem, list[Move]()
        for outer, inner in pairwise(stores):
            ends = Ends(*outer, *inner)
            if tensor in self.sites.group.einsums:
                found += self._output(SHARED, problem.shape(tensor), ends) + self._resumed(tensor, ends)
            else:
                found += self._input(SHARED, self.sites.accessors(tensor)[0], self.union(tensor), ends)
        return found

    def _resumed(self, tensor: str, ends: Ends) -> list[Move]:
        """The previous step of a carried tensor comes into a store that opens at every few steps."""
        problem = self.sites.problem
        for name in self.sites.accessors(tensor):
            for touch in problem.shape(name).inputs:
                if touch.tensor == tensor and touch.resumes:
                    base = Touch(tensor, {**touch.spans, touch.carried: BASE}, touch.carried)
                    return self._input(SHARED, name, base, ends)
        return []

    def union(self, tensor: str) -> Touch:
        """What all Einsums of the group touch of a tensor together."""
        problem = self.sites.problem
        shapes = [problem.shape(name) for name in self.sites.accessors(tensor)]
        touches = [t for s in shapes for t in (*s.inputs, s.output) if t.tensor == tensor]
        widest = max(touches, key=lambda touch: len(touch.spans))
        spans: dict[str, Span] = {}
        for rank in widest.spans:
            kinds = {touch.spans[rank] for touch in touches if rank in touch.spans}
            whole = {kind for kind in kinds if kind.whole}
            each = max((kind.each for kind in kinds), default=0.0)
            old = any(kind.once for kind in kinds)
            spans[rank] = (
                next(iter(kinds)) if len(kinds) == 1 else Span(1.0, max(each, 1.0 * old), -1.0 * old)
            )
            assert whole or len(kinds) == 1
        return Touch(tensor, spans, widest.carried)

    def _input(self, owner: str, einsum: str, touch: Touch, ends: Ends) -> list[Move]:
        outside = self._words(owner, einsum, touch, ends, "multicast")
        inside = self._words(owner, einsum, touch, ends, "")
        if ends.inner == COMPUTE:
            if ends.outer == REGISTERS and self.register_reads == "fill":
                filled = Ends("", -1, REGISTERS, ends.outer_index)
                outside = self._words(owner, einsum, touch, filled, "")
            return [Move(owner, ends.outer, einsum, touch.tensor, "read", outside)]
        return [
            Move(owner, ends.outer, einsum, touch.tensor, "read", outside),
            Move(owner, ends.inner, einsum, touch.tensor, "write", inside),
        ]

    def _output(self, owner: str, shape: Shape, ends: Ends) -> list[Move]:
        einsum, tensor = shape.name, shape.name
        out = self._words(owner, einsum, shape.output, ends, "reduce")
        parts = self._words(owner, einsum, shape.output, ends, "")
        once, visits = self._elements(shape), self._visits(owner, shape, ends)
        writes = [Move(owner, ends.outer, einsum, tensor, "write", out)]
        summed = bool(shape.reduced)
        if ends.inner == COMPUTE:
            if ends.outer == REGISTERS:
                reads = [Move(owner, REGISTERS, einsum, tensor, "read", out)] if summed else []
            else:
                reads = [Move(owner, ends.outer, einsum, tensor, "read", once, visits)] if summed else []
            return reads + writes
        resumed = [Move(owner, ends.outer, einsum, tensor, "read", once, visits)]
        if ends.inner != REGISTERS:
            resumed.append(Move(owner, ends.inner, einsum, tensor, "write", once, visits))
        drained = Move(owner, ends.inner, einsum, tensor, "read", parts)
        return [*(resumed if summed else []), drained, *writes]

    def _words(self, owner: str, einsum: str, touch: Touch, ends: Ends, shared_by: str) -> int:
        """Term of the words that pass a link; ``shared_by`` says what an axis may do for all its elements at once."""
        locked = (ends.outer_index, self._axes(einsum, shared_by))
        factors: dict[str, Factor] = {}
        for rank in self.sites.ranks(einsum):
            span = touch.spans.get(rank)
            if span is None:
                factors[rank] = Factor(
                    "span", self._steps(owner, einsum, rank, ends, locked, touch), each=1.0
                )
            elif span == PLAIN:
                factors[rank] = Factor("span", whole=1.0)
            else:
                chain = self._steps(owner, einsum, rank, ends, (ends.outer_index, frozenset()), touch)
                factors[rank] = Factor(
                    "span", chain if span.each else (), 0, span.whole, span.each, span.once
                )
        return self.table.add(f"{einsum} {touch.tensor} {ends.outer}>{ends.inner}", factors)

    def _steps(
        self, owner: str, einsum: str, rank: str, ends: Ends, locked: tuple[int, frozenset[str]], touch: Touch
    ) -> tuple[tuple[int, bool], ...]:
        """Loops over a rank above the inner end, and the steps through what is left if that is the compute unit."""
        if owner == SHARED:
            who = self.sites.accessors(touch.tensor) if touch.tensor != einsum else (einsum,)
            return max((self.sites.chain(name, rank, ends.inner_index) for name in who), key=len)
        chain = self.sites.chain(einsum, rank, ends.inner_index, locked)
        own = rank in self.sites.problem.shape(einsum).ranks
        return (*chain, (POINT, False)) if own and ends.inner == COMPUTE else chain

    def _axes(self, einsum: str, ability: str) -> frozenset[str]:
        """Axes of an Einsum's unit that multicast or reduce; empty for neither."""
        unit = next(b.unit for b in self.sites.group.branches if b.einsum == einsum)
        able = {"multicast": self.units[unit].multicast, "reduce": self.units[unit].reduces}.get(ability, {})
        return frozenset(axis for axis, has in able.items() if has)

    def _elements(self, shape: Shape) -> int:
        """Term of an output's elements, with those made again."""
        factors = {rank: Factor("span", whole=1.0) for rank in shape.output.spans}
        return self.table.add(f"{shape.name} elements", factors | self._again(shape))

    def _again(self, shape: Shape) -> dict[str, Factor]:
        missing = [rank for rank in self.sites.shared_ranks if rank not in shape.ranks]
        below = len(self.sites.group.shared)
        return {rank: Factor("span", self.sites.chain(shape.name, rank, below), each=1.0) for rank in missing}

    def _visits(self, owner: str, shape: Shape, ends: Ends) -> int:
        """Term of how often each element is visited, over the ranks that are summed."""
        locked = (ends.outer_index, self._axes(shape.name, "reduce"))
        factors = {
            rank: Factor("span", self._steps(owner, shape.name, rank, ends, locked, shape.output), each=1.0)
            for rank in shape.reduced
        }
        return self.table.add(f"{shape.name} visits {ends.outer}>{ends.inner}", factors)
