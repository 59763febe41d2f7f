"""Loop nests as candidates: axes of one way to fuse a cascade, and the measures of any of its candidates."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import DseError, MappingError
from dse.mappers.nests.structure import (
    BYPASS,
    WHOLE,
    Layout,
    Use,
    group_tensors,
    inside,
    nest_of,
    shared_ranks,
    tile_rows,
)
from dse.mappers.search.candidates import Axis, Measures, joined, rejected
from dse.simulator.loop_nest.hierarchy import operations_of
from dse.simulator.loop_nest.mapping import mapping_of
from dse.simulator.loop_nest.plan import Conventions, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Mapping as Dict

    from dse.arch.machine import Machine
    from dse.arch.spatial_array import SpatialArray
    from dse.mappers.search.candidates import Codes
    from dse.simulator.arrays import Array
    from dse.simulator.loop_nest.costs import Costs
    from dse.simulator.loop_nest.hierarchy import ArrayUnit, Hierarchy
    from dse.simulator.loop_nest.problem import Problem
    from dse.simulator.mapping import Mapping
    from dse.workloads.workload import Workload


@dataclass(frozen=True)
class Setting:
    """What all candidates of a search share."""

    workload: Workload
    machine: SpatialArray
    problem: Problem
    hierarchy: Hierarchy
    conventions: Conventions
    parts: Dict[str, int] = field(default_factory=dict)

    @property
    def memory(self) -> str:
        """The memory that tiles are kept in."""
        return self.hierarchy.names[1]


@dataclass(frozen=True, eq=False)
class NestPart:
    """Candidates that fuse a cascade's Einsums into the same groups."""

    setting: Setting
    groups: tuple[tuple[str, ...], ...]
    axes: tuple[Axis, ...]
    _plans: dict[tuple[int, ...], Plan | str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The groups, like ``QK+SM AV``."""
        return " ".join("+".join(group) for group in self.groups)

    @property
    def structural(self) -> int:
        """All axes but tiles."""
        return sum(not axis.name.startswith("tile.") for axis in self.axes)

    @cached_property
    def places(self) -> dict[str, int]:
        """Axis by name."""
        return {axis.name: number for number, axis in enumerate(self.axes)}

    def suffix(self, number: int) -> str:
        """What tells the axes of one group from those of others."""
        return "" if len(self.groups) == 1 else f".{self.groups[number][0]}"

    def choice(self, code: Sequence[int], name: str) -> str | float:
        """What a candidate chose on an axis."""
        place = self.places[name]
        return self.axes[place].choices[code[place]]

    def layouts(self, code: Sequence[int]) -> tuple[Layout, ...]:
        """Structure of a candidate, one layout for each group."""
        found = []
        for number, group in enumerate(self.groups):
            end = self.suffix(number)
            kept = [
                (tensor, str(self.choice(code, f"keep.{tensor}{end}")))
                for tensor in group_tensors(self.setting.problem, group)
            ]
            found.append(
                Layout(
                    einsums=group,
                    order=tuple(str(self.choice(code, f"order{end}")).split()),
                    keeps=tuple(pair for pair in kept if pair[1] != BYPASS),
                    uses=tuple(use_of(str(self.choice(code, f"array.{einsum}"))) for einsum in group),
                )
            )
        return tuple(found)

    def windows(self, code: Sequence[int]) -> list[Array]:
        """Tiles in flight of each group."""
        return [
            np.array([float(self.choice(code, f"window{self.suffix(number)}"))])
            for number in range(len(self.groups))
        ]

    def plan(self, code: Codes) -> Plan | str:
        """Counts of a candidate's structure; what is wrong with it where it is none."""
        key = tuple(code[: self.structural].tolist())
        if key not in self._plans:
            setting = self.setting
            nest = nest_of(setting.problem, setting.memory, self.layouts(key))
            try:
                self._plans[key] = Plan(setting.problem, setting.hierarchy, nest, setting.conventions)
            except DseError as error:
                self._plans[key] = error.problems[0].message
        return self._plans[key]

    def tiles(self, plan: Plan, codes: Codes) -> list[Array]:
        """Tile of every loop, of candidates of one structure."""
        shared = []
        for number, group in enumerate(self.groups):
            names = {
                rank: f"tile.{rank}{self.suffix(number)}"
                for rank in shared_ranks(self.setting.problem, group)
            }
            shared.append(
                {
                    rank: np.array(self.axes[self.places[name]].choices, dtype=np.float64)[
                        codes[:, self.places[name]]
                    ]
                    for rank, name in names.items()
                }
            )
        layouts = self.layouts(codes[0].tolist())
        return tile_rows(self.setting.problem, self.setting.hierarchy, layouts, plan.nest, shared)

    def measure(self, codes: Codes) -> Measures:
        """Costs of candidates, those of one structure at once."""
        structures, inverse = np.unique(codes[:, : self.structural], axis=0, return_inverse=True)
        parts, rows = [], []
        for number in range(len(structures)):
            mine = np.flatnonzero(inverse.reshape(-1) == number)
            parts.append(self._measured(codes[mine]))
            rows.append(mine)
        return joined(parts, rows)

    def _measured(self, codes: Codes) -> Measures:
        plan = self.plan(codes[0])
        if isinstance(plan, str):
            return rejected(len(codes), plan)
        costs = plan.costs(self.tiles(plan, codes), np.stack(self.windows(codes[0].tolist())))
        return self._measures(costs, len(codes))

    def _measures(self, costs: Costs, size: int) -> Measures:
        reason, excess = np.zeros(size, dtype=np.int16), np.zeros(size)
        for number, constraint in enumerate(costs.constraints, start=1):
            over = np.broadcast_to(constraint.demand > constraint.bound, (size,)) & (reason == 0)
            reason[over] = number
            excess[over] = np.broadcast_to(constraint.demand / constraint.bound, (size,))[over]
        live = np.zeros(1)
        for held in costs.live.values():
            live = live + held
        return Measures(
            seconds=_spread(costs.cycles / self.setting.hierarchy.clock_hz, size),
            joules=_spread(costs.joules, size),
            onchip_bytes=_spread(live, size),
            area_m2=_spread(self.setting.machine.area_m2, size),
            reason=reason,
            reasons=tuple(constraint.name for constraint in costs.constraints),
            excess=excess,
        )

    def narrowed(self, axes: tuple[Axis, ...]) -> NestPart:
        """The same with some of the choices left out."""
        return NestPart(self.setting, self.groups, axes)

    def point(self, code: Codes) -> tuple[Workload, Machine, Mapping]:
        """The design point of one candidate."""
        plan, setting = self.plan(code), self.setting
        if isinstance(plan, str):
            raise MappingError(plan)
        found = mapping_of(
            plan.nest,
            self.tiles(plan, code[None, :]),
            setting.problem.name,
            [int(window[0]) for window in self.windows(code.tolist())],
            setting.conventions,
            setting.parts,
            name=self.name.replace(" ", "_"),
        )
        return setting.workload, setting.machine, found


def axes_of(
    setting: Setting, groups: tuple[tuple[str, ...], ...], windows: Sequence[str], tiles: str
) -> tuple[Axis, ...]:
    """All axes of one way to fuse, structural ones first."""
    problem = setting.problem
    structural, numbers = list[Axis](), list[Axis]()
    for group in groups:
        end = "" if len(groups) == 1 else f".{group[0]}"
        ranks = shared_ranks(problem, group)
        structural.append(
            Axis(f"order{end}", tuple(" ".join(order) for order in itertools.permutations(ranks)))
        )
        structural.append(Axis(f"window{end}", tuple(windows) if len(group) > 1 else ("1",)))
        for tensor in group_tensors(problem, group):
            own = [rank for rank in problem.ranks_of(tensor) if rank in ranks]
            free = [] if inside(problem, group, tensor) else [BYPASS]
            structural.append(Axis(f"keep.{tensor}{end}", (*free, WHOLE, *own)))
        for einsum in group:
            structural.append(Axis(f"array.{einsum}", tuple(use.label for use in uses(setting, einsum))))
        numbers += [
            Axis(f"tile.{rank}{end}", tuple(tile_sizes(problem.sizes[rank], tiles))) for rank in ranks
        ]
    return (*structural, *numbers)


def uses(setting: Setting, einsum: str) -> Iterator[Use]:
    """Ways an Einsum may use the units that have its operations: axes filled with different ranks, one tensor held."""
    shape = setting.problem.shape(einsum)
    for name, unit in setting.hierarchy.units.items():
        if not _can(einsum, shape.operations, unit):
            continue
        held = (
            [touch.tensor for touch in (*shape.inputs, shape.output)]
            if bool(np.all(unit.entries >= 1))
            else []
        )
        for ranks in itertools.permutations(shape.ranks, min(len(unit.axes), len(shape.ranks))):
            for tensor in ("", *dict.fromkeys(held)):
                yield Use(name, tensor, tuple(zip(unit.axes, ranks, strict=False)))


def use_of(label: str) -> Use:
    """The use a label describes."""
    unit, held, *axes = label.split()
    pairs = (axis.partition("=") for axis in axes)
    return Use(unit, "" if held == "-" else held, tuple((axis, rank) for axis, _, rank in pairs))


def tile_sizes(size: Array, tiles: str) -> list[float]:
    """Tile sizes to try: all, one for each number of tiles, or divisors."""
    whole = int(size[0])
    if tiles == "all":
        return [float(tile) for tile in range(1, whole + 1)]
    if tiles == "perfect":
        return [float(tile) for tile in range(1, whole + 1) if whole % tile == 0]
    return sorted({float(-(-whole // count)) for count in range(1, whole + 1)})


def _can(einsum: str, operations: tuple[tuple[str, tuple[str, ...]], ...], unit: ArrayUnit) -> bool:
    try:
        operations_of(einsum, operations, unit)
    except DseError:
        return False
    return True


def _spread(array: Array, size: int) -> Array:
    found: Array = np.array(np.broadcast_to(array, (size,)), dtype=np.float64)
    return found
