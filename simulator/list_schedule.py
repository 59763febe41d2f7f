"""How long blocks of unequal length take on equal slots when each slot takes the next block as soon as it is free.

Modelled: classes of blocks whose durations form arithmetic runs, on arrays of design points. Bounds hold for any order
of the blocks (R. L. Graham, "Bounds on multiprocessing timing anomalies", 1969); the expected length is for blocks in
the order of a grid or longest first. Not modelled: slots of different speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ONE, ZERO, Array

if TYPE_CHECKING:
    from collections.abc import Sequence

UNIFORM_SPREAD = np.sqrt(1.0 / 12.0)  # standard deviation of a uniform phase, in durations
SORTED_WAVES = 3  # beyond, equal waves and the sum bind
HALVINGS = 24
GRID, LONGEST_FIRST = "grid", "longest_first"


@dataclass(frozen=True, slots=True)
class Run:
    """``classes`` classes of ``each`` blocks that last ``first``, ``first + step``, ... cycles."""

    first: Array
    step: Array
    classes: Array
    each: Array

    @property
    def last(self) -> Array:
        """Duration of the last class."""
        return self.first + self.step * np.maximum(self.classes - 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Spread:
    """Blocks, and the sum, sum of squares, longest and shortest of their durations."""

    count: Array
    total: Array
    squares: Array
    longest: Array
    shortest: Array


def spread_of(runs: Sequence[Run]) -> Spread:
    """Moments of the durations of all blocks, in closed form; runs without blocks do not count."""
    count, total, squares, longest = ZERO, ZERO, ZERO, ZERO
    shortest = np.full(1, np.inf)
    for run in runs:
        n = run.classes
        sums = n * run.first + run.step * n * (n - 1.0) / 2.0
        steps = run.step * run.step * n * (n - 1.0) * (2.0 * n - 1.0) / 6.0
        count = count + n * run.each
        total = total + run.each * sums
        squares = squares + run.each * (
            n * run.first * run.first + run.first * run.step * n * (n - 1.0) + steps
        )
        some = n * run.each > 0.0
        longest = np.maximum(longest, np.where(some, np.maximum(run.first, run.last), 0.0))
        shortest = np.minimum(shortest, np.where(some, np.minimum(run.first, run.last), np.inf))
    return Spread(count, total, squares, longest, np.where(count > 0.0, shortest, 0.0))


def least(blocks: Spread, slots: Array) -> Array:
    """Lower bound: all slots busy, the longest block, or as many of the shortest as some slot must take."""
    waves = np.ceil(blocks.count / slots)
    found: Array = np.maximum(np.maximum(blocks.total / slots, blocks.longest), waves * blocks.shortest)
    return found


def most(blocks: Spread, slots: Array) -> Array:
    """Upper bound of any schedule that leaves no slot idle while a block waits: Graham's bound for lists."""
    return blocks.total / slots + (1.0 - 1.0 / slots) * blocks.longest


def least_sorted(runs: Sequence[Run], slots: Array) -> Array:
    """Lower bound from the longest blocks: of ``k slots + 1`` of them some slot takes ``k + 1``, for small k."""
    waves = np.arange(1.0, SORTED_WAVES + 1.0)[:, None]
    each = (waves + 1.0) * _ranked(runs, waves * slots + 1.0, ZERO, spread_of(runs).longest)
    found = ZERO
    for row in each:
        found = np.maximum(found, row)
    return found


def _ranked(runs: Sequence[Run], rank: Array, low: Array, high: Array) -> Array:
    """A duration that at least ``rank`` blocks last, as long as can be told by halving; 0 where there are fewer."""
    found, above = low + ZERO * rank, high * (1.0 + 1e-9)
    for _ in range(HALVINGS):
        middle = (found + above) / 2.0
        enough = _lasting(runs, middle) >= rank
        found, above = np.where(enough, middle, found), np.where(enough, above, middle)
    return found


def _lasting(runs: Sequence[Run], duration: Array) -> Array:
    """Blocks that last at least a duration; steps may rise or fall."""
    count = ZERO
    for run in runs:
        rise = np.where(run.step == 0.0, 1.0, run.step)
        missing = (duration - run.first) / rise
        rising = run.classes - np.ceil(np.maximum(missing, 0.0))
        falling = np.floor(missing) + 1.0
        same = np.where(run.first >= duration, run.classes, 0.0)
        classes = np.where(run.step > 0.0, rising, np.where(run.step < 0.0, falling, same))
        count = count + run.each * np.clip(classes, 0.0, run.classes)
    return count


def expected(blocks: Spread, slots: Array, order: str, runs: Sequence[Run] = ()) -> Array:
    """Length to expect of a list schedule.

    Equal blocks take whole waves. Blocks of mixed length in the order of the grid let the slots drift apart: the last
    block starts when the work left in the others is their mean residual life (sum of squares over twice the sum, from
    renewal theory) and then runs for as long as the longest. Between the two, the slots' phases have drifted by the
    standard deviation of what each slot has run, and whole waves count for what is left of a common phase. Blocks with
    most work first fill the gaps with the shortest: the bound is reached, or that of the longest blocks among them.
    Within the bounds always.
    """
    bound = least(blocks, slots)
    if order == LONGEST_FIRST:
        return np.maximum(bound, least_sorted(runs, slots))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(blocks.count > 0.0, blocks.total / blocks.count, 0.0)
        residual = np.where(blocks.total > 0.0, blocks.squares / (2.0 * blocks.total), 0.0)
        variance = np.maximum(blocks.squares / blocks.count - mean * mean, 0.0)
        rounds = blocks.count / slots
        drift = np.sqrt(variance * rounds) / (UNIFORM_SPREAD * mean)
    mixed = np.minimum(np.nan_to_num(drift, nan=0.0), ONE)
    whole = np.ceil(rounds) * mean
    drifted = blocks.total / slots + blocks.longest - residual
    several = np.where(blocks.count > slots, (1.0 - mixed) * whole + mixed * drifted, blocks.longest)
    found: Array = np.minimum(np.maximum(several, bound), np.maximum(most(blocks, slots), bound))
    return found
