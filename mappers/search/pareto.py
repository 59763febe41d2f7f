"""Pareto filter on arrays: exact, for any number of columns, all minimised.

Points are sorted so that no later one can dominate an earlier one. Each run of survivors becomes, for each column, a
table of bit sets: row c holds the survivors among the c smallest values of that column. A point is dominated if the
rows at its own values have a bit in common, which costs one word for 64 comparisons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.simulator.arrays import Array, Mask

    Indices = NDArray[np.intp]
    Table = NDArray[np.uint64]

CHUNK = 1024
_SMALL = 48
_PAIRED = 64


def front(values: Array) -> Indices:
    """Indices of the rows no other row dominates, ascending; of equal rows the first.

    ``values`` has shape (points, columns); a row dominates another if it is nowhere larger and somewhere smaller.
    Infinity is a value like any other, NaN is not allowed.
    """
    assert not np.isnan(values).any(), "a Pareto filter needs ordered values"
    points, columns = values.shape
    if points == 0 or columns == 0:
        return np.arange(min(points, 1), dtype=np.intp)
    order = np.lexsort((np.arange(points), *values.T[::-1]))
    kept = order[_swept(values[order]) if columns > 2 else _scanned(values[order])]
    return np.sort(kept)


def dominated(values: Array, by: Array) -> Mask:
    """Which rows of ``values`` some row of ``by`` equals or dominates."""
    found = np.zeros(len(values), dtype=bool)
    for start in range(0, len(by), CHUNK):
        left = np.flatnonzero(~found)
        found[left] = _below(by[start : start + CHUNK], values[left])
    return found


def front_within(groups: Indices, values: Array) -> Indices:
    """Indices of the rows that no row of the same group dominates, ascending; of equal rows of a group the first.

    Made for many groups of few rows: those of one size are compared together, pair by pair.
    """
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    kept = [order[starts[sizes == 1]]]
    for size in np.unique(sizes[sizes > 1]):
        rows = order[starts[sizes == size][:, None] + np.arange(size)]
        if size <= _PAIRED:
            kept.append(rows[_alive(values[rows])])
        else:
            kept += [own[front(values[own])] for own in rows]
    return np.sort(np.concatenate(kept))


def _alive(values: Array) -> Mask:
    """Which members of each group no other dominates; ``values`` has shape (groups, members, columns)."""
    members = values.shape[1]
    alive = np.ones(values.shape[:2], dtype=bool)
    for one in range(members):
        below = (values <= values[:, one : one + 1]).all(axis=2)
        same = (values == values[:, one : one + 1]).all(axis=2)
        same[:, :one] = False
        alive[:, one] = (below & ~same).sum(axis=1) == 0
    return alive


def _scanned(values: Array) -> Mask:
    """Survivors of rows sorted by the first of at most two columns: those with a new smallest last value."""
    last = values[:, -1]
    least = np.minimum.accumulate(last)
    first = np.ones(len(values), dtype=bool)
    first[1:] = last[1:] < least[:-1]
    return first


def _swept(values: Array) -> Mask:
    """Survivors of rows in lexicographic order."""
    alive = np.ones(len(values), dtype=bool)
    alive[1:] = (values[1:] != values[:-1]).any(axis=1)
    left = np.flatnonzero(alive)
    start = 0
    while start < len(left):
        here = left[start : start + CHUNK]
        mine = values[here]
        alive[here] = keep = ~_below(mine, mine, own=True)
        later = left[start + CHUNK :]
        if len(later):
            gone = _below(mine[keep], values[later])
            alive[later] = ~gone
            left = np.concatenate([left[: start + CHUNK], later[~gone]])
        start += CHUNK
    return alive


def _below(some: Array, values: Array, own: bool = False) -> Mask:
    """Which rows of ``values`` are nowhere smaller than some row of ``some``; with ``own``, another of their own."""
    if len(some) <= _SMALL and not own:
        return _compared(some, values)
    common: Table | None = None
    for column in range(some.shape[1]):
        order = np.argsort(some[:, column], kind="stable")
        table = _table(order)
        rows = np.searchsorted(some[order, column], values[:, column], side="right")
        common = table[rows] if common is None else common & table[rows]
    assert common is not None
    if own:
        place = np.arange(len(some))
        common[place, place // 64] &= ~(np.uint64(1) << (place % 64).astype(np.uint64))
    return np.asarray(common.any(axis=1))


def _compared(some: Array, values: Array) -> Mask:
    """The same, row by row."""
    found = np.zeros(len(values), dtype=bool)
    for row in some:
        found |= (values >= row).all(axis=1)
    return found


def _table(order: Indices) -> Table:
    """Row c: bit set of the first c entries of ``order``."""
    size = len(order)
    width = -(-size // 64) * 64
    rank = np.full(width, size)
    rank[order] = np.arange(size)
    bits = rank[None, :] < np.arange(size + 1)[:, None]
    return np.packbits(bits, axis=1, bitorder="little").view(np.uint64)
