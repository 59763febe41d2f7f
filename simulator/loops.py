"""Terms that bound the cycles of one loop body, on arrays of design points.

Lower bound: the largest of, for each unit, its busy time between the soonest it can start and the least
that must follow it; for each dependence cycle, as many rounds as fit into the iterations; and the longest
path through one iteration. ``dse.simulator.chains`` adds what the upper bound needs.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dse.simulator.arrays import ONE, ZERO, Array, Mask, add_to, floor_div
from dse.simulator.program import Loop, leaf_body
from dse.simulator.structure import CyclePlan, UnitPlan, plan_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.simulator.points import Points
    from dse.simulator.program import Body


ROUNDING = 1.0 + 2.0**-30


class Term(NamedTuple):
    """One lower bound, in the order in which its parts pass: cycles before, of, and after what binds."""

    before: Array
    middle: Array
    after: Array

    @property
    def cycles(self) -> Array:
        """Sum of the parts."""
        if self.before is ZERO:
            return self.middle if self.after is ZERO else self.middle + self.after
        found = self.before + self.middle
        return found if self.after is ZERO else add_to(found, self.after)


def _where_ran(ran: list[Mask], term: Term) -> Term:
    """The term where any of its steps was executed, else zero."""
    some = ran[0]
    for mask in ran[1:]:
        some = some | mask
    return Term(*(np.where(some, part, 0.0) for part in term))


class Columns:
    """Arrays of one kind at all points; those of shape (1,) are hoisted out of the ranges of points."""

    def __init__(self, values: list[Array], what: str, names: list[str]) -> None:
        self.values = values
        self.what = what
        self.names = names
        self.varying = [number for number, array in enumerate(values) if len(array) > 1]

    def check(self, points: Points) -> Columns:
        """Check those that do not vary."""
        for number, array in enumerate(self.values):
            if len(array) == 1:
                points.checked(array, self.what, self.names[number])
        return self

    def at(self, points: Points, check: bool) -> list[Array]:
        """The arrays at some points."""
        if not self.varying:
            return self.values
        found = self.values.copy()
        for number in self.varying:
            array = found[number]
            found[number] = (
                points.checked(array, self.what, self.names[number]) if check else points.at(array)
            )
        return found


class Inputs:
    """What a loop body takes from its program at all points, and what of its paths does not vary."""

    def __init__(self, node: Loop | Body, points: Points) -> None:
        body = leaf_body(node)
        assert body is not None
        self.plan = plan_of(node, points.program)
        self.name = node.name
        self.count = node.count if isinstance(node, Loop) else ONE
        steps = body.steps
        names = [step.name for step in steps]
        latency = [ZERO if len(s.latency) == 1 and not s.latency[0] else s.latency for s in steps]
        self.busy = Columns([step.busy for step in steps], "busy", names).check(points)
        self.latency = Columns(latency, "latency", names).check(points)
        self.every = Columns([step.every for step in steps], "every", names)
        holds = node.holds if isinstance(node, Loop) else ()
        distances = [*(edge.distance for edge in body.edges), *(hold.capacity for hold in holds)]
        self.distance = Columns(distances, "distance", [])
        units = [unit.name for unit in self.plan.units]
        self.servers = Columns([points.program.units[name].count for name in units], "count", units)
        self.heads: dict[int, Array] = {}
        self.tails: dict[int, Array] = {}


def _sum(parts: list[Array]) -> Array:
    """Sum of at least one array, left to right."""
    if len(parts) == 1:
        return parts[0]
    found = parts[0] + parts[1]
    for part in parts[2:]:
        found = add_to(found, part)
    return found


class LoopCosts:
    """Cycles of a Body, or of a Loop over one, at some design points, worked out as they are asked for."""

    def __init__(self, node: Loop | Body, points: Points) -> None:
        inputs = points.keep("inputs", node, lambda: Inputs(node, points))
        self.plan = inputs.plan
        alone = inputs.count is ONE
        self.count = ONE if alone else points.checked(inputs.count, "count", inputs.name)
        self.busy = inputs.busy.at(points, check=True)
        self.latency = inputs.latency.at(points, check=True)
        self.every = inputs.every.at(points, check=False)
        self.distance = inputs.distance.at(points, check=False)
        self.servers = dict(zip(inputs.servers.names, inputs.servers.at(points, check=False), strict=True))
        self._kept_heads, self._kept_tails = inputs.heads, inputs.tails
        self._heads = inputs.heads.copy()
        self._tails = inputs.tails.copy()
        self._runs: dict[int, Array] = {}
        self._finishes: dict[int, Array] = {}
        self._rests: dict[int, Array] = {}
        self._once: dict[str, Array] = {}
        self._fixed_rounds: dict[float, Array] = {}

    def runs(self, step: int) -> Array:
        """Executions of a step: iterations, or whole groups of ``every`` (with ``first``, groups begun)."""
        shape = self.plan.steps[step]
        if not shape.sparse:
            return self.count
        if step not in self._runs:
            groups = self.count / self.every[step]
            self._runs[step] = np.ceil(groups) if shape.first else np.floor(groups)
        return self._runs[step]

    def head(self, step: int) -> Array:
        """Least cycles from the start of an iteration to the start of the step."""
        if step not in self._heads:
            found = ZERO
            for source in self.plan.before[step]:
                finish = self._finish(source)
                if self.plan.steps[source].sparse and not self.plan.steps[source].first:
                    finish = self._where_both(source, step, finish)
                found = finish if found is ZERO else np.maximum(found, finish)
            self._heads[step] = found
            if len(found) == 1:
                self._kept_heads[step] = found
        return self._heads[step]

    def _finish(self, step: int) -> Array:
        """Least cycles from the start of an iteration to the result of the step."""
        if step not in self._finishes:
            finish = self.head(step) + self.busy[step]
            if self.latency[step] is not ZERO:
                finish = add_to(finish, self.latency[step])
            self._finishes[step] = finish
        return self._finishes[step]

    def tail(self, step: int) -> Array:
        """Least cycles from where the step stops being busy to the end of all that waits for it."""
        if step not in self._tails:
            found = ZERO
            for target in self.plan.after[step]:
                rest = self._rest(target)
                if self.plan.steps[target].sparse:
                    rest = self._where_both(target, step, rest)
                found = rest if found is ZERO else np.maximum(found, rest)
            found = found if self.latency[step] is ZERO else self.latency[step] + found
            self._tails[step] = found
            if len(found) == 1:
                self._kept_tails[step] = found
        return self._tails[step]

    def _rest(self, step: int) -> Array:
        """Least cycles from the start of the step to the end of all that waits for it."""
        if step not in self._rests:
            self._rests[step] = self.busy[step] + self.tail(step)
        return self._rests[step]

    def _where_both(self, rare: int, other: int, cycles: Array) -> Array:
        """Cycles where the rare step certainly runs in an iteration of the other one, else zero."""
        both = self.every[rare] == 1
        if self.plan.steps[other].sparse and self.plan.steps[other].first == self.plan.steps[rare].first:
            both = both | (self.every[rare] == self.every[other])
        return np.where(both, cycles, 0.0)

    def work(self, unit: UnitPlan) -> Array:
        """Server-cycles the loop keeps a unit busy."""
        found: Array | None = None
        if unit.dense:
            found = self._round(unit)
            if self.count is not ONE:
                found = self.count * found
        for step in unit.sparse:
            part = self.runs(step) * self.busy[step]
            found = part if found is None else found + part
        assert found is not None
        return found

    def _round(self, unit: UnitPlan) -> Array:
        """Server-cycles of a unit in one iteration, of steps that run in every one."""
        if unit.name not in self._once:
            self._once[unit.name] = _sum([self.busy[step] for step in unit.dense])
        return self._once[unit.name]

    def unit_term(self, unit: UnitPlan) -> Term:
        """Busy time of a unit between the soonest start and the shortest end of any of its steps."""
        before = self.head(unit.heads[0])
        for step in unit.heads[1:]:
            before = np.minimum(before, self.head(step))
        after = self.tail(unit.tails[0])
        for step in unit.tails[1:]:
            after = np.minimum(after, self.tail(step))
        servers = self.servers[unit.name]
        work = self.work(unit)
        term = Term(before, work if servers is ONE else work / servers, after)
        if unit.dense:
            return term
        return _where_ran([self.runs(step) >= 1 for step in unit.sparse], term)

    def cycle_distance(self, cycle: CyclePlan) -> Array:
        """Iterations that one round of a dependence cycle reaches back."""
        carried = [self.distance[e] for e in cycle.edges if self.plan.edges[e].carried]
        found = carried[0]
        for distance in carried[1:]:
            found = found + distance
        return found

    def cycle_term(self, cycle: CyclePlan) -> Term:
        """Rounds of a dependence cycle in a row; a step that skips iterations may lengthen its reach."""
        parts: list[Array] = []
        for edge, step in zip(cycle.edges, cycle.steps, strict=True):
            parts.append(self.busy[step])
            if self.plan.edges[edge].hold < 0 and self.latency[step] is not ZERO:
                parts.append(self.latency[step])
        weight = _sum(parts)
        reach = self.cycle_distance(cycle)
        for step in cycle.steps:
            if self.plan.steps[step].sparse:
                reach = reach + (self.every[step] - 1)
        anchor = cycle.anchor
        sparse = self.plan.steps[anchor].sparse
        rounds = floor_div(self.count - self.every[anchor], reach) if sparse else self._rounds(reach)
        term = Term(self.head(anchor), rounds * weight, self._rest(anchor))
        return _where_ran([self.runs(anchor) >= 1], term) if sparse else term

    def _rounds(self, reach: Array) -> Array:
        """Times that a distance fits between the first iteration and the last."""
        if len(reach) > 1:
            return floor_div(self.count - 1.0, reach)
        if reach[0] not in self._fixed_rounds:
            self._fixed_rounds[reach[0]] = floor_div(self.count - 1.0, reach)
        return self._fixed_rounds[reach[0]]

    @cached_property
    def path(self) -> Array:
        """Cycles of the longest path through one iteration, of steps that certainly run."""
        found = ZERO
        for step in self.plan.ends:
            finish = self._finish(step)
            found = finish if found is ZERO else np.maximum(found, finish)
        for step in self.plan.sparse:
            through = self.head(step) + self.busy[step] + self.tail(step)
            found = np.maximum(found, self.if_run(step, through))
        return found

    def if_run(self, step: int, weight: Array) -> Array:
        """The weight where the step is executed at all, else zero."""
        if weight is ZERO or not self.plan.steps[step].sparse or np.minimum.reduce(self.runs(step)) >= 1:
            return weight
        return np.where(self.runs(step) >= 1, weight, 0.0)

    def terms(self) -> list[Term]:
        """Terms of the lower bound, in the order of the plan's ``codes``."""
        return [*self._resource_terms(), Term(ZERO, self.path, ZERO)]

    def _resource_terms(self) -> list[Term]:
        found = [self.unit_term(unit) for unit in self.plan.units]
        found += [self.cycle_term(cycle) for cycle in self.plan.cycles]
        return found

    def _outlasts_path(self, cycles: Array) -> bool:
        """Whether some cycles are certainly no less than the path at all points, without computing the path.

        No path is longer than everything in one iteration; the margin covers the rounding of both sums.
        """
        alone = [b for b, s in zip(self.busy, self.plan.steps, strict=True) if s.sparse or s.unit is None]
        rounds = [self._round(unit) for unit in self.plan.units if unit.dense]
        fixed = [latency for latency in self.latency if latency is not ZERO]
        most = _sum([ZERO, *fixed, *alone, *rounds]) * ROUNDING
        return bool(np.logical_and.reduce(most <= cycles))

    @cached_property
    def bound(self) -> tuple[Array, NDArray[np.unsignedinteger]]:
        """Lower bound on the cycles, and the code (in ``plan.names``) of the first term that attains it."""
        narrow = np.uint8 if len(self.plan.names) < 256 else np.uint16
        best: Array | None = None
        code: NDArray[np.unsignedinteger] = np.zeros(1, narrow)
        for number, term in zip(self.plan.codes, (*self._resource_terms(), None), strict=True):
            if term is None and best is not None and self._outlasts_path(best):
                break
            cycles = self.path if term is None else term.cycles
            best = cycles if best is None else best
            within = np.less_equal(cycles, best)
            if not np.logical_and.reduce(within):
                best = np.maximum(best, cycles)
                code = np.maximum(code, np.multiply(np.logical_not(within).view(np.uint8), narrow(number)))
        assert best is not None
        if not np.minimum.reduce(self.count) > 0:
            best = np.where(self.count > 0, best, 0.0)
        return best, code
