"""A leaf inside a tree: its bounds, ledger and simulation take part in those of the nodes around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse.errors import DseError, Problem
from dse.simulator.evaluate import evaluate
from dse.simulator.program import Action, Body, Leaf, Loop, Node, Par, Program, Seq, Step, Unit
from dse.simulator.simulate import Run, Time, simulate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.simulator.arrays import Array
    from dse.simulator.points import Points


@dataclass(frozen=True, eq=False)
class Span(Leaf):
    """Holds one server for the sum of its items, each of which costs a joule."""

    name: str
    unit: str
    items: Array

    @property
    def units(self) -> frozenset[str]:
        return frozenset({self.unit})

    def arrays(self) -> Iterator[Array]:
        yield self.items

    def problems(self, path: str, program: Program) -> Iterator[Problem]:
        if self.items.ndim != 2:
            yield Problem("needs items on axis 1", path=path)

    def terms(self, points: Points) -> dict[str, Array]:
        return {self.unit: points.at(self.items).sum(axis=1)}

    def upper(self, points: Points) -> Array:
        return self.terms(points)[self.unit] + 1.0

    def work(self, points: Points) -> dict[str, Array]:
        return self.terms(points)

    def actions(self, points: Points) -> Iterator[tuple[str, Action, Array]]:
        action = Action(self.unit, "E", "T", "use", 1.0, 2.0, 1.0)
        yield "items", action, np.array([float(self.items.shape[1])])

    def run(self, points: Points, limit: int, record: int, path: str) -> Run:
        cycles = float(points.at(self.items)[0].sum())
        return Run(cycles, {self.unit: Time(1, cycles, {}, 0.0)})


ITEMS = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
UNITS = {name: Unit(name) for name in ("a", "b")}


def step(name: str, unit: str, busy: float) -> Body:
    return Body(name, (Step(name, unit, busy),))


def test_leaf_counts_in_series_and_in_loops() -> None:
    root = Loop("twice", 2.0, Seq("both", (Span("span", "a", ITEMS), step("after", "a", 10.0))))
    program = Program(root, UNITS)
    found = evaluate(program)
    assert found.cycles.tolist() == [32.0, 50.0]
    assert found.cycles_upper.tolist() == [34.0, 52.0]
    assert found.joules.tolist() == [6.0, 6.0] == found.ledger.joules.sum(axis=0).tolist()
    assert found.bound_by(0) == "a"
    assert found.units["a"].busy.tolist() == [32.0, 50.0]
    assert [simulate(program, point).cycles for point in (0, 1)] == [32.0, 50.0]


def test_leaf_runs_beside_other_work() -> None:
    root: Node = Par(
        "side", (Seq("one", (Span("span", "a", ITEMS), step("x", "b", 4.0))), step("y", "b", 9.0))
    )
    program = Program(root, UNITS)
    found, ran = evaluate(program), simulate(program, 1)
    assert found.cycles.tolist() == [13.0, 19.0]
    assert ran.cycles == 19.0
    assert ran.units["a"].busy == 15.0
    assert ran.units["a"].idle == 4.0
    assert sum(part.sum() for _, part in found.critical_path) == found.cycles.sum()
    busy = found.units["a"]
    assert (busy.busy + busy.stalled + busy.idle).tolist() == found.cycles.tolist()


def test_units_of_leaves_are_their_own() -> None:
    root = Par("side", (Span("span", "a", ITEMS), step("x", "a", 4.0)))
    with pytest.raises(DseError, match="does not share its unit 'a'"):
        Program(root, UNITS)
    with pytest.raises(DseError, match="unknown unit 'c'"):
        Program(Span("span", "c", ITEMS), UNITS)
    with pytest.raises(DseError, match="needs items on axis 1"):
        Program(Span("span", "a", ITEMS[0]), UNITS)
