"""A nest analysed once: which products of tile counts make up its words, footprints, cycles and iterations.

`Plan.costs` counts a batch of candidates; `Plan.factors` and `Plan.finish` are its two halves, for searches that
combine tiles of one rank with those of another. All costs are nondecreasing in every term, except that iterations of
the shared loops shorten the overlapped schedule of a window above one. Batches of about 8192 candidates keep their
arrays in the processor's cache and are counted fastest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from dse.errors import MappingError
from dse.errors import Problem as Fault
from dse.simulator.loop_nest.chains import POINT, Tiles
from dse.simulator.loop_nest.hierarchy import STREAM, operations_of
from dse.simulator.loop_nest.links import Links, Move
from dse.simulator.loop_nest.nest import REGISTERS, Keep, Loop
from dse.simulator.loop_nest.sites import SHARED, Sites
from dse.simulator.loop_nest.terms import ONE_FACTOR, Factor, Term, TermTable, product_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.arch.spatial_array import Operation
    from dse.simulator.arrays import Array
    from dse.simulator.loop_nest.costs import Costs
    from dse.simulator.loop_nest.hierarchy import Hierarchy
    from dse.simulator.loop_nest.nest import Nest
    from dse.simulator.loop_nest.problem import Problem, Shape


@dataclass(frozen=True, slots=True)
class Conventions:
    """Choices that published models make differently; the defaults are what hardware does.

    ``register_reads``: of an operand for each operation, or once for each fill (a one-word latch whose output does not
    change); ``bandwidth``: reads and writes share one pool, or each has all of it, or each tensor has; ``buffering``: a
    tile is replaced word by word as it is used up (buffets), or takes room twice; ``array_fill``: whether cycles count
    that a sum takes to cross its axis.
    """

    register_reads: Literal["operation", "fill"] = "operation"
    bandwidth: Literal["pooled", "ports", "operands"] = "pooled"
    buffering: Literal["single", "double"] = "single"
    array_fill: Literal["counted", "ignored"] = "counted"


@dataclass(frozen=True, slots=True)
class Footprint:
    """Room of one stored tensor: the sum of these terms; ``staged`` if it passes between Einsums of the group."""

    owner: str
    memory: str
    tensor: str
    terms: tuple[int, ...]
    staged: bool


@dataclass(frozen=True)
class Work:
    """One operation of an Einsum: executions, and steps of the array; none for one pipelined before another."""

    operation: Operation
    count: int
    steps: int | None


@dataclass(frozen=True)
class BranchPlan:
    """What one Einsum does: its work, elements used on each axis, and how far its sums travel how often."""

    einsum: str
    unit: str
    work: tuple[Work, ...]
    axes: dict[str, int]
    ripple: int | None
    runs: int


@dataclass(frozen=True)
class GroupPlan:
    """Terms of one group."""

    branches: tuple[BranchPlan, ...]
    moves: tuple[Move, ...]
    footprints: tuple[Footprint, ...]
    iterations: int
    single_steps: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Plan:
    """Analysis of one nest on one machine.

    Raises
    ------
    MappingError
        The nest is not one of this problem on this machine; all faults together.
    """

    problem: Problem
    hierarchy: Hierarchy
    nest: Nest
    conventions: Conventions = Conventions()

    def __post_init__(self) -> None:
        from dse.simulator.loop_nest.check import faults

        if found := faults(self.problem, self.hierarchy, self.nest):
            raise MappingError(*(Fault(text, path=path) for path, text in found))

    @cached_property
    def _analysis(self) -> tuple[tuple[GroupPlan, ...], tuple[Term, ...]]:
        table = TermTable()
        groups = tuple(self._group(number, table) for number in range(len(self.nest.groups)))
        return groups, tuple(table.terms)

    @property
    def groups(self) -> tuple[GroupPlan, ...]:
        """Groups in order."""
        return self._analysis[0]

    @property
    def terms(self) -> tuple[Term, ...]:
        """Every product a count needs."""
        return self._analysis[1]

    @property
    def ranks(self) -> tuple[str, ...]:
        """Ranks in the order in which their factors are multiplied."""
        return tuple(self.problem.sizes)

    def _group(self, number: int, table: TermTable) -> GroupPlan:
        sites = Sites(self.problem, self.nest, number)
        links = Links(
            sites, self.hierarchy.units, table, self.hierarchy.names[0], self.conventions.register_reads
        )
        shared = len(sites.group.shared)
        loops = {r: Factor("span", _plain(sites, r, shared), each=1.0) for r in sites.shared_ranks}
        return GroupPlan(
            branches=tuple(self._branch(sites, branch.einsum, table) for branch in sites.group.branches),
            moves=tuple(links.moves()),
            footprints=tuple(_footprints(sites, links, table)),
            iterations=table.add("iterations of shared loops", loops),
            single_steps=tuple(
                (rank, table.add(f"steps of {rank}", {rank: Factor("extent", _plain(sites, rank, shared))}))
                for rank in dict.fromkeys(r for _, _, r in self.problem.feedback(sites.group.einsums))
            ),
        )

    def _branch(self, sites: Sites, einsum: str, table: TermTable) -> BranchPlan:
        shape, nodes = self.problem.shape(einsum), sites.group.nodes(einsum)
        branch = next(b for b in sites.group.branches if b.einsum == einsum)
        unit = self.hierarchy.units[branch.unit]
        operations = operations_of(einsum, shape.operations, unit)
        absorbed = {name for operation, _ in operations for name in operation.absorbs}
        spatial = [(i, n) for i, n in enumerate(nodes) if isinstance(n, Loop) and n.axis is not None]
        axes: dict[str, dict[str, Factor]] = {}
        along: dict[str, Factor] = {}
        for index, node in spatial:
            factor = Factor("pieces", sites.chain(einsum, node.rank, index + 1))
            axes.setdefault(str(node.axis), {})[node.rank] = factor
            if node.rank in shape.reduced and len(unit.axes) > 1:
                along[node.rank] = factor
        again = _again(sites, shape)
        waits = (
            shape.ranks if len(sites.group.branches) > 1 else ()
        )  # tiles of one Einsum follow without a gap
        runs = {r: Factor("span", _plain(sites, r, len(sites.group.shared)), each=1.0) for r in waits}
        return BranchPlan(
            einsum=einsum,
            unit=branch.unit,
            work=tuple(
                Work(
                    operation,
                    table.add(f"{einsum} operations", _points(ranks) | again),
                    None
                    if operation.name in absorbed
                    else table.add(f"{einsum} steps", _steps(sites, einsum, ranks) | again),
                )
                for operation, ranks in ((o, r or shape.ranks) for o, r in operations)
            ),
            axes={axis: table.add(f"{einsum} {axis}", factors) for axis, factors in axes.items()},
            ripple=table.add(f"{einsum} ripple", along) if along else None,
            runs=table.add(f"{einsum} runs", runs | again),
        )

    def columns(self, rank: str, rows: Sequence[Array]) -> list[Array]:
        """Different factors of one rank, at the tiles of its loops (in the order of ``nest.rows_of(rank)``)."""
        tiles = Tiles(self.problem.sizes[rank], dict(zip(self.nest.rows_of(rank), rows, strict=True)))
        return [factor.value(tiles) for factor in self.unique[rank]]

    @cached_property
    def unique(self) -> dict[str, list[Factor]]:
        """Different factors of each rank, the factor 1 left out."""
        return {
            rank: list(dict.fromkeys(term.factors[rank] for term in self.terms if rank in term.factors))
            for rank in self.ranks
        }

    @cached_property
    def index(self) -> dict[str, NDArray[np.intp]]:
        """For each rank, the column of each term; -1 where the factor is 1."""
        found = {}
        for rank in self.ranks:
            place = {factor: number for number, factor in enumerate(self.unique[rank])}
            found[rank] = np.array(
                [place[t.factors[rank]] if rank in t.factors else -1 for t in self.terms], dtype=np.intp
            )
        return found

    def factors(self, rank: str, rows: Sequence[Array]) -> NDArray[np.float64]:
        """Factor of one rank in every term, shape (terms, n)."""
        columns = self.columns(rank, rows)
        size = max((len(column) for column in columns), default=1)
        table = np.ones((len(columns) + 1, size))
        for number, column in enumerate(columns):
            table[number] = column
        return table[self.index[rank]]

    def products(self, tiles: NDArray[np.float64] | Sequence[Array]) -> list[Array]:
        """Every term at the tiles of all loops, one row for each loop."""
        columns = {
            rank: self.columns(rank, [tiles[row] for row in self.nest.rows_of(rank)]) for rank in self.ranks
        }
        return [
            product_of(
                [columns[rank][self.index[rank][number]] for rank in self.ranks if rank in term.factors]
            )
            for number, term in enumerate(self.terms)
        ]

    def finish(self, products: Sequence[Array], window: Sequence[Array] | None = None) -> Costs:
        """Costs at the values of every term, each of shape (1,) or (n,)."""
        from dse.simulator.loop_nest.costs import finish

        return finish(self, products, window)

    def costs(
        self, tiles: NDArray[np.float64] | Sequence[Array], window: NDArray[np.float64] | None = None
    ) -> Costs:
        """Costs of a batch: ``tiles`` has one row for each loop, ``window`` one for each group."""
        return self.finish(self.products(tiles), None if window is None else list(window))


def _plain(sites: Sites, rank: str, below: int) -> tuple[tuple[int, bool], ...]:
    """Shared loops over a rank above an index, whoever repeats them."""
    return tuple((row, False) for _, row, _ in sites.loops(SHARED, rank, below))


def _points(ranks: tuple[str, ...]) -> dict[str, Factor]:
    return {rank: Factor("span", whole=1.0) for rank in ranks}


def _again(sites: Sites, shape: Shape) -> dict[str, Factor]:
    below = len(sites.group.shared)
    missing = [rank for rank in sites.shared_ranks if rank not in shape.ranks]
    return {rank: Factor("span", sites.chain(shape.name, rank, below), each=1.0) for rank in missing}


def _steps(sites: Sites, einsum: str, ranks: tuple[str, ...]) -> dict[str, Factor]:
    """Steps over some ranks of an Einsum, elements side by side counted once."""
    nodes = sites.group.nodes(einsum)
    axes = frozenset(str(n.axis) for n in nodes if isinstance(n, Loop) and n.axis is not None)
    return {
        rank: Factor("span", (*sites.chain(einsum, rank, len(nodes), (0, axes)), (POINT, False)), each=1.0)
        for rank in ranks
    }


def _footprints(sites: Sites, links: Links, table: TermTable) -> list[Footprint]:
    """Room of every store of a group."""
    found = []
    for owner in (SHARED, *sites.group.einsums):
        nodes = sites.group.shared if owner == SHARED else sites.group.nodes(owner)
        for index, node in enumerate(nodes):
            own = index >= len(sites.group.shared) or owner == SHARED
            if isinstance(node, Keep) and own:
                found.append(_footprint(sites, links, table, owner, index, node))
    return found


def _footprint(sites: Sites, links: Links, table: TermTable, owner: str, index: int, node: Keep) -> Footprint:
    tensor, name = node.tensor, f"{node.tensor} in {node.memory}"
    if owner == SHARED:
        touch = links.union(tensor)
    else:
        shape = sites.problem.shape(owner)
        touches = [t for t in (*shape.inputs, shape.output) if t.tensor == tensor]
        touch = max(touches, key=lambda t: sum(span.extra for span in t.spans.values()))
    factors = {rank: _held(sites, owner, node, rank, index, span.extra) for rank, span in touch.spans.items()}
    terms: tuple[int, ...] = (table.add(name, factors),)
    below, rank = len(sites.group.shared), touch.carried
    if owner == SHARED and rank in touch.spans and _plain(sites, rank, below) != _plain(sites, rank, index):
        versions = {rank: _held(sites, owner, node, rank, below, 0.0)}
        visit = {r: _held(sites, owner, node, r, below, 0.0) for r in touch.spans if r != rank}
        terms = (table.add(name, factors | versions), table.add(f"older {name}", visit))
    staged = owner == SHARED and sites.inside(tensor) and not sites.problem.carried(tensor)
    return Footprint(owner, node.memory, tensor, terms, staged)


def _held(sites: Sites, owner: str, node: Keep, rank: str, index: int, extra: float) -> Factor:
    """What a store holds along one rank; of registers that Einsums share, what each element holds of it."""
    if node.memory.endswith(f".{STREAM}"):
        return ONE_FACTOR
    unit = node.memory.removesuffix(f".{REGISTERS}")
    users = [
        b.einsum for b in sites.group.branches if b.unit == unit and b.einsum in sites.accessors(node.tensor)
    ]
    if owner == SHARED and users:
        nodes = sites.group.nodes(users[0])
        spatial = [i for i, n in enumerate(nodes) if isinstance(n, Loop) and n.axis and n.rank == rank]
        if spatial:
            chain = sites.chain(users[0], rank, spatial[-1] + 1)
            return Factor("share", chain, len(_plain(sites, rank, index)), once=extra)
    return Factor("extent", sites.chain(owner, rank, index), once=extra)
