"""From products to joules, busy cycles, room and latency of a batch of candidates.

Modelled: energy of operations and of every word read and written; cycles each unit and memory is busy, for each Einsum;
live bytes; latency with the Einsums of a group one after another (window 1) or overlapping over the tiles of its shared
loops (window above 1). Not modelled: bank conflicts, DRAM rows; tiles of a shared loop count as equal in the overlap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ONE, ZERO, Array
from dse.simulator.loop_nest.hierarchy import REGISTERS, STREAM
from dse.simulator.loop_nest.sites import SHARED
from dse.simulator.program import Constraint

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from dse.simulator.arrays import Mask
    from dse.simulator.loop_nest.links import Move
    from dse.simulator.loop_nest.plan import BranchPlan, Conventions, Footprint, GroupPlan, Plan
    from dse.simulator.loop_nest.terms import ByTerm

TWO = np.full(1, 2.0)  # tiles in flight: one being made, one being used


@dataclass
class Part:
    """Costs of one branch of a group, or of its shared stores (``einsum`` empty).

    ``busy`` holds cycles by Einsum and resource (compute units and memories), ``live`` bytes by memory (``staged``
    those of one tile in flight), ``registers`` words of one element by unit, ``extents`` elements used by (unit, axis),
    ``ripple`` cycles sums travel, by Einsum. Of registers that Einsums share, ``live`` and ``staged`` hold words of one
    element, under the name of the store.
    """

    einsum: str
    joules: Array = field(default_factory=lambda: ZERO)
    busy: dict[str, dict[str, Array]] = field(default_factory=dict)
    live: dict[str, Array] = field(default_factory=dict)
    staged: dict[str, Array] = field(default_factory=dict)
    registers: dict[str, Array] = field(default_factory=dict)
    extents: dict[tuple[str, str], Array] = field(default_factory=dict)
    ripple: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Costs:
    """Costs of whole nests over candidates; ``groups`` holds the parts of each group, the shared one first.

    ``busy`` sums each resource over everything. A candidate is feasible where every constraint's demand is within its
    bound; the other figures of infeasible ones are what they would be.
    """

    joules: Array
    cycles: Array
    groups: tuple[tuple[Part, ...], ...]
    busy: dict[str, Array]
    live: dict[str, Array]
    constraints: tuple[Constraint, ...]

    @property
    def feasible(self) -> Mask:
        """Candidates that meet every constraint."""
        met: Mask = np.ones(1, dtype=bool)
        for constraint in self.constraints:
            met = met & (constraint.demand <= constraint.bound)
        return met


def words_of(move: Move, products: ByTerm) -> Array:
    """Words of a move."""
    words = products[move.words]
    return words if move.visits is None else words * (products[move.visits] - 1.0)


def finish(plan: Plan, products: ByTerm, window: Sequence[Array] | None = None) -> Costs:
    """Costs at the values of every term; ``window`` holds tiles in flight for each group (1 if not given)."""
    windows = [ONE] * len(plan.groups) if window is None else list(window)
    groups = tuple(parts(plan, number, products) for number in range(len(plan.groups)))
    joules, cycles, busy = ZERO, ZERO, dict[str, Array]()
    live, found = dict[str, Array](), list[Constraint]()
    for group, mine, tiles in zip(plan.groups, groups, windows, strict=True):
        for part in mine:
            joules = joules + part.joules
            for spent in part.busy.values():
                for name, value in spent.items():
                    busy[name] = busy[name] + value if name in busy else value
        cycles = cycles + group_cycles(mine, products[group.iterations], tiles)
        room = group_live(mine, tiles)
        for name, value in room.items():
            live[name] = np.maximum(live[name], value) if name in live else value
        found += _constraints(plan, group, mine, products) + _registers(plan, mine, room)
        if any(name.endswith(f".{STREAM}") for name in room):
            found.append(
                Constraint("streams between Einsums", TWO, tiles, "tile", ("a window of two or more",))
            )
    found += [
        Constraint(
            f"{level.name} capacity",
            live[level.name],
            level.capacity_bytes,
            "B",
            (f"a larger memories.{level.name}.capacity", "smaller tiles", "a narrower precision"),
        )
        for level in plan.hierarchy.memories[1:]
        if level.name in live
    ]
    return Costs(joules, cycles, groups, busy, live, tuple(found))


def parts(plan: Plan, number: int, products: ByTerm) -> tuple[Part, ...]:
    """Parts of one group: its shared stores, then each branch."""
    group = plan.groups[number]
    return tuple(
        part(plan, number, owner, products) for owner in (SHARED, *(b.einsum for b in group.branches))
    )


def part(
    plan: Plan, number: int, owner: str, products: ByTerm, tensors: Collection[str] | None = None
) -> Part:
    """One part of a group, of some ``tensors`` alone if given; only the terms it needs are read."""
    group = plan.groups[number]
    found = Part(owner)
    units = {branch.einsum: branch.unit for branch in group.branches}
    moves = [m for m in group.moves if m.owner == owner and (tensors is None or m.tensor in tensors)]
    stores = [f for f in group.footprints if f.owner == owner and (tensors is None or f.tensor in tensors)]
    _move(plan, found, moves, units, products)
    _hold(plan, found, stores, units, products)
    for branch in group.branches:
        if branch.einsum == owner:
            _work(plan, found, branch, products)
    return found


def _move(plan: Plan, found: Part, moves: list[Move], units: dict[str, str], products: ByTerm) -> None:
    """Energy and busy cycles of words that move."""
    width, sums = plan.problem.value_bytes, dict[tuple[str, str, str], Array]()
    for move in moves:
        key, words = (move.einsum, move.memory, move.action), words_of(move, products)
        sums[key] = sums[key] + words if key in sums else words
    for (einsum, memory, action), words in sums.items():
        if memory == REGISTERS:
            unit = plan.hierarchy.units[units[einsum]]
            each = unit.register_read_j if action == "read" else unit.register_write_j
            found.joules = found.joules + words * each
        else:
            level = plan.hierarchy.store(memory)
            each = level.read_j_per_byte if action == "read" else level.write_j_per_byte
            found.joules = found.joules + words * (width * each)
    for (einsum, port, memory), words in _passed(plan, moves, sums, products).items():
        each = width / plan.hierarchy.store(memory).byte_per_cycle
        found.busy.setdefault(einsum, {})[port] = words * each


def _passed(
    plan: Plan, moves: list[Move], sums: dict[tuple[str, str, str], Array], products: ByTerm
) -> dict[tuple[str, str, str], Array]:
    """Words by (Einsum, port, memory) at memories with a bandwidth."""
    found: dict[tuple[str, str, str], Array] = {}
    each: list[tuple[str, str, str, str, Array]]
    if plan.conventions.bandwidth == "operands":
        each = [(m.einsum, m.memory, m.action, m.tensor, words_of(m, products)) for m in moves]
    else:
        each = [(einsum, memory, action, "", words) for (einsum, memory, action), words in sums.items()]
    for einsum, memory, action, tensor, words in each:
        if memory in plan.hierarchy.names:
            key = (einsum, port_of(plan.conventions, memory, action, tensor), memory)
            found[key] = found[key] + words if key in found else words
    return found


def port_of(conventions: Conventions, memory: str, action: str, tensor: str) -> str:
    """Port that a word passes at a memory, by the bandwidth convention."""
    ports = {"pooled": memory, "ports": f"{memory}.{action}", "operands": f"{memory}.{tensor}"}
    return ports[conventions.bandwidth]


def resources_of(plan: Plan) -> tuple[str, ...]:
    """Everything that can be busy: compute units, and every port of every memory."""
    tensors = plan.problem.tensors
    ports = dict.fromkeys(
        port_of(plan.conventions, memory, action, tensor)
        for memory in plan.hierarchy.names
        for action in ("read", "write")
        for tensor in tensors
    )
    return (*plan.hierarchy.units, *ports)


def _hold(
    plan: Plan, found: Part, footprints: list[Footprint], units: dict[str, str], products: ByTerm
) -> None:
    """Room of stored tiles."""
    twice = 2.0 if plan.conventions.buffering == "double" else 1.0
    for footprint in footprints:
        words = products[footprint.terms[0]]
        for term in footprint.terms[1:]:
            words = words + products[term]
        memory, width = footprint.memory, plan.problem.value_bytes
        if memory == REGISTERS:
            unit = units[footprint.owner]
            found.registers[unit] = found.registers.get(unit, ZERO) + words
            continue
        room = found.staged if footprint.staged else found.live
        if memory in plan.hierarchy.names:
            words = words * (width if footprint.staged else width * twice)
        room[memory] = room.get(memory, ZERO) + words


def _work(plan: Plan, found: Part, branch: BranchPlan, products: ByTerm) -> None:
    """Energy and busy cycles of an Einsum's operations."""
    spent = ZERO
    for work in branch.work:
        found.joules = found.joules + products[work.count] * work.operation.energy_j
        if work.steps is not None:
            spent = spent + products[work.steps] * work.operation.busy_cycles
    found.busy.setdefault(branch.einsum, {})[branch.unit] = spent
    for axis, term in branch.axes.items():
        found.extents[branch.unit, axis] = products[term]
    if branch.ripple is not None and plan.conventions.array_fill == "counted":
        found.ripple[branch.einsum] = products[branch.ripple] * products[branch.runs]


