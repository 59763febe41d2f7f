"""Numeric interpreter: executes a cascade on small float64 tensors, as the meaning of its Einsums.

Modelled: values, carried ranks in order from their initial value. Not modelled: rounding to a narrower
precision, and any order of summation other than numpy's. An Einsum is vectorised over all its ranks but the
one being carried. Overflow is not hidden: it shows as inf or nan in the result, as IEEE arithmetic says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import WorkloadError, nearest
from dse.workloads.cascade import Access, Call, Constant
from dse.workloads.cascade_check import recurrences
from dse.workloads.operators import OPERATORS, reduce_axes
from dse.workloads.sizes import single_sizes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from dse.workloads.cascade import Cascade, Einsum, Expression, Reduction
    from dse.workloads.operators import Array


def execute(
    cascade: Cascade,
    sizes: Mapping[str, ArrayLike],
    inputs: Mapping[str, Array],
    constants: Mapping[str, float] | None = None,
) -> dict[str, Array]:
    """Every tensor of the cascade, inputs included, by name.

    Parameters
    ----------
    sizes
        Rank sizes, see ``sizes.complete_sizes``.
    inputs
        Arrays in the declared rank order; ``sizes.partition_inputs`` makes them from whole ones.
    constants
        Values that replace those of the file.

    Returns
    -------
    dict
        float64 arrays in the rank order of ``cascade.tensors``; a carried tensor has one more entry than its
        rank, the initial value first.

    Raises
    ------
    WorkloadError
        Missing or misshapen inputs, unknown constants, a k outside its rank.
    """
    full = single_sizes(cascade, sizes)
    run = _Run(cascade, full, {**cascade.constants, **_known(cascade, constants or {})})
    for name, ranks in cascade.inputs.items():
        run.values[name] = _input(name, tuple(full[rank] for rank in ranks), inputs)
    loops = {name: loop for loop in recurrences(cascade) for name in loop}
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for name in _order(cascade, loops):
            if name in loops:
                run.iterate([cascade.einsum(member) for member in loops[name]])
            else:
                run.whole(cascade.einsum(name))
    return run.values


def _known(cascade: Cascade, constants: Mapping[str, float]) -> Mapping[str, float]:
    for name in constants:
        if name not in cascade.constants:
            hint = nearest(name, cascade.constants)
            raise WorkloadError(f"cascade '{cascade.name}' has no constant '{name}'{hint}")
    return constants


def _input(name: str, shape: tuple[int, ...], inputs: Mapping[str, Array]) -> Array:
    if name not in inputs:
        raise WorkloadError(f"input '{name}' is missing{nearest(name, inputs)}")
    array = np.asarray(inputs[name], dtype=np.float64)
    if array.shape != shape:
        raise WorkloadError(f"input '{name}' has shape {array.shape}, expected {shape}")
    return array


def _order(cascade: Cascade, loops: Mapping[str, tuple[str, ...]]) -> list[str]:
    """One name per step of execution: an Einsum, or the first member of a recurrence."""
    import networkx as nx

    steps = {einsum.name: loops.get(einsum.name, (einsum.name,))[0] for einsum in cascade.einsums}
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(steps.values())
    for einsum in cascade.einsums:
        for operand in einsum.operands:
            source = steps.get(operand.tensor)
            if source is not None and source != steps[einsum.name]:
                graph.add_edge(source, steps[einsum.name])
    place = {name: index for index, name in enumerate(steps)}
    return list(nx.lexicographical_topological_sort(graph, key=place.__getitem__))


@dataclass
class _Run:
    """Values made so far."""

    cascade: Cascade
    sizes: Mapping[str, int]
    constants: Mapping[str, float]
    values: dict[str, Array] = field(default_factory=dict)

    def whole(self, einsum: Einsum) -> None:
        """Execute an Einsum over all its ranks at once; of a carried one this is the history."""
        result = self.result(einsum, {})
        carried = self.cascade.carried.get(einsum.name)
        if carried:
            axis = einsum.output.ranks.index(carried.rank)
            first = np.full_like(np.take(result, [0], axis=axis), carried.initial)
            result = np.concatenate([first, result], axis=axis)
        self.values[einsum.name] = result

    def iterate(self, loop: list[Einsum]) -> None:
        """Execute a recurrence, all its Einsums in program order, step by step along the carried rank."""
        carried = self.cascade.carried
        rank = next(carried[einsum.name].rank for einsum in loop if einsum.name in carried)
        for einsum in loop:
            state = carried.get(einsum.name)
            shape = [self.sizes[r] + (1 if state and r == rank else 0) for r in einsum.output.ranks]
            self.values[einsum.name] = np.full(shape, state.initial if state else np.nan)
        for step in range(self.sizes[rank]):
            for einsum in loop:
                axis = einsum.output.ranks.index(rank)
                place = step + einsum.output.indices[axis].offset
                target = self.values[einsum.name]
                target[(slice(None),) * axis + (place,)] = self.result(einsum, {rank: step})

    def result(self, einsum: Einsum, fixed: Mapping[str, int]) -> Array:
        """Value of the right-hand side over the output's free ranks, in the output's order."""
        axes = tuple(rank for rank in einsum.ranks if rank not in fixed)
        reductions = einsum.reductions
        factors = _factors(einsum.expression)
        if factors and reductions and reductions[0].operator == "add":
            values, axes = self.contraction(factors, axes, reductions[0].ranks, fixed)
            reductions = reductions[1:]
        else:
            values = np.asarray(self.expression(einsum.expression, axes, fixed), dtype=np.float64)
            values = np.broadcast_to(values, [self.sizes[rank] for rank in axes])
        for reduction in reductions:
            places = tuple(axes.index(rank) for rank in reduction.ranks)
            values = reduce_axes(reduction.operator, values, places, self.k(reduction))
            axes = tuple(rank for rank in axes if rank not in reduction.ranks)
        return values

    def contraction(
        self,
        factors: tuple[Access, ...],
        axes: tuple[str, ...],
        reduced: tuple[str, ...],
        fixed: Mapping[str, int],
    ) -> tuple[Array, tuple[str, ...]]:
        """Sum of a product of tensors, without the product over all ranks in memory."""
        kept = tuple(rank for rank in axes if rank not in reduced)
        arguments: list[object] = []
        for access in factors:
            array, ranks = self.operand(access, fixed)
            arguments += [array, [axes.index(rank) for rank in ranks]]
        arguments.append([axes.index(rank) for rank in kept])
        result = np.einsum(*arguments, optimize=True)  # type: ignore[call-overload]
        return np.asarray(result, dtype=np.float64), kept

    def operand(self, access: Access, fixed: Mapping[str, int]) -> tuple[Array, tuple[str, ...]]:
        """Array of an access and the ranks of its axes."""
        carried = self.cascade.carried.get(access.tensor)
        key: list[int | slice] = []
        for index in access.indices:
            size = self.sizes[index.rank]
            if index.last:
                key.append(size)
            elif index.rank in fixed:
                key.append(fixed[index.rank] + index.offset)
            elif carried and index.rank == carried.rank:
                key.append(slice(index.offset, index.offset + size))
            else:
                key.append(slice(None))
        return self.values[access.tensor][tuple(key)], tuple(r for r in access.ranks if r not in fixed)

    def expression(self, expression: Expression, axes: tuple[str, ...], fixed: Mapping[str, int]) -> Array:
        """Value of an expression, broadcastable over ``axes``."""
        if isinstance(expression, Constant):
            return np.asarray(self.constants.get(expression.name, expression.value))
        if isinstance(expression, Call):
            operands = [self.expression(operand, axes, fixed) for operand in expression.operands]
            return OPERATORS[expression.operator].function(*operands)
        array, ranks = self.operand(expression, fixed)
        order = sorted(range(len(ranks)), key=lambda place: axes.index(ranks[place]))
        missing = tuple(place for place, rank in enumerate(axes) if rank not in ranks)
        return np.expand_dims(np.transpose(array, order), missing)

    def k(self, reduction: Reduction) -> int:
        """The k of a ``kth`` reduction, 0 for others; WorkloadError outside 1 .. elements reduced."""
        if reduction.argument is None:
            return 0
        k = self.constants.get(reduction.argument.name, reduction.argument.value)
        most = int(np.prod([self.sizes[rank] for rank in reduction.ranks]))
        if not (k == int(k) and 1 <= k <= most):
            raise WorkloadError(f"{reduction} needs a whole number from 1 to {most}, not {k:g}")
        return int(k)


def _factors(expression: Expression) -> tuple[Access, ...]:
    """Tensors of a pure product, empty for any other expression."""
    if isinstance(expression, Access):
        return (expression,)
    if isinstance(expression, Call) and expression.operator == "multiply":
        parts = [_factors(operand) for operand in expression.operands]
        return tuple(access for part in parts for access in part) if all(parts) else ()
    return ()
