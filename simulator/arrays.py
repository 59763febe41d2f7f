"""Array rules of the simulator: every quantity is a float64 array over design points.

Axis 0 is the design point; shape is ``(n,)``, or ``(1,)`` for what does not vary. Sums and products run
left to right, so that one point alone and a million points give the same bits. Integers above 2**53 lose
their last bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dse.errors import DseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int16]
Mask: TypeAlias = NDArray[np.bool_]
Values: TypeAlias = "Array | NDArray[np.integer] | NDArray[np.bool_] | Sequence[float] | float"


def as_array(values: Values) -> Array:
    """Float64 array of shape (n,) or (1,); a float64 array of that shape is returned itself, never copied.

    Raises
    ------
    DseError
        If the values are not numbers, are empty, or have more than one axis.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DseError(f"not numbers: {values!r}") from error
    if array.ndim > 1 or not array.size:
        raise DseError(f"an array over design points has shape (n,) or (1,), not {array.shape}")
    return array.reshape(1) if array.ndim == 0 else array


def _constant(value: float) -> Array:
    array = np.array([value])
    array.flags.writeable = False
    return array


ZERO = _constant(0.0)
ONE = _constant(1.0)


def product(*factors: Values) -> Array:
    """Product of the factors, left to right, in float64: a count of a 1M-token model does not overflow.

    Raises
    ------
    DseError
        If the product is negative, infinite or not a number at some design point.
    """
    result = ONE
    with np.errstate(over="ignore", invalid="ignore"):
        for factor in factors:
            result = result * as_array(factor)
    if not bool(np.all((result >= 0) & (result < np.inf))):
        raise DseError("a product of counts is negative or not finite")
    return result


def total(values: Iterable[Array]) -> Array:
    """Sum of the arrays, left to right (zero, shape (1,), if there are none)."""
    result = ZERO
    for value in values:
        result = result + value
    return result


def add_to(found: Array, more: Array) -> Array:
    """Sum of a temporary array and another one, written over the temporary if it is large enough."""
    return np.add(found, more, out=found) if len(found) >= len(more) else found + more


def floor_div(numerator: Array, denominator: Array) -> Array:
    """Floor of the quotient; exact for integers whose sum is below 2**53.

    ``numpy.floor_divide`` is 20 times slower; the correctly rounded quotient of such integers never reaches
    the next one.
    """
    quotient = numerator / denominator
    return np.floor(quotient, out=quotient)


def ceil_div(numerator: Values, denominator: Values) -> Array:
    """Smallest whole number not below the quotient; exact for integers whose sum is below 2**53.

    Raises
    ------
    DseError
        If a denominator is not positive.
    """
    bottom = as_array(denominator)
    if not bool(np.all(bottom > 0)):
        raise DseError("division of a count by zero or by a negative number")
    quotient: Array = np.ceil(as_array(numerator) / bottom)
    return quotient


def size_of(arrays: Iterable[Array]) -> int:
    """Number of design points the arrays describe together.

    Raises
    ------
    DseError
        If two arrays describe different numbers of points.
    """
    sizes = {len(array) for array in arrays} - {1}
    if len(sizes) > 1:
        raise DseError(
            f"arrays of {' and '.join(str(n) for n in sorted(sizes))} design points in one program"
        )
    return sizes.pop() if sizes else 1
