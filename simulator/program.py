"""Program tree: the one form every machine is lowered to.

Modelled: steps that hold a unit and delay their consumers, recurrences at a distance, storage slots that
limit the iterations in flight, steps that run once in several iterations, series, parallel and chosen
parts, clock domains. What none of these expresses (items of different durations, blocks over slots, units shared
at fluid rates) is a ``Leaf``: a node that brings bounds and a simulation of its own.

Every number is an array over design points (``dse.simulator.arrays``). Cycles are those of the program's
clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from dse.errors import DseError
from dse.simulator.arrays import ONE, ZERO, Array, Values, as_array, size_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dse.errors import Problem
    from dse.simulator.points import Points
    from dse.simulator.simulate import Run


class Absent(float):
    """Value of a field that was not given; its own type, as giving 1.0 is not the same as giving nothing."""


class Column:
    """Dataclass field for an array over design points; what it is given goes through ``as_array``."""

    def __init__(self, default: Array | None = None) -> None:
        self.array = default
        self.absent = None if default is None else Absent(default[0])

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = "_" + name

    @overload
    def __get__(self, instance: None, owner: type) -> Absent: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Array: ...
    def __get__(self, instance: object, owner: type) -> Array | Absent:
        if instance is not None:
            value: Array = vars(instance)[self.name]
            return value
        if self.absent is None:
            raise AttributeError(self.name)
        return self.absent

    def __set__(self, instance: object, value: Values) -> None:
        vars(instance)[self.name] = self.array if value is self.absent else as_array(value)


@dataclass(frozen=True, eq=False)
class Unit:
    """A kind of server: ``count`` identical ones, each serving one step at a time."""

    name: str
    count: Column = Column(ONE)


@dataclass(frozen=True, eq=False)
class Action:
    """What one execution of a step does to a component: how often, bytes moved, joules spent (NaN: not known)."""

    component: str
    einsum: str
    tensor: str
    action: str
    count: Column = Column(ONE)
    bytes: Column = Column(ZERO)
    joules: Column = Column(ZERO)


@dataclass(frozen=True, eq=False)
class Step:
    """Holds one server of ``unit`` for ``busy`` cycles, then delays its consumers by ``latency`` cycles.

    A step without a unit is a pure delay. With ``every`` = k it runs in one of k iterations of its loop: in
    iterations k-1, 2k-1, ... (a drain), or with ``first`` in iterations 0, k, 2k, ... (a load for the k
    iterations that follow).
    """

    name: str
    unit: str | None
    busy: Column = Column()
    latency: Column = Column(ZERO)
    actions: tuple[Action, ...] = ()
    every: Column = Column(ONE)
    first: bool = False

    @property
    def sparse(self) -> bool:
        """Whether ``every`` was given at all: structure, so it does not look at the values."""
        return self.every is not ONE


@dataclass(frozen=True, eq=False)
class Edge:
    """``target`` of iteration i waits for ``source`` of iteration i - distance; no wait if that is negative.

    Of a source that does not run in every iteration, it waits for the latest run not after iteration i -
    distance.
    """

    source: str
    target: str
    distance: Column = Column(ZERO)

    @property
    def carried(self) -> bool:
        """Whether the edge reaches across iterations."""
        return self.distance is not ZERO and bool((self.distance > 0).any())


@dataclass(frozen=True, eq=False)
class Hold:
    """Storage for ``capacity`` iterations: taken when ``acquire`` starts, free when ``release`` is done.

    Slots are used in order, so iteration i of ``acquire`` waits for iteration i - capacity of ``release``,
    but not for its latency.
    """

    name: str
    acquire: str
    release: str
    capacity: Column = Column()


@dataclass(frozen=True, eq=False)
class Body:
    """A small graph of steps with dependences, executed once; inside a Loop, its iterations overlap."""

    name: str
    steps: tuple[Step, ...]
    edges: tuple[Edge, ...] = ()


@dataclass(frozen=True, eq=False)
class Loop:
    """Repeats ``body``; iterations of a Body overlap as dependences and holds allow, of other nodes never."""

    name: str
    count: Column = Column()
    body: Node  # type: ignore[misc]  # mypy takes every Column for a default
    holds: tuple[Hold, ...] = ()


@dataclass(frozen=True, eq=False)
class Seq:
    """Children one after another."""

    name: str
    children: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Par:
    """Children side by side, sharing units.

    With ``overlap`` below 1 the part ``1 - overlap`` of what running side by side saves is lost again: 1 is
    the longest child, 0 is one after another.
    """

    name: str
    children: tuple[Node, ...]
    overlap: Column = Column(ONE)


@dataclass(frozen=True, eq=False)
class Choose:
    """The child with the least ``objective`` (cycles or joules) at each design point, the first of equals."""

    name: str
    children: tuple[Node, ...]
    objective: str = "cycles"


@dataclass(frozen=True, eq=False)
class Sub:
    """A program of another clock domain; its units are its own and appear as ``name/unit``."""

    name: str
    program: Program


class Leaf(ABC):
    """A node that brings its own bounds and simulation; its units are used by no other node at the same time.

    Subclasses are frozen dataclasses with ``eq=False``; arrays have design points on axis 0, and whatever they need
    on axis 1.
    """

    name: str

    @property
    @abstractmethod
    def units(self) -> frozenset[str]:
        """Units it may use."""

    @abstractmethod
    def arrays(self) -> Iterator[Array]:
        """Every array it holds, those of its actions included."""

    @abstractmethod
    def problems(self, path: str, program: Program) -> Iterator[Problem]:
        """Structural faults; units are checked elsewhere."""

    @abstractmethod
    def terms(self, points: Points) -> dict[str, Array]:
        """What can bound it, by unit or ``latency``, in cycles: the lower bound is the largest."""

    def expected(self, points: Points) -> Array | None:
        """Cycles to expect where the lower bound is not the best estimate; None where it is."""
        return None

    @abstractmethod
    def upper(self, points: Points) -> Array:
        """Upper bound on its cycles in any schedule that keeps no server idle while work waits for it."""

    @abstractmethod
    def work(self, points: Points) -> dict[str, Array]:
        """Server-cycles of each of its units."""

    @abstractmethod
    def actions(self, points: Points) -> Iterator[tuple[str, Action, Array]]:
        """What it is charged for: a label, the action, and how often it is executed."""

    @abstractmethod
    def run(self, points: Points, limit: int, record: int, path: str) -> Run:
        """Event simulation of one design point: of no more than ``limit`` events, keeping ``record`` slices."""


Branch: TypeAlias = Body | Loop | Seq | Par | Choose | Sub
Node: TypeAlias = Branch | Leaf


@dataclass(frozen=True, eq=False)
class Constraint:
    """A point is infeasible where ``demand`` exceeds ``bound``; ``levers`` say what would satisfy it."""

    name: str
    demand: Column = Column()
    bound: Column = Column()
    unit: str = ""
    levers: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Program:
    """A tree with its units, clock and constraints; ``size`` is the number of design points.

    Raises
    ------
    DseError
        With every structural fault found: unknown or repeated names, cycles, arrays of different lengths.
    """

    root: Node
    units: Mapping[str, Unit]
    clock_hz: Column = Column(ONE)
    constraints: tuple[Constraint, ...] = ()
    size: int = field(init=False, default=1)

    def __post_init__(self) -> None:
        from dse.simulator.checks import problems_of

        problems = problems_of(self)
        if problems:
            raise DseError(*problems)
        object.__setattr__(self, "size", size_of(arrays_of(self)))

    @property
    def all_constraints(self) -> tuple[Constraint, ...]:
        """Constraints of this program, then those of the programs inside it."""
        inner = [
            c for node in nodes_of(self.root) if isinstance(node, Sub) for c in node.program.all_constraints
        ]
        return (*self.constraints, *inner)


def children_of(node: Node) -> tuple[Node, ...]:
    """Nodes directly below ``node`` in the same clock domain."""
    if isinstance(node, Loop):
        return (node.body,)
    return node.children if isinstance(node, Seq | Par | Choose) else ()


def nodes_of(node: Node) -> Iterator[Node]:
    """``node`` and all nodes below it in the same clock domain, in tree order."""
    yield node
    for child in children_of(node):
        yield from nodes_of(child)


def units_of(node: Node) -> set[str]:
    """Units of this clock domain that a node may use."""
    found: set[str] = set()
    for inner in nodes_of(node):
        if isinstance(inner, Leaf):
            found |= inner.units
        elif isinstance(inner, Body):
            found |= {step.unit for step in inner.steps if step.unit is not None}
    return found


def leaf_body(node: Node) -> Body | None:
    """Body whose iterations overlap at ``node``: a Body itself, or that of a Loop over a Body."""
    inner = node.body if isinstance(node, Loop) else node
    return inner if isinstance(inner, Body) else None


def arrays_of(program: Program) -> Iterator[Array]:
    """Every array of a program, those of inner programs included."""
    for part in _parts(program):
        values = vars(part)
        for column in vars(type(part)).values():
            if isinstance(column, Column):
                yield values[column.name]
    yield from _leaf_arrays(program)


def _leaf_arrays(program: Program) -> Iterator[Array]:
    for node in nodes_of(program.root):
        if isinstance(node, Leaf):
            yield from node.arrays()
        elif isinstance(node, Sub):
            yield from _leaf_arrays(node.program)


def _parts(program: Program) -> Iterator[Any]:
    yield program
    yield from program.units.values()
    yield from program.constraints
    for node in nodes_of(program.root):
        if isinstance(node, Leaf):
            continue
        yield node
        if isinstance(node, Sub):
            yield from _parts(node.program)
        elif isinstance(node, Loop):
            yield from node.holds
        elif isinstance(node, Body):
            yield from node.edges
            for step in node.steps:
                yield step
                yield from step.actions
