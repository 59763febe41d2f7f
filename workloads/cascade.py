"""Extended-Einsum cascades as frozen values: accesses, expressions, reductions, carried ranks, counts.

Modelled: what is computed, over which ranks, in which dependency order. Not modelled: loop order, storage,
precision and sparsity, which belong to the mapping and the workload. The notation is documented in
``einsum.lark``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, Union

import numpy as np

from dse.errors import Problem, WorkloadError, nearest
from dse.workloads.operators import NOTATION, OPERATORS, Array

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import networkx as nx


@dataclass(frozen=True, slots=True)
class Index:
    """One coordinate of an access: ``m1``, ``m1+1`` (offset 1), or ``last``, the value after the rank."""

    rank: str
    offset: int = 0
    last: bool = False

    def __str__(self) -> str:
        if self.last:
            return "last"
        return f"{self.rank}+{self.offset}" if self.offset else self.rank


@dataclass(frozen=True, slots=True)
class Access:
    """A tensor at coordinates; ``column`` is where it stands in the Einsum's text, for errors only."""

    tensor: str
    indices: tuple[Index, ...]
    column: int = field(default=0, compare=False, repr=False)

    @property
    def ranks(self) -> tuple[str, ...]:
        """Ranks this access iterates over; ``last`` iterates over none."""
        return tuple(index.rank for index in self.indices if not index.last)

    @property
    def last(self) -> bool:
        """Whether this reads the final value of a carried tensor."""
        return any(index.last for index in self.indices)

    def __str__(self) -> str:
        return f"{self.tensor}[{','.join(map(str, self.indices))}]"


@dataclass(frozen=True, slots=True)
class Constant:
    """A number in an expression; ``name`` is its name in ``constants:`` or its literal text."""

    name: str
    value: float

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Call:
    """A map operator (a key of ``operators.OPERATORS``) applied to operands."""

    operator: str
    operands: tuple[Expression, ...]

    def __str__(self) -> str:
        operator = OPERATORS[self.operator]
        if not operator.symbol:
            return f"{self.operator}({', '.join(map(str, self.operands))})"
        left, right = self.operands
        level = operator.precedence
        # Comparisons do not chain, the other infix operators associate to the left.
        left_text = _bracketed(left, level + (level == 1))
        return f"{left_text} {operator.symbol} {_bracketed(right, level + 1)}"


Expression: TypeAlias = Union[Access, Constant, Call]  # noqa: UP007 - evaluated before Call.operands is


def _bracketed(expression: Expression, least: int) -> str:
    loose = isinstance(expression, Call) and OPERATORS[expression.operator].precedence < least
    return f"({expression})" if loose else str(expression)


