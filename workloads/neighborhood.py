"""Windows, neighborhoods, strided and blocked masks in one to three dimensions, as lists of key tiles.

Modelled: generalized neighborhood attention (GNA): along each axis a window of ``window`` keys around the
leader of a group of ``stride`` queries, moved inwards at the ends; ``stride`` equal to ``window`` gives
blocked attention; ``dilation`` d takes every d-th key; ``causal`` ends the windows of the first axis at the
query itself. One axis may also have ``sinks``: first keys that every query sees. Tokens are numbered row
by row, the last axis fastest; tiles are boxes of tokens. Not modelled: different grids of queries and keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dse.errors import Problem, WorkloadError

if TYPE_CHECKING:
    from collections.abc import Iterator

Shape: TypeAlias = tuple[int, ...]
Booleans: TypeAlias = NDArray[np.bool_]
Integers: TypeAlias = NDArray[np.int64]
MOST_AXES = 3


@dataclass(frozen=True, slots=True)
class Neighborhood:
    """A static mask over a grid of tokens; window, stride and dilation have one entry per axis."""

    axes: Shape
    window: Shape
    stride: Shape
    dilation: Shape
    causal: bool = False
    sinks: int = 0

    def check(self) -> None:
        """Raise WorkloadError naming everything that does not fit together."""
        problems = list(self._problems())
        if problems:
            raise WorkloadError(*problems)

    def _problems(self) -> Iterator[Problem]:
        if not 1 <= len(self.axes) <= MOST_AXES:
            yield Problem(f"axes: {len(self.axes)} given, 1 to {MOST_AXES} are possible")
        for name in ("window", "stride", "dilation"):
            if len(getattr(self, name)) != len(self.axes):
                yield Problem(f"{name} {getattr(self, name)} must have one entry for each of {self.axes}")
                return
        each = zip(self.axes, self.window, self.stride, self.dilation, strict=True)
        for axis, (length, window, stride, dilation) in enumerate(each):
            if min(window, dilation) < 1 or window * dilation > length:
                yield Problem(f"axis {axis}: window {window} x dilation {dilation} must fit in {length}")
            elif not 1 <= stride <= window:
                yield Problem(f"axis {axis}: stride {stride} must lie from 1 to the window, {window}")
        if self.sinks and len(self.axes) != 1:
            yield Problem(f"sinks need one axis, not {len(self.axes)}")
        if not 0 <= self.sinks <= self.axes[0]:
            yield Problem(f"sinks {self.sinks} must lie from 0 to {self.axes[0]}")

    def visible(self, axis: int, queries: Integers) -> Booleans:
        """Which keys of one axis the given query coordinates see, shape (queries, length).

        Source: GNA (2025) as defined by NATTEN: leaders, window starts, and dilation as separate classes.
        """
        length, window = self.axes[axis], self.window[axis]
        dilation, stride = self.dilation[axis], self.stride[axis]
        place, group = (queries // dilation)[:, None], (queries % dilation)[:, None]
        extent = (length - group + dilation - 1) // dilation
        keys = np.arange(length, dtype=np.int64)[None, :]
        key_place, same = keys // dilation, keys % dilation == group
        causal = self.causal and axis == 0
        behind = stride - 1 if causal else stride // 2
        leader = np.minimum(place // stride * stride + behind, extent - 1)
        if causal:
            seen: Booleans = same & (key_place > leader - window) & (key_place <= place)
        else:
            right = window // 2 + window % 2 - 1
            start = np.maximum(leader - window // 2, 0) + np.minimum(extent - leader - right - 1, 0)
            seen = same & (key_place >= start) & (key_place < start + window)
        if self.sinks:
            seen |= (keys < self.sinks) & ((keys <= queries[:, None]) | (not causal))
        return seen


@dataclass(frozen=True, slots=True)
class TileList:
    """Key tiles to visit for each query tile, whole ones first, and element masks of the other ones.

    Attributes
    ----------
    bounds
        For each query tile: its first entry, its first masked entry, and where its entries end.
    tiles, masks
        Of each entry: the key tile, and the place of its mask in ``table`` (0 for a whole tile, not used).
    table
        Different element masks, uint8 of shape (masks, queries of a tile, keys of a tile).
    query_order, key_order
        Token at each place when tiles lie one after the other; -1 where a box hangs over the grid's end.
    """

    bounds: NDArray[np.int32]
    tiles: NDArray[np.int32]
    masks: NDArray[np.int32]
    table: NDArray[np.uint8]
    query_order: Integers
    key_order: Integers

    @property
    def visited(self) -> int:
        """Pairs of query and key tiles that are visited."""
        return int(self.tiles.size)

    @property
    def masked(self) -> int:
        """Visited pairs that need an element mask."""
        return int((self.bounds[:, 2] - self.bounds[:, 1]).sum())


@dataclass(frozen=True, slots=True)
class _AxisTiles:
    """Pattern number of each pair of tiles along one axis: 0 sees nothing, 1 everything, others a part."""

    numbers: Integers
    patterns: tuple[Booleans, ...]


def tile_list(mask: Neighborhood, query_box: Shape, key_box: Shape) -> TileList:
    """Tiles that hold at least one visible pair; boxes have one extent per axis.

    Raises
    ------
    WorkloadError
        If the neighborhood or the boxes do not fit its axes.
    """
    mask.check()
    for name, box in (("query", query_box), ("key", key_box)):
        if len(box) != len(mask.axes) or min(box) < 1:
            raise WorkloadError(
                f"{name} tile {box} must have one extent of at least 1 for each of {mask.axes}"
            )
    axes = [_axis_tiles(mask, axis, query_box[axis], key_box[axis]) for axis in range(len(mask.axes))]
    pairs, numbers = _visited(axes)
    whole = (numbers == 1).all(axis=1)
    order = np.lexsort((pairs[:, 1], ~whole, pairs[:, 0]))
    pairs, numbers, whole = pairs[order], numbers[order], whole[order]
    table, masks = _mask_table(axes, numbers, whole, (prod(query_box), prod(key_box)))
    query_tiles = prod(part.numbers.shape[0] for part in axes)
    places = np.arange(query_tiles)
    start, stop = (np.searchsorted(pairs[:, 0], places, side) for side in ("left", "right"))
    whole_entries = np.bincount(pairs[whole, 0], minlength=query_tiles)
    return TileList(
        bounds=np.stack([start, start + whole_entries, stop], axis=1).astype(np.int32),
        tiles=pairs[:, 1].astype(np.int32),
        masks=masks,
        table=table,
        query_order=_order(mask.axes, query_box),
        key_order=_order(mask.axes, key_box),
    )


def _axis_tiles(mask: Neighborhood, axis: int, rows: int, keys: int) -> _AxisTiles:
    """Patterns of one axis, a row of tiles at a time so that long axes need little memory."""
    length = mask.axes[axis]
    row_tiles, key_tiles = -(-length // rows), -(-length // keys)
    known = {np.zeros((rows, keys), bool).tobytes(): 0, np.ones((rows, keys), bool).tobytes(): 1}
    patterns = [np.zeros((rows, keys), bool), np.ones((rows, keys), bool)]
    numbers = np.zeros((row_tiles, key_tiles), np.int64)
    for tile in range(row_tiles):
        queries = np.arange(tile * rows, min(length, (tile + 1) * rows), dtype=np.int64)
        seen = np.zeros((rows, key_tiles * keys), bool)
        seen[: queries.size, :length] = mask.visible(axis, queries)
        boxes = seen.reshape(rows, key_tiles, keys)
        for place in np.flatnonzero(boxes.any(axis=(0, 2))):
            box = np.ascontiguousarray(boxes[:, place])
            number = known.setdefault(box.tobytes(), len(patterns))
            if number == len(patterns):
                patterns.append(box)
            numbers[tile, place] = number
    return _AxisTiles(numbers, tuple(patterns))


def _visited(axes: list[_AxisTiles]) -> tuple[Integers, Integers]:
    """Numbers of the query and key tile of each visited pair, and its pattern along each axis."""
    pairs, numbers = np.zeros((1, 2), np.int64), np.zeros((1, 0), np.int64)
    for part in axes:
        seen = np.argwhere(part.numbers)
        merged = pairs[:, None] * np.array(part.numbers.shape) + seen[None]
        found = np.broadcast_to(part.numbers[seen[:, 0], seen[:, 1]], (len(pairs), len(seen)))
        numbers = np.concatenate([np.repeat(numbers, len(seen), axis=0), found.reshape(-1, 1)], axis=1)
        pairs = merged.reshape(-1, 2)
    return pairs, numbers


def _mask_table(
    axes: list[_AxisTiles], numbers: Integers, whole: Booleans, tile: Shape
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Different element masks of a tile, and which of them each entry has."""
    different, which = np.unique(numbers[~whole], axis=0, return_inverse=True)
    table = np.zeros((max(1, len(different)), *tile), np.uint8)
    for place, patterns in enumerate(different):
        boxes = [part.patterns[number] for part, number in zip(axes, patterns, strict=True)]
        table[place] = reduce(np.kron, boxes).reshape(tile)
    masks = np.zeros(len(numbers), np.int32)
    masks[~whole] = which.reshape(-1)
    return table, masks


def _order(axes: Shape, box: Shape) -> Integers:
    """Token at each place of a layout of boxes, -1 outside the grid."""
    tiles = [-(-length // extent) for length, extent in zip(axes, box, strict=True)]
    tokens = np.full([count * extent for count, extent in zip(tiles, box, strict=True)], -1, np.int64)
    tokens[tuple(slice(length) for length in axes)] = np.arange(prod(axes)).reshape(axes)
    split = tokens.reshape([size for pair in zip(tiles, box, strict=True) for size in pair])
    rank = len(axes)
    return split.transpose([*range(0, 2 * rank, 2), *range(1, 2 * rank, 2)]).reshape(-1)
