"""Batches of design points: frozen dataclasses whose arrays are stacked, taken apart and grouped by structure.

What is not an array is structure: two points evaluate together only if their structures are equal. Works on any nest of
dataclasses, mappings and tuples; fields that take no part in comparison (`compare=False`) are taken from the first.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel

T = TypeVar("T")


def structure(value: Any) -> Hashable:  # noqa: ANN401
    """Hashable description of everything in ``value`` but its arrays."""
    if isinstance(value, np.ndarray):
        return ("array", *value.shape[1:])
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    if is_dataclass(value) and not isinstance(value, type):
        parts = ((f.name, structure(getattr(value, f.name))) for f in fields(value) if f.compare)
        return (type(value).__name__, *parts)
    if isinstance(value, Mapping):
        return tuple((key, structure(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(structure(item) for item in value)
    found: Hashable = value
    return found


def stack(values: Sequence[T]) -> T:
    """One batch of equally structured values: each array holds their points, one after another.

    An array that is the same for all stays of shape (1,).
    """
    first = values[0]
    if len(values) == 1:
        return first
    found: Any = _combined(values)
    result: T = found
    return result


def arrays(value: Any) -> list[np.ndarray[Any, Any]]:  # noqa: ANN401
    """Every array in ``value``, in an order that values of one structure share."""
    found: list[np.ndarray[Any, Any]] = []

    def note(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        found.append(array)
        return array

    _mapped(value, note)
    return found


def with_arrays(value: T, new: Sequence[np.ndarray[Any, Any]]) -> T:
    """``value`` with its arrays replaced by others, in the order of `arrays`."""
    rest = iter(new)
    found: Any = _mapped(value, lambda _: next(rest))
    result: T = found
    return result


def take(value: T, indices: Sequence[int] | np.ndarray[Any, np.dtype[np.intp]]) -> T:
    """The points at ``indices``; arrays of shape (1,) hold for all points and stay."""
    chosen = np.asarray(indices, dtype=np.intp)
    found: Any = _mapped(value, lambda array: array if len(array) == 1 else array[chosen])
    result: T = found
    return result


def _combined(values: Sequence[Any]) -> Any:  # noqa: ANN401, PLR0911
    first = values[0]
    if isinstance(first, np.ndarray):
        if all(len(v) == 1 and np.array_equal(v, first, equal_nan=True) for v in values):
            return first
        return np.concatenate(list(values))
    if isinstance(first, BaseModel):
        return first
    if is_dataclass(first) and not isinstance(first, type):
        parts = {
            f.name: _combined([getattr(v, f.name) for v in values])
            for f in fields(first)
            if f.compare and f.init
        }
        return replace(first, **parts)
    if isinstance(first, Mapping):
        return {key: _combined([v[key] for v in values]) for key in first}
    if isinstance(first, list | tuple):
        return type(first)(_combined(items) for items in zip(*values, strict=True))
    return first


def _mapped(value: Any, change: Any) -> Any:  # noqa: ANN401
    if isinstance(value, np.ndarray):
        return change(value)
    if isinstance(value, BaseModel):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{f.name: _mapped(getattr(value, f.name), change) for f in fields(value) if f.init}
        )
    if isinstance(value, Mapping):
        return {key: _mapped(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_mapped(item, change) for item in value)
    return value
