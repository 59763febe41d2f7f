"""One attention problem on one spatial array: rank sizes, tiles, visited tile pairs, and what each Einsum does.

Modelled: ceilings at array edges, packing of a query group that shares keys into one rank, causal masks that skip
whole tiles. Not modelled: gaps inside a tile; a masked half of a tile is executed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import MappingError, Problem, nearest
from dse.simulator.arrays import ONE, Array, ceil_div, product
from dse.simulator.spatial_array.causal import visited

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Mapping as Dict

    from dse.arch.spatial_array import ComputeUnit, Operation, SpatialArray
    from dse.simulator.mapping import Mapping
    from dse.simulator.spatial_array.mapping import File
    from dse.workloads.cascade import Access, Cascade, Einsum
    from dse.workloads.workload import Workload

UNIT_OPERATION = {"multiply": "mac"}


@dataclass(frozen=True)
class Problem2D:
    """Everything the lowering asks about: all arrays over design points.

    ``m`` stands for keys and ``p`` for queries (of all heads that share them); a cascade may split m into m1 tiles
    of m0 keys.
    """

    workload: Workload
    machine: SpatialArray
    mapping: Mapping[File]
    cascade: Cascade

    @cached_property
    def sizes(self) -> Dict[str, Array]:
        """Rank → size, for one batch element and one key head."""
        given = self.workload.sizes
        queries = product(given["g"], given["p"])
        sizes = {"e": given["e"], "f": given["f"], "m": given["m"], "p": queries}
        if "m1" in self.cascade.ranks:
            tiles = ceil_div(given["m"], self.tile("m0"))
            sizes |= {"m1": tiles, "m0": given["m"] / tiles}
        return sizes

    @cached_property
    def instances(self) -> Array:
        """Independent problems: batch × key heads."""
        return product(self.workload.sizes["b"], self.workload.sizes["h"])

    @property
    def heights(self) -> Array:
        """Array heights in a tile of keys: an element works on that many keys, one after another."""
        return np.maximum(self.mapping.numbers["heights"], ONE)

    def tile(self, rank: str) -> Array:
        """Largest extent of an array axis that unrolls this rank, of keys all heights of a tile; 1 if none does."""
        found = ONE
        for einsum in self.cascade.einsums:
            for axis, spatial in self.mapping.file.spatial_of(einsum.name).items():
                if spatial == rank:
                    found = np.maximum(found, self.unit(einsum.name).axes[axis])
        return product(found, self.heights) if rank == "m0" else found

    @property
    def key_tile(self) -> Array:
        """Keys in a tile."""
        return self.tile("m0" if "m1" in self.cascade.ranks else "m")

    @property
    def window_ranks(self) -> tuple[str, ...]:
        """Ranks whose tiles are in flight."""
        window = self.mapping.file.window
        return () if window is None else tuple(window.ranks)

    @property
    def mapping_einsums(self) -> frozenset[str]:
        """Einsums of the cascade."""
        return frozenset(einsum.name for einsum in self.cascade.einsums)

    @cached_property
    def tiles(self) -> Dict[str, Array]:
        """Tiles of keys (m) and of queries (p)."""
        return {
            "m": ceil_div(self.workload.sizes["m"], self.key_tile),
            "p": ceil_div(self.sizes["p"], self.tile("p")),
        }

    @cached_property
    def visited(self) -> Array:
        """Pairs of a key tile and a query tile that are computed, per instance."""
        dense = product(self.tiles["m"], self.tiles["p"])
        if not self.workload.causal:
            return dense
        sizes = self.workload.sizes
        points = np.broadcast_arrays(sizes["g"], sizes["p"], sizes["m"], self.key_tile, self.tile("p"))
        unique, inverse = np.unique(np.stack(points, axis=1), axis=0, return_inverse=True)
        counts = np.array([visited(*row) for row in unique])
        found: Array = np.minimum(counts[inverse.reshape(-1)], dense)
        return found

    @cached_property
    def density(self) -> Array:
        """Visited share of all pairs of tiles."""
        return self.visited / product(self.tiles["m"], self.tiles["p"])

    def unit(self, einsum: str) -> ComputeUnit:
        """Compute unit an Einsum is bound to."""
        name = self.mapping.file.unit_of(einsum)
        if name not in self.machine.units:
            raise MappingError(
                Problem(
                    f"{self.machine.name} has no unit '{name}'{nearest(name, self.machine.units)}",
                    path="binding",
                )
            )
        return self.machine.units[name]

    def extents(self, einsum: str) -> Dict[str, Array]:
        """Rank → extent of the array axis that unrolls it."""
        unit = self.unit(einsum)
        found: dict[str, Array] = {}
        for axis, rank in self.mapping.file.spatial_of(einsum).items():
            if axis not in unit.axes:
                raise MappingError(
                    Problem(
                        f"{unit.name} has no axis '{axis}'{nearest(axis, unit.axes)}",
                        path=f"spatial.{einsum}",
                    )
                )
            found[rank] = unit.axes[axis]
        return found

    def points(self, ranks: Iterable[str]) -> Array:
        """Points of an iteration space in visited tiles, per instance."""
        ranks = tuple(ranks)
        return product(*(self.sizes[rank] for rank in ranks), self._share(ranks))

    def useful(self, ranks: Iterable[str]) -> Array:
        """Points of an iteration space a mask leaves, all instances."""
        ranks, share = tuple(ranks), ONE
        if self.spans(ranks):
            share = self.workload.useful_pairs / (self.workload.sizes["p"] * self.workload.sizes["m"])
        return product(*(self.sizes[rank] for rank in ranks), share, self.instances)

    def unrolled(self, einsum: Einsum) -> Array:
        """Elements an Einsum's spatial ranks are unrolled over."""
        return product(*self.extents(einsum.name).values())

    def steps(self, einsum: Einsum, ranks: Iterable[str]) -> Array:
        """Temporal steps over ``ranks`` of an Einsum, its spatial ranks unrolled, per instance."""
        ranks, extents = tuple(ranks), self.extents(einsum.name)
        counts = (ceil_div(self.sizes[r], extents[r]) if r in extents else self.sizes[r] for r in ranks)
        return product(*counts, self._share(ranks))

    def _share(self, ranks: tuple[str, ...]) -> Array:
        """Visited share, for spaces that span keys and queries."""
        return self.density if self.spans(ranks) else ONE

    @staticmethod
    def spans(ranks: Iterable[str]) -> bool:
        """Whether a space holds pairs of a query and a key."""
        return "p" in ranks and bool({"m", "m1"} & set(ranks))

    def operations(self, einsum: Einsum) -> list[tuple[Operation, tuple[str, ...]]]:
        """Unit operations of an Einsum with the ranks each runs over; a product that is summed is one mac."""
        unit = self.unit(einsum.name)
        listed = [(operation.operator, operation.ranks) for operation in einsum.operations]
        for pair in [("multiply", ranks) for name, ranks in listed if name == "add"]:
            if pair in listed and "mac" in unit.operations:
                listed.remove(pair)
                listed[listed.index(("add", pair[1]))] = ("mac", pair[1])
        found = []
        for operator, ranks in listed:
            name = operator if operator in unit.operations else UNIT_OPERATION.get(operator, operator)
            if name not in unit.operations:
                has = ", ".join(unit.operations)
                raise MappingError(
                    Problem(
                        f"{unit.name} has no operation '{name}', which Einsum {einsum.name} needs; it has {has}"
                    )
                )
            found.append((unit.operations[name], ranks))
        return found

    def busy(self, einsum: Einsum) -> Array:
        """Cycles an Einsum holds its unit, per instance."""
        operations = self.operations(einsum)
        absorbed = {name for operation, _ in operations for name in operation.absorbs}
        total = np.zeros(1)
        for operation, ranks in operations:
            if operation.name not in absorbed:
                total = total + product(operation.busy_cycles, self.steps(einsum, ranks))
        return total

    def occupied(self, einsum: Einsum) -> Array:
        """Element-cycles an Einsum uses: its busy cycles without the idle elements at array edges, per instance."""
        operations = self.operations(einsum)
        absorbed = {name for operation, _ in operations for name in operation.absorbs}
        total = np.zeros(1)
        for operation, ranks in operations:
            if operation.name not in absorbed:
                total = total + product(operation.busy_cycles, self.points(ranks))
        return total

    def latency(self, einsum: Einsum) -> Array:
        """Cycles until a result that was reduced along an array axis has rippled to its edge."""
        extents = self.extents(einsum.name)
        unit = self.unit(einsum.name)
        along = [extents[rank] for rank in einsum.reduced if rank in extents and len(unit.axes) > 1]
        return product(*along) if along else np.zeros(1)

    def partial_visits(self, einsum: Einsum) -> Array:
        """Times each output element is added to: tiles of the ranks reduced along an array axis."""
        extents = self.extents(einsum.name)
        return product(*(ceil_div(self.sizes[r], extents[r]) for r in einsum.reduced if r in extents))

    def is_stationary(self, einsum: Einsum, operand: Access) -> bool:
        """Whether an operand stays in the array while others stream past: all its ranks are unrolled."""
        return set(operand.ranks) <= set(self.extents(einsum.name))
