"""Map and reduction operators of the Einsum language: name, notation, arity and meaning on float64 arrays.

Modelled: what an operator computes. Not modelled: what it costs; a machine file gives cycles and energy per
name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Operator:
    """One map operator; ``symbol`` is its infix notation, empty where it is written ``name(...)``."""

    name: str
    arity: int
    function: Callable[..., Array]
    symbol: str = ""
    precedence: int = 9


@dataclass(frozen=True, slots=True)
class Reducer:
    """One reduction operator, written ``:notation(rank, ...)``; ``parameter`` names a last argument."""

    name: str
    notation: str
    parameter: str = ""


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _elu(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0.0)))


def _where(chosen: Array, a: Array, b: Array) -> Array:
    return np.where(chosen != 0, a, b)


_INFIX = (
    Operator("greater_equal", 2, lambda a, b: np.greater_equal(a, b).astype(np.float64), ">=", 1),
    Operator("greater", 2, lambda a, b: np.greater(a, b).astype(np.float64), ">", 1),
    Operator("add", 2, np.add, "+", 2),
    Operator("subtract", 2, np.subtract, "-", 2),
    Operator("multiply", 2, np.multiply, "*", 3),
    Operator("divide", 2, np.divide, "/", 3),
)

_FUNCTIONS = (
    Operator("max", 2, np.maximum),
    Operator("min", 2, np.minimum),
    Operator("abs", 1, np.abs),
    Operator("elu", 1, _elu),
    Operator("exp", 1, np.exp),
    Operator("exp2", 1, np.exp2),
    Operator("log", 1, np.log),
    Operator("negate", 1, np.negative),
    Operator("reciprocal", 1, lambda x: 1.0 / x),
    Operator("relu", 1, lambda x: np.maximum(x, 0.0)),
    Operator("sigmoid", 1, _sigmoid),
    Operator("silu", 1, lambda x: x * _sigmoid(x)),
    Operator("sqrt", 1, np.sqrt),
    Operator("square", 1, np.square),
    Operator("tanh", 1, np.tanh),
    Operator("where", 3, _where),
)

OPERATORS = {operator.name: operator for operator in (*_INFIX, *_FUNCTIONS)}
INFIX = {operator.symbol: operator for operator in _INFIX}
FUNCTIONS = {operator.name: operator for operator in _FUNCTIONS}

REDUCERS = {
    reducer.notation: reducer
    for reducer in (
        Reducer("add", "sum"),
        Reducer("max", "max"),
        Reducer("min", "min"),
        Reducer("kth", "kth", parameter="k"),
    )
}
NOTATION = {reducer.name: reducer.notation for reducer in REDUCERS.values()}


def reduce_axes(operator: str, values: Array, axes: tuple[int, ...], k: int = 0) -> Array:
    """Reduction of ``values`` over ``axes``; ``kth`` gives the k-th largest, 1 <= k <= values reduced."""
    if operator == "add":
        return np.asarray(np.sum(values, axis=axes))
    if operator == "max":
        return np.asarray(np.max(values, axis=axes))
    if operator == "min":
        return np.asarray(np.min(values, axis=axes))
    kept = tuple(axis for axis in range(values.ndim) if axis not in axes)
    shape = tuple(values.shape[axis] for axis in kept)
    flat = np.transpose(values, (*kept, *axes)).reshape(*shape, -1)
    place = flat.shape[-1] - k
    return np.asarray(np.partition(flat, place, axis=-1)[..., place])
