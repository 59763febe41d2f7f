"""Places in one group of a nest: which loops stand above them, and how often an Einsum is done over.

An Einsum without the rank of a shared loop is done once for all its iterations if what it makes is kept above that
loop, else again at each of them, as long as somebody in the loop needs it. What depends on the whole of the rank is
done after the loop, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dse.simulator.loop_nest.nest import Group, Keep, Loop, Nest

if TYPE_CHECKING:
    from dse.simulator.loop_nest.chains import Chain
    from dse.simulator.loop_nest.problem import Problem

SHARED = ""


@dataclass(frozen=True)
class Sites:
    """One group of a nest, with the problem it computes."""

    problem: Problem
    nest: Nest
    number: int

    @property
    def group(self) -> Group:
        """The group."""
        return self.nest.groups[self.number]

    def row(self, einsum: str, index: int) -> int:
        """Row of the loop at an index of ``nodes(einsum)``."""
        own = index - len(self.group.shared)
        key = (self.number, SHARED, index) if own < 0 else (self.number, einsum, own)
        return self.nest.rows[key]

    def loops(self, einsum: str, rank: str, below: int) -> list[tuple[int, int, Loop]]:
        """(index, row, loop) of the loops over a rank above index ``below``, as an Einsum meets them."""
        found = [
            (index, self.row(einsum, index), node)
            for index, node in enumerate(self.group.nodes(einsum)[:below])
            if isinstance(node, Loop) and node.rank == rank
        ]
        if einsum != SHARED and rank not in self.problem.shape(einsum).ranks:
            return found[: self.repeats[einsum].get(rank, 0)]
        return found

    def chain(
        self, einsum: str, rank: str, below: int, locked: tuple[int, frozenset[str]] | None = None
    ) -> Chain:
        """Loops over a rank above index ``below``.

        ``locked`` is an index and axes: of spatial loops from there on along those axes only the first element counts.
        """
        return tuple(
            (row, locked is not None and index >= locked[0] and loop.axis in locked[1])
            for index, row, loop in self.loops(einsum, rank, below)
        )

    @cached_property
    def shared_ranks(self) -> tuple[str, ...]:
        """Ranks of the shared loops."""
        return tuple(dict.fromkeys(n.rank for n in self.group.shared if isinstance(n, Loop)))

    def ranks(self, einsum: str) -> tuple[str, ...]:
        """Ranks an Einsum's counts can depend on: its own, then those of shared loops."""
        return tuple(dict.fromkeys((*self.problem.shape(einsum).ranks, *self.shared_ranks)))

    def keeps(self, einsum: str, tensor: str) -> list[tuple[int, str]]:
        """(index, memory) of a tensor's stores around an Einsum; of the shared ones alone for ``""``."""
        return [
            (index, node.memory)
            for index, node in enumerate(self.group.nodes(einsum))
            if isinstance(node, Keep) and node.tensor == tensor
        ]

    def spread(self, einsum: str, ranks: tuple[str, ...]) -> frozenset[tuple[str, str]]:
        """Which of these ranks an Einsum runs side by side, on which axes."""
        nodes = self.group.nodes(einsum)
        return frozenset(
            (n.rank, n.axis) for n in nodes if isinstance(n, Loop) and n.axis and n.rank in ranks
        )

    def accessors(self, tensor: str) -> tuple[str, ...]:
        """Einsums of the group that make or read a tensor, in order."""
        shapes = (self.problem.shape(name) for name in self.group.einsums)
        return tuple(s.name for s in shapes if s.name == tensor or tensor in s.operand_names)

    def inside(self, tensor: str) -> bool:
        """Whether a tensor is made here, kept in the shared part, and needed nowhere else."""
        if tensor not in self.group.einsums or not self.keeps(SHARED, tensor):
            return False
        away = set(self.problem.readers(tensor)) - set(self.group.einsums)
        return not away and tensor not in self.problem.outputs

    @cached_property
    def repeats(self) -> dict[str, dict[str, int]]:
        """Einsum → rank it does not have → how many shared loops of it, from outside, redo it at each iteration."""
        found: dict[str, dict[str, int]] = {}
        for branch in reversed(self.group.branches):
            shape = self.problem.shape(branch.einsum)
            mine: dict[str, int] = {}
            for rank in self.shared_ranks:
                if rank not in shape.ranks and self.inside(shape.name):
                    own = self._shared_loops(rank, self.keeps(SHARED, shape.name)[0][0])
                    mine[rank] = min(own, self._needed(shape.name, rank, found))
            found[shape.name] = mine
        return found

    def _shared_loops(self, rank: str, below: int) -> int:
        return sum(isinstance(n, Loop) and n.rank == rank for n in self.group.shared[:below])

    def _needed(self, tensor: str, rank: str, later: dict[str, dict[str, int]]) -> int:
        """Shared loops of a rank at each iteration of which some reader asks for the tensor."""
        counts = [0]
        for name in self.accessors(tensor):
            if name in later and name != tensor:
                iterates = rank in self.problem.shape(name).ranks
                whole = self._shared_loops(rank, len(self.group.shared))
                counts.append(whole if iterates else later[name].get(rank, 0))
        return max(counts)
