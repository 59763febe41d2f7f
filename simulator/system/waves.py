"""Tiles of a matrix product on cores with caches, and how full the last wave of thread blocks is.

Modelled: the tile of each thread block that moves fewest bytes through the second-level cache, weighed by the square of
how full its waves are; the tile that stays in that cache; traffic of every level. Source of the rule and of the tile
sizes: AttAcc simulator (scale-snu/attacc_simulator, MIT), devices.py. Not modelled: other schedules, split depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import Array, as_array

if TYPE_CHECKING:
    from dse.arch.roofline import Cores

_TILES = np.array([8.0, 16, 32, 64, 128, 192, 256, 320, 384, 448, 512])
_DEPTH = 32.0
_REGISTER_TILE = 16.0
_L2_DEPTHS = 64.0


@dataclass(frozen=True)
class Tiled:
    """A product tiled for a device: share of cores its waves fill, bytes moved off the chip and between caches."""

    occupancy: Array
    off_bytes: Array
    l2_bytes: Array
    l1_bytes: Array


def tiled(cores: Cores, m: Array, n: Array, k: Array, batch: Array, value: Array, split: bool) -> Tiled:
    """A batch of products of m × k and k × n; ``split`` spreads each over blocks, else a block computes a whole one."""
    size = max(len(as_array(x)) for x in (m, n, k, batch, value))
    m, n, k, batch, value = (np.broadcast_to(as_array(x), (size,)) for x in (m, n, k, batch, value))
    tm, tn, full = _block_tile(cores, m, n, k, batch, value, split)
    words = value * batch
    wide_m, wide_n = _cached_tile(cores, m, n, k, value, tm, tn)
    return Tiled(
        full,
        _traffic(m, n, k, wide_m, wide_n) * words,
        _traffic(m, n, k, tm, tn) * words,
        _traffic(m, n, k, np.full(size, _REGISTER_TILE), np.full(size, _REGISTER_TILE)) * words,
    )


def occupancy(cores: Cores, blocks: Array) -> Array:
    """Share of all cores that ``blocks`` thread blocks keep busy, wave by wave."""
    full: Array = blocks / (np.ceil(blocks / cores.count) * cores.count)
    return full


def _traffic(m: Array, n: Array, k: Array, tm: Array, tn: Array) -> Array:
    """Values moved into and out of a level by tiles of tm × tn."""
    words: Array = np.ceil(n / tn) * m * k + np.ceil(m / tm) * n * k + m * n
    return words


def _block_tile(
    cores: Cores, m: Array, n: Array, k: Array, batch: Array, value: Array, split: bool
) -> tuple[Array, Array, Array]:
    """Tile of a thread block and share of cores busy, the first of the cheapest in the published order."""
    pairs = np.array([(a, b) for a in _TILES for b in _TILES])
    tm, tn = np.minimum(pairs[:, :1], m), np.minimum(pairs[:, 1:], n)
    room = ((tm + tn) * _DEPTH + tm * tn) * value
    blocks = np.ceil(m / tm) * np.ceil(n / tn) * batch if split else np.broadcast_to(batch, tm.shape)
    full = occupancy(cores, blocks)
    cost = _traffic(m, n, k, tm, tn) * value * batch / full**2
    best = np.argmin(np.where(room > cores.l1_bytes, np.inf, cost), axis=0)
    column = np.arange(len(m))
    return tm[best, column], tn[best, column], full[best, column]


def _cached_tile(
    cores: Cores, m: Array, n: Array, k: Array, value: Array, tm: Array, tn: Array
) -> tuple[Array, Array]:
    """Tile that stays in the second-level cache: all of the product where it fits, else the best multiple."""
    wide_m, wide_n = m.copy(), n.copy()
    fits = (m + n) * (k / _L2_DEPTHS) * value + m * n * value <= cores.l2_bytes
    for point in np.flatnonzero(~np.broadcast_to(fits, m.shape)):
        rows, columns = (_multiples(a[point], b[point]) for a, b in ((m, tm), (n, tn)))
        high, wide = rows[:, None], columns[None, :]
        room = ((high + wide) * (k[point] / _L2_DEPTHS) + high * wide) * value[point]
        moved = (
            np.ceil(m[point] / high) * n[point] * k[point] + np.ceil(n[point] / wide) * m[point] * k[point]
        )
        fitting = room <= cores.l2_bytes[0 if len(cores.l2_bytes) == 1 else point]
        fitting[0, 0] = True
        row, column = np.unravel_index(int(np.argmin(np.where(fitting, moved, np.inf))), moved.shape)
        wide_m[point], wide_n[point] = rows[row], columns[column]
    return wide_m, wide_n


def _multiples(size: float, tile: float) -> Array:
    """Whole numbers of tiles up to a size, and the size itself."""
    return np.append(tile * np.arange(1.0, np.floor(size / tile) + 1.0), size)
