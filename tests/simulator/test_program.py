"""A program tree says what is wrong with it, all at once."""

from __future__ import annotations

import pytest

from dse.errors import DseError
from dse.simulator.arrays import ONE
from dse.simulator.program import Body, Choose, Edge, Hold, Loop, Program, Seq, Step, Sub, Unit

UNITS = {"array": Unit("array")}


def body(*edges: Edge, name: str = "body") -> Body:
    return Body(name, (Step("a", "array", 1), Step("b", "array", 2)), edges)


def test_absent_and_given_fields_are_told_apart() -> None:
    assert Step("a", None, 1).every is ONE
    assert not Step("a", None, 1).sparse
    assert Step("a", None, 1, every=1.0).sparse


def test_carried_edges_are_told_by_their_distance() -> None:
    assert not Edge("a", "b").carried
    assert not Edge("a", "b", 0.0).carried
    assert Edge("a", "b", [1, 2]).carried


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Body("body", (Step("a", "aray", 1),)), "unknown unit 'aray'; did you mean 'array'?"),
        (Body("body", (Step("a", None, 1), Step("a", None, 1))), "step 'a' occurs 2 times"),
        (Body("body", ()), "has no steps"),
        (body(Edge("a", "c")), "unknown step 'c'"),
        (body(Edge("a", "b"), Edge("b", "a")), "wait for each other: a -> b -> a"),
        (body(Edge("a", "b", [0, 1])), "distance below 1"),
        (body(Edge("a", "b", 0.5)), "distance below 1"),
        (Loop("loop", 2, body(), (Hold("h", "a", "z", 1),)), "hold 'h' names unknown step 'z'"),
        (Loop("loop", 2, Seq("seq", (body(),)), (Hold("h", "a", "b", 1),)), "holds need a loop"),
        (Seq("seq", ()), "has no children"),
        (Seq("seq", (body(), body())), "child 'body' occurs 2 times"),
        (Choose("choose", (body(),), "watts"), "objective is 'watts'"),
    ],
)
def test_faults_are_named(node: Body | Loop | Seq | Choose, message: str) -> None:
    with pytest.raises(DseError, match=message.replace("?", r"\?")):
        Program(node, UNITS)


def test_all_faults_come_together() -> None:
    with pytest.raises(DseError) as caught:
        Program(Seq("seq", (Body("x", ()), Body("y", ()))), {"z": Unit("array")})
    assert len(caught.value.problems) == 3
    assert "seq/y" in str(caught.value)


def test_points_of_inner_programs_count() -> None:
    inner = Program(Body("body", (Step("a", "array", [1, 2]),)), UNITS)
    assert Program(Sub("sub", inner), {}).size == 2
    with pytest.raises(DseError, match="2 and 3 design points"):
        Program(Seq("seq", (Sub("sub", inner), Body("x", (Step("a", None, [1, 2, 3]),)))), {})
