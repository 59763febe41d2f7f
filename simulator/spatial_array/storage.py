"""What moves: blocks of queries that fit the global buffer, DRAM traffic, buffer accesses, per Einsum and tensor.

Modelled: footprints with copies, the largest block (or the largest equal blocks), re-fetches, partial sums with the
first read left out, spilling of what does not fit as a fraction of every buffered tensor.
Not modelled: bank conflicts, and DRAM rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ONE, ZERO, Array, ceil_div, product
from dse.simulator.program import Constraint

if TYPE_CHECKING:
    from dse.simulator.spatial_array.mapping import StorageFile
    from dse.simulator.spatial_array.problem import Problem2D
    from dse.workloads.cascade import Access, Einsum

LEVERS = ("a larger memories.global_buffer.capacity", "a smaller array", "a narrower precision")
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Move:
    """Words of one tensor that one Einsum moves at one memory, per instance."""

    memory: str
    einsum: str
    tensor: str
    action: str
    words: Array


@dataclass(frozen=True)
class Storage:
    """Storage decisions of one problem; ``equal_blocks`` cuts blocks that divide the query tiles."""

    problem: Problem2D
    equal_blocks: bool = False
    block_capacity_bytes: float | None = None

    @cached_property
    def value_bytes(self) -> Array:
        """Bytes of one word."""
        return self.problem.workload.value_bytes

    @cached_property
    def capacity_bytes(self) -> Array:
        """Room that blocks are cut for."""
        if self.block_capacity_bytes is not None:
            return np.array([self.block_capacity_bytes])
        return self.problem.machine.memories["global_buffer"].capacity_bytes

    def _footprint(self, block: Array) -> Array:
        """Bytes the buffer holds for blocks of ``block`` queries."""
        total = ZERO
        for tensor, entry in self.problem.mapping.file.storage.items():
            if entry.held:
                total = total + self._kept(tensor, entry, block)
        return total

    def _kept(self, tensor: str, entry: StorageFile, block: Array) -> Array:
        sizes = []
        for rank in self.problem.cascade.tensors[tensor]:
            extent = entry.keep.get(rank, "all")
            whole = self.problem.sizes[rank]
            tile = np.minimum(self.problem.tile(rank), whole)
            sizes.append({"all": whole, "tile": tile, "block": block}[extent])
        return product(*sizes, float(entry.copies), self.value_bytes)

    @cached_property
    def block(self) -> Array:
        """Queries in a block: as the mapping says, or the most that fit, in whole tiles and at least one."""
        tile, tiles, given = (
            self.problem.tile("p"),
            self.problem.tiles["p"],
            self.problem.mapping.numbers["block"],
        )
        if bool(np.all(given > 0)):
            return np.minimum(given, product(tile, tiles))
        fixed = self._footprint(ZERO)
        each = self._footprint(tile) - fixed
        fitting = np.floor(np.maximum(self.capacity_bytes - fixed, 0.0) / np.maximum(each, 1.0))
        count = np.minimum(np.maximum(fitting, 1.0), tiles)
        return product(tile, _divisor(tiles, count) if self.equal_blocks else count)

    @cached_property
    def blocks(self) -> Array:
        """Blocks of queries."""
        return ceil_div(product(self.problem.tiles["p"], self.problem.tile("p")), self.block)

    @cached_property
    def demand_bytes(self) -> Array:
        """Bytes the chosen block needs in the buffer."""
        return self._footprint(self.block)

    @cached_property
    def spilled(self) -> Array:
        """Fraction of the buffered data that does not fit; 0 unless the mapping spills."""
        if self.problem.mapping.file.overflow != "spill":
            return ZERO
        return np.maximum(0.0, 1.0 - self.capacity_bytes / self.demand_bytes)

    @cached_property
    def constraints(self) -> tuple[Constraint, ...]:
        """A tile that does not fit the buffer makes the point infeasible, unless the mapping spills."""
        if self.problem.mapping.file.overflow == "spill":
            return ()
        return (Constraint("global_buffer capacity", self.demand_bytes, self.capacity_bytes, "B", LEVERS),)

    def entry(self, tensor: str) -> StorageFile | None:
        """What the buffer does with a tensor."""
        return self.problem.mapping.file.storage.get(tensor)

    def fetches(self, einsum: Einsum, operand: Access) -> Array:
        """Times an input is fetched from DRAM in whole."""
        entry = self.entry(operand.tensor)
        if entry is None or entry.fetch == "stream":
            return self._streamed(einsum, operand)
        kept = self._kept_fetches(entry)
        return (1.0 - self.spilled) * kept + self.spilled * self._streamed(einsum, operand)

    def _kept_fetches(self, entry: StorageFile) -> Array:
        """Times an input that the buffer keeps is fetched into it."""
        return self._seen_by_blocks() if entry.fetch == "block" else ONE

    def _seen_by_blocks(self) -> Array:
        """Times all keys are fetched, once for each block of queries that sees them."""
        if not self.problem.workload.causal:
            return self.blocks
        keys, queries = self.problem.workload.sizes["m"], self.problem.workload.sizes["p"]
        unseen = np.minimum(queries, keys) * (self.blocks - 1.0) / (2.0 * self.blocks) / keys
        return self.blocks * (1.0 - unseen)

    def _streamed(self, einsum: Einsum, operand: Access) -> Array:
        """Times the array asks for all of an operand that is not kept in the buffer."""
        if self.problem.is_stationary(einsum, operand):
            return self._seen_by_blocks()
        extents = self.problem.extents(einsum.name)
        missing = [rank for rank in einsum.ranks if rank not in operand.ranks]
        counts = [ceil_div(self.problem.sizes[r], extents.get(r, ONE)) for r in missing]
        return product(*counts, _share(self.problem, einsum, list(operand.ranks)))

    def moves(self, einsum: Einsum) -> list[Move]:
        """All that one Einsum moves at the buffer and at DRAM."""
        moves: list[Move] = []
        for operand in _distinct(einsum.operands):
            moves += self._operand_moves(einsum, operand)
        return moves + self._output_moves(einsum)

    def _operand_moves(self, einsum: Einsum, operand: Access) -> list[Move]:
        problem, tensor = self.problem, operand.tensor
        entry = self.entry(tensor)
        if entry is None or tensor in problem.mapping.file.forwarded.get(einsum.name, []):
            return []
        moves, words = [], problem.points(operand.ranks)
        if tensor in problem.cascade.inputs:
            moves.append(
                Move("dram", einsum.name, tensor, "read", product(words, self.fetches(einsum, operand)))
            )
            filled = product(words, self._kept_fetches(entry))
        elif entry.spill and self._first_reader(tensor) == einsum.name:
            moves.append(Move("dram", einsum.name, tensor, "read", words))
            filled = words
        if not entry.buffered:
            return moves
        moves += [Move("global_buffer", einsum.name, tensor, "write", filled)] if moves else []
        return [*moves, Move("global_buffer", einsum.name, tensor, "read", self._reads(einsum, operand))]

    def _reads(self, einsum: Einsum, operand: Access) -> Array:
        """Buffer words an Einsum reads of an operand: one multicast word for all elements that share it."""
        problem, extents = self.problem, self.problem.extents(einsum.name)
        if operand.tensor in problem.mapping.file.held.get(einsum.name, []):
            return problem.points(operand.ranks)
        shared = [r for r in einsum.ranks if r in extents and r not in operand.ranks]
        own = [r for r in einsum.ranks if r not in shared]
        counts = product(*(ceil_div(problem.sizes[r], extents[r]) for r in shared))
        return product(problem.points(own), counts, _share(problem, einsum, own))

    def _output_moves(self, einsum: Einsum) -> list[Move]:
        problem, tensor = self.problem, einsum.name
        entry = self.entry(tensor)
        if entry is None:
            return []
        words, visits = problem.points(einsum.output.ranks), problem.partial_visits(einsum)
        extents = problem.extents(tensor)
        summed = any(rank in extents for rank in einsum.reduced) and not set(einsum.output.ranks) <= set(
            extents
        )
        writes = product(words, visits) if summed else words
        partial = Move("", tensor, tensor, "read", product(words, np.maximum(visits - 1.0, 0.0)))
        moves = []
        if entry.buffered and not entry.spill and (summed or tensor not in problem.cascade.outputs):
            moves.append(Move("global_buffer", tensor, tensor, "write", writes))
            moves += [replace(partial, memory="global_buffer")] if summed else []
        if entry.spill or tensor in problem.cascade.outputs:
            moves.append(Move("dram", tensor, tensor, "write", words if entry.buffered else writes))
            moves += [replace(partial, memory="dram")] if summed and not entry.buffered else []
        return moves

    def spill_moves(self, moves: list[Move]) -> list[Move]:
        """DRAM traffic of the spilled fraction of buffered intermediates that span keys and queries."""
        problem, found = self.problem, []
        if problem.mapping.file.overflow != "spill":
            return []
        for move in moves:
            entry = self.entry(move.tensor)
            kept = move.memory == "global_buffer" and entry is not None and not entry.spill
            if kept and problem.spans(problem.cascade.tensors[move.tensor]):
                found.append(
                    Move("dram", move.einsum, move.tensor, move.action, product(move.words, self.spilled))
                )
        return found

    def _first_reader(self, tensor: str) -> str:
        readers = (e.name for e in self.problem.cascade.einsums if tensor in {o.tensor for o in e.operands})
        return next(readers)


def _share(problem: Problem2D, einsum: Einsum, own: list[str]) -> Array:
    """Visited share of the Einsum where the ranks left after multicast no longer span keys and queries."""
    return problem.density if problem.spans(einsum.ranks) and not problem.spans(own) else ONE


def _distinct(operands: tuple[Access, ...]) -> list[Access]:
    """One access for each tensor: the first, which reads the older value of a carried one."""
    found: dict[str, Access] = {}
    for operand in operands:
        found.setdefault(operand.tensor, operand)
    return list(found.values())


def _divisor(total: Array, most: Array) -> Array:
    """Largest divisor of ``total`` not above ``most``, per point."""
    pairs = np.stack(np.broadcast_arrays(total, most), axis=1)
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    found = [_largest_divisor(int(n), limit) for n, limit in unique]
    return np.array(found, dtype=np.float64)[inverse.reshape(-1)]


def _largest_divisor(number: int, limit: float) -> int:
    """Largest divisor of a number that is at least 1 and at most ``limit``."""
    best, root = 1, math.isqrt(number)
    for start in range(1, root + 1, _CHUNK):
        small = np.arange(start, min(start + _CHUNK, root + 1))
        small = small[number % small == 0]
        both = np.concatenate([small, number // small])
        best = max(best, int(both[both <= limit].max(initial=1)))
    return best