def group_cycles(mine: Sequence[Part], iterations: Array, window: Array) -> Array:
    """Cycles of a group: its Einsums' times summed, or overlapped with ``window`` tiles in flight.

    An Einsum's time is that of its busiest resource, plus what its sums travel. With overlap the first tile takes its
    share of the sum; each further one what the busiest resource needs for it, or a share of a window.
    """
    by_einsum: dict[str, dict[str, Array]] = {}
    for each in mine:
        for einsum, spent in each.busy.items():
            found = by_einsum.setdefault(einsum, {})
            for name, value in spent.items():
                found[name] = found[name] + value if name in found else value
    summed, totals = ZERO, dict[str, Array]()
    for spent in by_einsum.values():
        summed = summed + _largest(list(spent.values()))
        for name, value in spent.items():
            totals[name] = totals[name] + value if name in totals else value
    for each in mine:
        for value in each.ripple.values():
            summed = summed + value
    if window is ONE or bool(np.all(window == 1.0)):
        return summed
    return overlapped(summed, _largest(list(totals.values())), iterations, window)


def overlapped(summed: Array, busiest: Array, iterations: Array, window: Array) -> Array:
    """Cycles of ``iterations`` tiles, ``window`` of them in flight, that take ``summed`` cycles one after another.

    ``busiest`` is what the busiest resource needs for all of them. Without a window above one nothing overlaps.
    """
    later = (iterations - 1.0) * np.maximum(busiest / iterations, summed / (iterations * window))
    return np.where(window > 1.0, summed / iterations + later, summed)


