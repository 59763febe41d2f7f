"""Loop nests as structure: which loops, in which order, and where among them each tensor is stored.

A nest is one group of Einsums after another. A group has loops that all its Einsums share (fusion) and a branch of
loops for each Einsum. The position of a `Keep` among the loops says what is stored and how often it is fetched: again
at every iteration of every loop above it. What has no `Keep` lives in the outermost memory. Tile sizes are not here:
they are arrays, one row for each loop, so that all candidates of one structure are counted at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

from dse.simulator.loop_nest.hierarchy import REGISTERS

__all__ = ["REGISTERS", "Branch", "Group", "Keep", "Loop", "LoopKey", "Nest", "NestNode"]


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop over tiles of a rank; with ``axis`` they are side by side on that axis of the branch's unit."""

    rank: str
    axis: str | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """Storage of a tensor's tile at this place of the nest, in a memory or in ``registers`` of each element."""

    tensor: str
    memory: str


NestNode: TypeAlias = Loop | Keep


@dataclass(frozen=True)
class Branch:
    """The loops and stores of one Einsum, outermost first, on the unit that computes it."""

    einsum: str
    unit: str
    nodes: tuple[NestNode, ...] = ()


@dataclass(frozen=True)
class Group:
    """Einsums fused under shared loops; without shared nodes and with one branch, an Einsum alone."""

    shared: tuple[NestNode, ...]
    branches: tuple[Branch, ...]

    @property
    def einsums(self) -> tuple[str, ...]:
        """Einsums of the group, in order."""
        return tuple(branch.einsum for branch in self.branches)

    def nodes(self, einsum: str) -> tuple[NestNode, ...]:
        """All nodes around an Einsum's points, outermost first; ``""`` stands for the shared ones alone."""
        return self.shared + next((b.nodes for b in self.branches if b.einsum == einsum), ())


class LoopKey(NamedTuple):
    """Where a loop stands: its group, the Einsum of its branch (empty: shared), its place among those nodes."""

    group: int
    einsum: str
    position: int
    loop: Loop


@dataclass(frozen=True)
class Nest:
    """Groups that run one after another; row i of an array of tiles belongs to ``loops[i]``."""

    groups: tuple[Group, ...]

    @cached_property
    def loops(self) -> tuple[LoopKey, ...]:
        """Loops in the order of the rows of an array of tile sizes: of each group the shared ones, then by branch."""
        return tuple(
            LoopKey(number, einsum, position, node)
            for number, group in enumerate(self.groups)
            for einsum, nodes in (("", group.shared), *((b.einsum, b.nodes) for b in group.branches))
            for position, node in enumerate(nodes)
            if isinstance(node, Loop)
        )

    @cached_property
    def rows(self) -> dict[tuple[int, str, int], int]:
        """(group, Einsum or empty, position) → row."""
        return {(key.group, key.einsum, key.position): row for row, key in enumerate(self.loops)}

    def rows_of(self, rank: str) -> tuple[int, ...]:
        """Rows of the loops over one rank."""
        return tuple(row for row, key in enumerate(self.loops) if key.loop.rank == rank)
