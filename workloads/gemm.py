"""A dense layer as a product of two matrices, over design points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Gemm:
    """A dense layer Z[m,n] = A[m,k] * W[k,n]."""

    name: str
    m: Array
    n: Array
    k: Array


def sized(value: float) -> Array:
    """A size as an array of one design point."""
    return np.array([float(value)])
