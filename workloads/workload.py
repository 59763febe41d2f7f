"""A workload: one attention problem with its sizes, precision and mask, and the linear layers around it.

Modelled: batch, key heads, the query heads that share one, queries, keys, score and value depth, causal masks, one
precision for all values, dense projections and feed-forward layers, repetition over layers. Not modelled: positional
encodings, normalisation, residual additions, dropout, embedding and output head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dse.errors import Problem, WorkloadError

if TYPE_CHECKING:
    from collections.abc import Mapping

Array: TypeAlias = NDArray[np.float64]

VALUE_BYTES = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5}
RANKS = {
    "b": "batch",
    "h": "key heads",
    "g": "query heads that share a key head",
    "p": "queries",
    "m": "keys",
    "e": "score depth",
    "f": "value depth",
}


@dataclass(frozen=True)
class Gemm:
    """A dense layer Z[m,n] = A[m,k] * W[k,n]."""

    name: str
    m: Array
    n: Array
    k: Array


@dataclass(frozen=True)
class Workload:
    """Sizes over design points; axis 0 is the point. ``sizes`` is empty where there is no attention.

    ``cascade`` names the cascade asked for, or is empty where the mapping decides.
    """

    name: str
    title: str
    family: str
    cascade: str
    scope: str
    causal: bool
    sizes: Mapping[str, Array]
    value_bytes: Array
    linear: tuple[Gemm, ...]
    layers: Array
    provenance: str
    parameters: Mapping[str, str | int | bool] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        wrong = [f"{RANKS[r]} ({r})" for r, size in self.sizes.items() if not bool(np.all(size >= 1))]
        wrong += [f"{g.name}.{a}" for g in self.linear for a in "mnk" if not bool(np.all(getattr(g, a) >= 1))]
        if wrong:
            raise WorkloadError(*(Problem(f"{what} must be at least 1") for what in wrong))

    @property
    def useful_pairs(self) -> Array:
        """Query-key pairs that count for one query head: all, or those a causal mask leaves."""
        queries, keys = self.sizes["p"], self.sizes["m"]
        if not self.causal:
            return queries * keys
        seen = np.minimum(queries, keys)
        return seen * (keys - seen) + seen * (seen + 1.0) / 2.0


def sized(value: float) -> Array:
    """A size as an array of one design point."""
    return np.array([float(value)])
