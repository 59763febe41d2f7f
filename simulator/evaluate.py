"""Closed-form evaluation of a program on arrays of design points.

``evaluate`` gives cycles (the lower bound, or what a leaf expects beyond it), joules, seconds, what bounds them and
which points are infeasible at once; everything else is worked out when asked. All of it runs through the same
elementwise operations in the same order, so that one point alone, a million points, or any range of them give the
same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from dse.errors import DseError
from dse.simulator.arrays import Array, Codes, total
from dse.simulator.bounds import costs, expected, joules, lower, own_work, upper
from dse.simulator.ledger import Ledger, ledger_of
from dse.simulator.points import CHUNK, Points, all_units
from dse.simulator.program import Body, Leaf, Loop, Sub, leaf_body, nodes_of
from dse.simulator.usage import UnitTime, critical_path, shares, unit_times

if TYPE_CHECKING:
    from collections.abc import Callable

    from dse.simulator.arrays import Mask
    from dse.simulator.program import Constraint, Program

K = TypeVar("K")
# A unit busy in all but this share of the cycles is never idle; sums of parts round differently from products.
FULL = 1e-12
SCHEDULE = "schedule of blocks beyond its bound"


@dataclass(frozen=True, slots=True)
class Infeasible:
    """Why a design point cannot exist: ``demand`` of the constraint exceeds ``bound``; what would help."""

    constraint: str
    demand: float
    bound: float
    unit: str
    levers: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Totals:
    """Headline of an evaluation, arrays of shape (n,).

    ``feasible`` is 0, or 1 + the index of the first violated constraint; there ``cycles``, ``seconds`` and
    ``joules`` are NaN and ``bound`` is -1. ``bound`` indexes ``bound_names``: units, ``window:HOLD``,
    ``recurrence:STEP``, ``latency``; of several nodes it is the one that bounds most cycles.
    """

    cycles: Array
    seconds: Array
    joules: Array
    bound: Codes
    bound_names: tuple[str, ...]
    feasible: Codes

    def bound_by(self, point: int) -> str | None:
        """Name of what bounds one design point, None if it is infeasible."""
        code = int(self.bound[point])
        return self.bound_names[code] if code >= 0 else None


@dataclass(frozen=True, eq=False)
class Evaluation(Totals):
    """Evaluation of a program: the totals, and what explains them."""

    program: Program

    @cached_property
    def cycles_lower(self) -> Array:
        """Lower bound on the cycles of any schedule; the same as ``cycles`` unless a leaf expects more."""
        if not any(isinstance(node, Leaf | Sub) for node in nodes_of(self.program.root)):
            return self.cycles
        return self._gather(lambda points: {"": lower(self.program.root, points) * np.ones(1)})[""]

    @cached_property
    def cycles_upper(self) -> Array:
        """Upper bound on the cycles of any schedule that keeps no server idle while a step waits for it."""
        return self._gather(lambda points: {"": upper(self.program.root, points)})[""]

    @cached_property
    def units(self) -> dict[str, UnitTime]:
        """Per unit, server-cycles busy, stalled by cause, and idle: together its servers times ``cycles``."""
        every = all_units(self.program)

        def work(points: Points) -> dict[tuple[str, str], Array]:
            times = unit_times(self.program.root, points)
            beyond = _beyond(self.program, points)
            found: dict[tuple[str, str], Array] = {}
            for name, unit in every.items():
                servers = points.at(unit.count)
                time = times.get(name)
                if time is None:
                    idle = servers * lower(self.program.root, points)
                    time = UnitTime(servers, servers * 0.0, {}, idle)
                found |= {(name, "busy"): time.busy, (name, "idle"): time.idle + servers * beyond}
                found |= {(name, f"stall {cause}"): cycles for cause, cycles in time.stall.items()}
            return found

        parts = self._gather(work)
        stalls = {
            name: {
                key[6:]: part for (owner, key), part in parts.items() if owner == name and key[:6] == "stall "
            }
            for name in every
        }
        return {
            name: UnitTime(
                np.broadcast_to(unit.count, self.cycles.shape),
                parts[name, "busy"],
                stalls[name],
                parts[name, "idle"],
            )
            for name, unit in every.items()
        }

    @cached_property
    def critical_path(self) -> list[tuple[str, Array]]:
        """Labelled parts of ``cycles``, in the order in which they pass."""

        def work(points: Points) -> dict[str, Array]:
            found: dict[str, Array] = {}
            for label, part in critical_path(self.program.root, points):
                found[label] = found[label] + part if label in found else part
            found[SCHEDULE] = _beyond(self.program, points)
            return found

        found = self._gather(work)
        return [(label, part) for label, part in found.items() if np.nan_to_num(part).any()]

    @cached_property
    def ledger(self) -> Ledger:
        """Every action of every step: count, bytes, joules."""
        with np.errstate(all="ignore"):
            return ledger_of(self.program, self.feasible != 0)

    @cached_property
    def bytes(self) -> Array:
        """Bytes moved by all actions: the ledger's rows left to right."""
        return total([np.where(self.feasible == 0, 0.0, np.nan), *self.ledger.bytes])

    @cached_property
    def bytes_by_component(self) -> dict[str, Array]:
        """Bytes moved by each component."""
        return self.ledger.by("component")

    def infeasible(self, point: int) -> Infeasible | None:
        """Why a design point is infeasible; None if it is not."""
        code = int(self.feasible[point])
        if not code:
            return None
        constraint = self.program.all_constraints[code - 1]
        here = Points(self.program, point, point + 1)
        demand, bound = float(here.at(constraint.demand)[0]), float(here.at(constraint.bound)[0])
        return Infeasible(constraint.name, demand, bound, constraint.unit, constraint.levers)

    def _gather(self, work: Callable[[Points], dict[K, Array]]) -> dict[K, Array]:
        """Arrays that ``work`` gives for each range of points, joined; infeasible points hold NaN."""
        found: dict[K, Array] = {}
        bad = self.feasible != 0
        with np.errstate(all="ignore"):
            for points in Points(self.program, 0, 0).ranges():
                points.excused = bad[points.start : points.stop]
                for key, part in work(points).items():
                    if key not in found:
                        found[key] = np.empty(self.program.size)
                    found[key][points.start : points.stop] = part
        if bad.any():
            for whole in found.values():
                whole[bad] = np.nan
        return found


