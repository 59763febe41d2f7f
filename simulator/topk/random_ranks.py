"""Quick-select on random distinct integers, the released model's assumption, for many requests at once.

Only ranks matter there: a pivot that does not look at the values has a uniform rank among what is left, and what
is left is again in random order. So nothing but the sizes of the sides is drawn, and thousands of requests run as
arrays. Ties of 32-bit integers (a chance of n² / 2^33) are not modelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt

    from dse.simulator.arrays import Array
    from dse.simulator.topk.parameters import TopK

    Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rounds:
    """Rounds of many requests: ``scanned`` and ``spilled`` have shape (rounds, requests), 0 after a request's last."""

    scanned: Array
    spilled: Array
    fill_cycles: Array
    drain_cycles: Array
    round_cycles: Array

    @property
    def cycles(self) -> Array:
        """Cycles each request holds an engine, shape (requests,)."""
        found: Array = self.round_cycles.sum(axis=0) + self.fill_cycles + self.drain_cycles
        return found

    @property
    def rounds(self) -> Array:
        """Rounds of each request."""
        found: Array = (self.scanned > 0).sum(axis=0).astype(np.float64)
        return found


def random_rounds(engine: TopK, n: Ints, k: Ints, seed: int | None = None) -> Rounds:
    """Rounds of requests that keep k of n random integers; the same seed gives the same rounds.

    Raises
    ------
    ConfigError
        An overflow that the engine refuses.
    """
    generator = np.random.default_rng(engine.seed if seed is None else seed)
    total = n.astype(np.float64)
    left = np.where(engine.bypasses(total, k.astype(np.float64)), 0, n)
    target = np.minimum(k, n) - 1
    read, aside = left.astype(np.float64), np.zeros(len(n))
    scanned, spilled = [], []
    while left.any():
        scanned.append(read)
        spilled.append(aside)
        above = _ranks(engine, left, generator)
        upper, done = target < above, target == above
        side = np.where(upper, above, left - above - 1)
        target = np.where(upper, target, target - above - 1)
        left = np.where(done | (left == 0), 0, side)
        read, aside = engine.next_round(total, left.astype(np.float64))
        read = np.where(left > 0, read, 0.0)
        if engine.overflow == "refuse" and bool((left > engine.fifo_rows * engine.lanes).any()):
            raise ConfigError(f"{int(left.max())} elements do not fit FIFOs of {engine.fifo_rows} rows")
    return _counted(engine, total, k.astype(np.float64), scanned, spilled)


def _ranks(engine: TopK, left: Ints, generator: np.random.Generator) -> Ints:
    """Elements above the pivot of each request."""
    size = np.maximum(left, 1)
    if engine.pivot == "oracle":
        return (size - 1) // 2
    if engine.pivot != "median_of_three":
        return generator.integers(0, size)
    # Three different ranks; a side of one or two elements has fewer.
    first = generator.integers(0, size)
    second = generator.integers(0, np.maximum(size - 1, 1))
    second += second >= first
    third = generator.integers(0, np.maximum(size - 2, 1))
    low, high = np.minimum(first, second), np.maximum(first, second)
    third += third >= low
    third += third >= high
    median = np.maximum(low, np.minimum(high, third))
    return np.where(size >= 3, median, first)


def _counted(engine: TopK, n: Array, k: Array, scanned: list[Array], spilled: list[Array]) -> Rounds:
    shape = (len(scanned), len(n))
    read = np.stack(scanned) if scanned else np.zeros(shape)
    aside = np.stack(spilled) if spilled else np.zeros(shape)
    used = ~engine.bypasses(n, k)
    fill, drain = engine.edge_cycles(n, k)
    cycles = np.where(read > 0, engine.round_cycles(read, aside), 0.0)
    return Rounds(read, aside, np.where(used, fill, 0.0), np.where(used, drain, 0.0), cycles)
