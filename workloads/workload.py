"""A workload: one attention problem with its sizes, precision and mask, and the linear layers around it.

Modelled: batch, key heads, the query heads that share one, queries, keys, score and value depth, causal masks, sliding
windows, one precision for all values, dense projections, feed-forward layers and experts, requests of different
lengths in one batch, repetition over layers. Not modelled: positional encodings, normalisation, residual additions,
dropout, embedding and output head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import Problem, WorkloadError
from dse.workloads.gemm import Array, Gemm, sized
from dse.workloads.requests import Requests

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.workloads.experts import Experts
    from dse.workloads.launches import Launch

__all__ = ["RANKS", "VALUE_BYTES", "Array", "Gemm", "Workload", "sized"]

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
class Workload:
    """Sizes over design points; axis 0 is the point. ``sizes`` is empty where there is no attention.

    ``cascade`` names the cascade asked for, or is empty where the mapping decides. A batch whose requests are not alike
    lists them in ``requests``; the sizes then hold the longest. ``window`` is the number of keys a query sees at most.
    With ``stored_once`` values are the first part of the keys, kept once: the latent of multi-head latent attention.
    What a machine does not model of ``extras`` it must refuse. ``precision`` is the type of all values, empty where
    they have several. ``launches`` are those of a traced kernel; ``refusal`` says why only a machine that runs kernels
    as they are can take it.
    ``steps`` are tokens generated one after another; ``pruning`` and ``scores`` name a pruning schedule and the score
    trace it acts on, or are empty.
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
    experts: Experts | None = None
    requests: tuple[Requests, ...] = ()
    window: Array | None = None
    stored_once: bool = False
    steps: Array = field(default_factory=lambda: np.ones(1))
    pruning: str = ""
    scores: str = ""
    parameters: Mapping[str, str | int | bool] = field(default_factory=dict, compare=False)
    precision: str = ""
    launches: tuple[Launch, ...] = ()
    refusal: str = ""

    def __post_init__(self) -> None:
        wrong = [f"{RANKS[r]} ({r})" for r, size in self.sizes.items() if not bool(np.all(size >= 1))]
        wrong += [f"{g.name}.{a}" for g in self.linear for a in "mnk" if not bool(np.all(getattr(g, a) >= 1))]
        if wrong:
            raise WorkloadError(*(Problem(f"{what} must be at least 1") for what in wrong))

    @property
    def extras(self) -> tuple[str, ...]:
        """What the workload has beyond alike requests that see all keys once, and dense layers."""
        found: dict[str, object] = {
            "experts": self.experts,
            "requests": self.requests or None,
            "window": self.window,
            "steps": self.steps if bool((self.steps > 1).any()) else None,
            "pruning": self.pruning or None,
            "scores": self.scores or None,
        }
        return tuple(name for name, value in found.items() if value is not None)

    @property
    def batch(self) -> tuple[Requests, ...]:
        """The requests of the batch, alike or not."""
        return self.requests or (Requests(self.sizes["b"], self.sizes["m"], self.sizes["p"]),)

    @property
    def useful_pairs(self) -> Array:
        """Query-key pairs that count for one query head: all, or those a causal mask leaves."""
        return Requests(sized(1), self.sizes["m"], self.sizes["p"]).pairs(self.causal, self.window)

    @property
    def stored_values(self) -> Array:
        """Values kept of one key of one layer, all heads: key and value, or the latent of both."""
        each = self.sizes["e"] if self.stored_once else self.sizes["e"] + self.sizes["f"]
        return self.sizes["h"] * each