def evaluate(program: Program, chunk: int = CHUNK) -> Evaluation:
    """Evaluation of a program at all of its design points; ``chunk`` points at a time, which changes no bit.

    Raises
    ------
    DseError
        If a feasible point has a negative or non-finite time or count, or a negative energy.
    """
    n = program.size
    names = bound_names(program)
    cycles, energy = np.empty(n), np.empty(n)
    bound, feasible = np.empty(n, np.int16), np.zeros(n, np.int16)
    constraints = program.all_constraints
    with np.errstate(all="ignore"):
        for points in Points(program, 0, 0).ranges(chunk):
            here = slice(points.start, points.stop)
            if constraints:
                _check(constraints, points, feasible[here])
            cycles[here] = expected(program.root, points)
            energy[here] = joules(program.root, points)
            bound[here] = _bound(program, names, points)
            _mask(cycles[here], energy[here], bound[here], points)
        seconds = cycles / program.clock_hz
    return Evaluation(cycles, seconds, energy, bound, names, feasible, program)


def evaluate_each(build: Callable[[slice], Program], size: int, chunk: int = 16 * CHUNK) -> Totals:
    """Totals of ``size`` design points whose programs ``build`` makes a slice at a time, of one structure.

    Raises
    ------
    DseError
        If a program does not have the points of its slice, or differs from the others in what can bound it.
    """
    parts: list[Evaluation] = []
    slices = [slice(start, min(start + chunk, size)) for start in range(0, size, chunk)]
    for here in slices:
        program, points = build(here), here.stop - here.start
        if program.size not in (1, points):
            raise DseError(f"a program of {program.size} points was built for {points} points")
        parts.append(evaluate(program))
        if parts[-1].bound_names != parts[0].bound_names:
            raise DseError("programs of different structure were built for one evaluation")
    lengths = [here.stop - here.start for here in slices]

    def join(name: str) -> np.ndarray:
        return np.concatenate(
            [np.broadcast_to(getattr(p, name), (n,)) for p, n in zip(parts, lengths, strict=True)]
        )

    names = parts[0].bound_names
    return Totals(join("cycles"), join("seconds"), join("joules"), join("bound"), names, join("feasible"))


def bound_names(program: Program) -> tuple[str, ...]:
    """Names of everything that can bound a program, in the order of its codes."""
    point = Points(program, 0, 1)
    if isinstance(program.root, Loop | Body) and leaf_body(program.root) is not None:
        return costs(program.root, point).plan.names
    with np.errstate(all="ignore"):
        found = shares(program.root, point)
    units = [name for name in all_units(program) if name in found]
    return tuple(dict.fromkeys([*units, *found]))


def _beyond(program: Program, points: Points) -> Array:
    """Cycles expected beyond the lower bound, zero where that is the estimate."""
    return expected(program.root, points) - lower(program.root, points)


def _bound(program: Program, names: tuple[str, ...], points: Points) -> np.ndarray:
    """Code of what bounds the program: of one loop its largest term, otherwise a unit that is never idle, or
    the name of most cycles."""
    if isinstance(program.root, Loop | Body) and leaf_body(program.root) is not None:
        return costs(program.root, points).bound[1]
    parts = shares(program.root, points)
    best, code = parts[names[0]], np.zeros(1, np.int16)
    for number, name in enumerate(names[1:], start=1):
        larger = parts[name] > best
        best, code = np.maximum(best, parts[name]), np.where(larger, np.int16(number), code)
    return _never_idle(program, names, code, points)


def _never_idle(program: Program, names: tuple[str, ...], code: np.ndarray, points: Points) -> np.ndarray:
    """Codes with a unit that works in every cycle in place of one that merely ties with it in most parts."""
    cycles = lower(program.root, points)
    for name, work in own_work(program.root, points).items():
        if name not in names:
            continue
        servers = points.at(program.units[name].count)
        full = work >= servers * cycles * (1.0 - FULL)
        code = np.where(full & (cycles > 0), np.int16(names.index(name)), code)
    return code


def _check(constraints: tuple[Constraint, ...], points: Points, codes: Codes) -> None:
    """Write the code of the first violated constraint of each point."""
    for number in range(len(constraints), 0, -1):
        constraint = constraints[number - 1]
        met = points.at(constraint.demand) <= points.at(constraint.bound)
        if not met.all():
            codes[np.broadcast_to(~met, codes.shape)] = number
    if codes.any():
        points.excused = codes != 0


def _mask(cycles: Array, energy: Array, bound: Codes, points: Points) -> None:
    """Put NaN at infeasible points, and make sure that no other has a time that is not finite.

    Joules may be NaN elsewhere: an energy that no source gives.
    """
    fine: Mask = np.isfinite(cycles) & ~np.isinf(energy)
    if points.excused is not None:
        cycles[points.excused] = energy[points.excused] = np.nan
        bound[points.excused] = -1
        fine |= points.excused
    if not fine.all():
        point = int(fine.argmin())
        found = f"{cycles[point]} cycles and {energy[point]} J"
        raise DseError(
            f"design point {points.start + point} has {found}: a time, count or capacity is not finite"
        )