def group_live(mine: Sequence[Part], window: Array) -> dict[str, Array]:
    """Live bytes by memory: shared tiles, those passed between Einsums once for each tile in flight, and branches.

    Branches that run one after another need the largest of theirs, overlapping ones the sum.
    """
    shared, *branches = mine
    found = dict(shared.live)
    for name, value in shared.staged.items():
        found[name] = found.get(name, ZERO) + value * window
    for name in dict.fromkeys(name for each in branches for name in each.live):
        values = [each.live[name] for each in branches if name in each.live]
        total = values[0]
        for value in values[1:]:
            total = total + value
        room = np.where(window > 1.0, total, _largest(values)) if len(values) > 1 else total
        found[name] = found.get(name, ZERO) + room
    return found


def _registers(plan: Plan, mine: Sequence[Part], room: dict[str, Array]) -> list[Constraint]:
    """Words of each element: what Einsums share, and the most that one of them keeps besides."""
    found = []
    for unit in plan.hierarchy.units.values():
        own = [each.registers[unit.name] for each in mine if unit.name in each.registers]
        shared = ZERO
        for store in (REGISTERS, STREAM):
            shared = shared + room.get(f"{unit.name}.{store}", ZERO)
        words = shared + _largest(own) if own else shared
        if own or any(f"{unit.name}.{store}" in room for store in (REGISTERS, STREAM)):
            levers = (f"more units.{unit.name}.registers.entries", "smaller tiles per element")
            found.append(Constraint(f"{unit.name} registers", words, unit.entries, "word", levers))
    return found


def _largest(values: Sequence[Array]) -> Array:
    found = values[0]
    for value in values[1:]:
        found = np.maximum(found, value)
    return found


def _constraints(plan: Plan, group: GroupPlan, mine: Sequence[Part], products: ByTerm) -> list[Constraint]:
    """Elements of each axis, words of each element, and recurrences that advance one step at a time."""
    found = []
    for each in mine:
        for (unit, axis), used in each.extents.items():
            bound = plan.hierarchy.units[unit].axes[axis]
            levers = (f"more units.{unit}.{axis}", "larger tiles per element")
            found.append(Constraint(f"{unit} {axis} for {each.einsum}", used, bound, "element", levers))
    for rank, term in group.single_steps:
        lever = (f"a shared loop over {rank} with tile 1",)
        found.append(Constraint(f"recurrence over {rank}", products[term], ONE, "step", lever))
    return found
