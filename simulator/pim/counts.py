"""Commands of a stack, by kind: what the mapping needs, or exactly what the public AttAcc simulator issues.

The published stream differs in five ways, each counted here: one access more for every head of the first wave, to
open its row early; moves that do not divide by the segments they are spread over are left out; the second head of a
pair repeats the accesses and moves of the first one's values, on as many channels; and a query row is moved once for
all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import Array, ceil_div

if TYPE_CHECKING:
    from dse.simulator.pim.shape import Shape


@dataclass(frozen=True)
class Counts:
    """Commands of all channels of one stack; ``act`` are activations of a set of banks."""

    mac: Array
    wrgb: Array
    mvgb: Array
    mvsb: Array
    sfm: Array
    act: Array


def needed(shape: Shape) -> Counts:
    """Commands the mapping needs."""
    parts = shape.parts
    moved = shape.segments * shape.score_moves + shape.value_columns * shape.output_moves
    return Counts(
        mac=parts * (shape.score_accesses + shape.value_accesses),
        wrgb=parts * shape.query_moves,
        mvgb=parts * shape.weight_moves,
        mvsb=parts * moved,
        sfm=parts * shape.work.queries,
        act=parts * (shape.score_rows + shape.value_rows),
    )


def published(shape: Shape) -> Counts:
    """Commands the public simulator issues for the same work."""
    channels = shape.machine.dram.channels
    parts, waves = shape.parts, shape.waves
    pairs = np.floor(waves / 2.0)
    odd = waves - 2.0 * pairs
    rest = parts - (waves - 1.0) * channels
    even = (odd == 0.0) & (pairs > 0.0)
    repeated = parts + np.where(even, channels - rest, 0.0)
    first = np.where(waves > 1.0, np.minimum(parts, channels), 0.0)
    halves = (ceil_div(shape.segments, 2.0), ceil_div(shape.value_columns, 2.0))
    paired = np.where(even, pairs - 1.0, pairs) * channels
    seconds = np.where(even, rest, 0.0)
    return Counts(
        mac=parts * shape.score_accesses + repeated * shape.value_accesses + first,
        wrgb=pairs * channels * shape.query_moves
        + np.where(even, pairs - 1.0, pairs) * _kept(channels * shape.query_moves, shape.segments)
        + np.where(even, _kept(seconds * shape.query_moves, shape.segments), 0.0)
        + odd * rest * shape.query_moves,
        mvgb=pairs * _kept(channels * shape.weight_moves, halves[0])
        + paired / channels * _kept(channels * shape.weight_moves, halves[1])
        + np.where(even, _kept(seconds * shape.weight_moves, halves[1]), 0.0)
        + odd * rest * shape.weight_moves,
        mvsb=parts * shape.segments * shape.score_moves + repeated * shape.value_columns * shape.output_moves,
        sfm=parts * shape.work.queries,
        act=parts * (shape.score_rows + shape.value_rows),
    )


def _kept(moves: Array, segments: Array) -> Array:
    """Moves left when every segment gets the same whole number of them."""
    kept: Array = np.floor(moves / segments) * segments
    return kept
