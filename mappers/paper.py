"""The mapping a machine's paper gives: as its file states, or from its table of choices, searched where that ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.mappers.exhaustive import choose as search
from dse.mappers.points import published
from dse.simulator.stack import take

if TYPE_CHECKING:
    from dse.arch.spatial_array import SpatialArray
    from dse.simulator.mapping import Mapping
    from dse.workloads.workload import Workload


def choose(
    workload: Workload, machine: SpatialArray, mapping: Mapping, accounting: str, size: int
) -> list[Mapping]:
    """One mapping for each design point."""
    if not workload.sizes or mapping.points is None:
        return [mapping] * size
    given = published(workload, machine, mapping, size)
    left = [point for point, one in enumerate(given) if one is None]
    rest = take(workload, left), take(machine, left)
    searched = dict(zip(left, search(*rest, mapping, accounting, len(left)) if left else (), strict=True))
    return [searched[point] if one is None else one for point, one in enumerate(given)]