@dataclass(frozen=True, slots=True)
class Reduction:
    """Reduction of ``ranks`` by ``add``, ``max``, ``min`` or ``kth``, the ``argument``-th largest."""

    operator: str
    ranks: tuple[str, ...]
    argument: Constant | None = None
    column: int = field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        words = [*self.ranks, *([str(self.argument)] if self.argument else [])]
        return f":{NOTATION[self.operator]}({','.join(words)})"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operator executed once per point of ``ranks``."""

    operator: str
    ranks: tuple[str, ...]

    def count(self, sizes: Mapping[str, Array]) -> Array:
        """Executions at these rank sizes, float64, one per design point; see ``points``."""
        return points(self.ranks, sizes)


@dataclass(frozen=True, slots=True)
class Einsum:
    """One equation: ``output = expression`` with reductions applied left to right; ``text`` is as written."""

    output: Access
    expression: Expression
    reductions: tuple[Reduction, ...] = ()
    text: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """Name of the tensor it defines."""
        return self.output.tensor

    @property
    def operands(self) -> tuple[Access, ...]:
        """Accesses of the expression, left to right, repeated ones kept."""
        return tuple(leaf for leaf in _leaves(self.expression) if isinstance(leaf, Access))

    @property
    def constants(self) -> tuple[Constant, ...]:
        """Constants of the expression and the reductions."""
        leaves = [leaf for leaf in _leaves(self.expression) if isinstance(leaf, Constant)]
        return (*leaves, *(r.argument for r in self.reductions if r.argument))

    @property
    def ranks(self) -> tuple[str, ...]:
        """Iteration space: the output's ranks, then the reduced ones in order of appearance."""
        ranks = [*self.output.ranks, *(rank for operand in self.operands for rank in operand.ranks)]
        return tuple(dict.fromkeys(ranks))

    @property
    def reduced(self) -> tuple[str, ...]:
        """Ranks of the iteration space that the output does not hold."""
        return tuple(rank for rank in self.ranks if rank not in self.output.ranks)

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Every map operator, innermost first, then every reduction, with the ranks each runs over.

        A map operator runs once per point of the ranks of its own operands, whatever surrounds it; a
        reduction runs once per value entering it (n values cost n operations: the first is folded into the
        initial value).
        """
        left = self.ranks
        found = [
            Operation(call.operator, tuple(rank for rank in left if rank in _ranks(call)))
            for call in _calls(self.expression)
        ]
        for reduction in self.reductions:
            found.append(Operation(reduction.operator, left))
            left = tuple(rank for rank in left if rank not in reduction.ranks)
        return tuple(found)

    def __str__(self) -> str:
        written = self.reductions[1:] if _implied(self) else self.reductions
        return " ".join([f"{self.output} = {self.expression}", *map(str, written)])


def _leaves(expression: Expression) -> Iterator[Access | Constant]:
    if isinstance(expression, Call):
        for operand in expression.operands:
            yield from _leaves(operand)
    else:
        yield expression


def _calls(expression: Expression) -> Iterator[Call]:
    if isinstance(expression, Call):
        for operand in expression.operands:
            yield from _calls(operand)
        yield expression


def _ranks(expression: Expression) -> frozenset[str]:
    return frozenset(r for leaf in _leaves(expression) if isinstance(leaf, Access) for r in leaf.ranks)


def _implied(einsum: Einsum) -> bool:
    if not einsum.reductions:
        return False
    first, *others = einsum.reductions
    written = {rank for reduction in others for rank in reduction.ranks}
    return first.operator == "add" and first.ranks == tuple(r for r in einsum.reduced if r not in written)


@dataclass(frozen=True, slots=True)
class Carried:
    """A tensor defined at ``rank+1`` from its value at ``rank``; ``initial`` is its value at coordinate 0."""

    rank: str
    initial: float


@dataclass(frozen=True)
class Cascade:
    """A checked sequence of Einsums in program order, with what it assumes and where it comes from.

    ``ranks`` maps each rank to its meaning. ``partition`` splits a rank into ranks, outermost first (``m:
    (m1, m0)`` means coordinate ``m = m1 * size(m0) + m0``). ``outputs`` defaults to the tensors nobody reads.

    Raises
    ------
    WorkloadError
        If the cascade is not well formed; all problems together, paths as in the YAML file.
    """

    name: str
    family: str
    assumes: tuple[str, ...]
    source: str
    ranks: Mapping[str, str]
    inputs: Mapping[str, tuple[str, ...]]
    einsums: tuple[Einsum, ...]
    carried: Mapping[str, Carried] = field(default_factory=dict)
    constants: Mapping[str, float] = field(default_factory=dict)
    partition: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    title: str = ""

    def __post_init__(self) -> None:
        from dse.workloads.cascade_check import problems

        if not self.outputs:
            read = {operand.tensor for einsum in self.einsums for operand in einsum.operands}
            unread = tuple(einsum.name for einsum in self.einsums if einsum.name not in read)
            object.__setattr__(self, "outputs", unread)
        if found := problems(self):
            raise WorkloadError(*found)

    def einsum(self, name: str) -> Einsum:
        """The Einsum that defines tensor ``name``; WorkloadError with the nearest name if there is none."""
        for einsum in self.einsums:
            if einsum.name == name:
                return einsum
        names = [einsum.name for einsum in self.einsums]
        raise WorkloadError(f"cascade '{self.name}' has no Einsum '{name}'{nearest(name, names)}")

    @property
    def tensors(self) -> dict[str, tuple[str, ...]]:
        """Ranks of every tensor, inputs first; a carried tensor holds its carried rank too."""
        return {**self.inputs, **{einsum.name: einsum.output.ranks for einsum in self.einsums}}

    def distance(self, access: Access) -> int:
        """Iterations of the carried rank between the value read here and the one being made; 0 otherwise."""
        carried = self.carried.get(access.tensor)
        if carried is None or access.last:
            return 0
        offsets = [index.offset for index in access.indices if index.rank == carried.rank]
        return 1 - offsets[0] if offsets else 0

    def graph(self) -> nx.DiGraph[str]:
        """Dataflow: one node per tensor (and for the Einsum that makes it), one edge per operand.

        Nodes carry ``kind`` (``input`` or ``einsum``), ``ranks`` and ``einsum`` (None for inputs). Edges
        carry ``accesses`` (in order of appearance), ``distances`` (sorted; 1 is the value of the previous
        iteration of the carried rank) and ``last`` (True where the final value is read).
        """
        import networkx as nx

        graph: nx.DiGraph[str] = nx.DiGraph(name=self.name)
        for name, ranks in self.inputs.items():
            graph.add_node(name, kind="input", ranks=ranks, einsum=None)
        for einsum in self.einsums:
            graph.add_node(einsum.name, kind="einsum", ranks=einsum.output.ranks, einsum=einsum)
        for einsum in self.einsums:
            for tensor in dict.fromkeys(operand.tensor for operand in einsum.operands):
                accesses = tuple(operand for operand in einsum.operands if operand.tensor == tensor)
                distances = tuple(sorted({self.distance(access) for access in accesses}))
                last = any(access.last for access in accesses)
                graph.add_edge(tensor, einsum.name, accesses=accesses, distances=distances, last=last)
        return graph

    def operation_counts(self, sizes: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
        """Executions per Einsum and operator at these rank sizes, float64, one per design point."""
        counts: dict[str, dict[str, Array]] = {}
        for einsum in self.einsums:
            row = counts.setdefault(einsum.name, {})
            for operation in einsum.operations:
                count = operation.count(sizes)
                row[operation.operator] = (
                    row[operation.operator] + count if operation.operator in row else count
                )
        return counts


def points(ranks: tuple[str, ...], sizes: Mapping[str, Array]) -> Array:
    """Product of the sizes of ``ranks``, left to right, float64, shape (1,) for no ranks.

    Raises
    ------
    WorkloadError
        If a rank has no size, or the product is not finite.
    """
    total = np.ones(1)
    for rank in ranks:
        if rank not in sizes:
            raise WorkloadError(Problem(f"rank '{rank}' has no size{nearest(rank, sizes)}"))
        total = total * np.asarray(sizes[rank], dtype=np.float64)
    if not np.all(np.isfinite(total)):
        raise WorkloadError(Problem(f"the product of the sizes of {', '.join(ranks)} is not a finite number"))
    return total
