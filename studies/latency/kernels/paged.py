"""What attention over a paged cache shares, whatever its tiles: packed rows, visited tiles, parts, side launches.

Modelled: the static and the planned number of parts of the keys, writing the cache before, planning, combining after.
Sources as in `fa3`. Not modelled: the gather of pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dse.workloads.launches import NOTHING, ONCE, Blocks, Demand, Launch, Resources, Traffic

if TYPE_CHECKING:
    from dse.studies.latency.kernels.runs import Segments

Floats: TypeAlias = NDArray[np.float64]
SIZE, PARTIAL = 2.0, 4.0  # bytes of a value, and of a value of a part that is combined
SPLIT_ABOVE = 4  # tiles of keys up to which keys are never split
MOST_SPLITS = 128
FILLED, NEAR, MARGIN = 0.8, 0.85, 1.1  # of heuristics.h and of the planning kernel
TRIPS = np.full(1, 4.0)  # work item, page table, first keys, output
EINSUMS = ("QK", "LM", "SLN", "SLD", "SLNV", "RNV")
ONE_BLOCK = Resources(co_resident=ONCE)


@dataclass(frozen=True, slots=True)
class Shape:
    """One row as the kernel sees it."""

    batch: int
    kv_heads: int
    group: int
    queries: int
    keys: int
    depth: int
    window: int

    @property
    def rows(self) -> int:
        """Query rows of a key head, its query heads packed."""
        return self.queries * self.group


def static_parts(row_tiles: int, sms: int, key_tiles: int) -> int:
    """Most parts of the keys, chosen as if the batch were one sequence: the fewest that fill the SMs nearly best."""
    if row_tiles >= FILLED * sms or key_tiles <= SPLIT_ABOVE:
        return 1
    counts = np.arange(1, min(MOST_SPLITS, sms, key_tiles) + 1)
    waves = row_tiles * counts / sms
    filled = waves / np.ceil(waves)
    return int(counts[np.argmax(filled >= NEAR * filled.max())])


def planned_parts(shape: Shape, rows: int, cols: int, sms: int, most: int) -> int:
    """Parts the planning kernel gives each sequence of the batch: tiles of all, spread over the SMs."""
    key_tiles = -(-shape.keys // cols)
    every = shape.batch * -(-shape.rows // rows) * key_tiles
    each = int(np.ceil(every * MARGIN * shape.kv_heads / sms))
    return max(min(-(-key_tiles // each), most), 1)


def tiles_visited(shape: Shape, rows: int, cols: int, *, causal: bool) -> NDArray[np.int64]:
    """Tiles of keys that each row tile of one key head of one sequence visits, in the order of the grid."""
    start = np.arange(0, shape.rows, rows)
    offset = shape.keys - shape.queries
    first = start // shape.group + offset
    last = np.minimum((start + rows - 1) // shape.group, shape.queries - 1) + offset
    end = (last if causal else np.full_like(last, shape.keys - 1)) // cols + 1
    begin = np.maximum(first - shape.window, 0) // cols if shape.window else np.zeros_like(end)
    found: NDArray[np.int64] = end - begin
    return found


def parted(tiles: NDArray[np.int64], parts: int) -> NDArray[np.int64]:
    """Tiles of each part, all but the last of a row tile equally long."""
    each = -(-tiles // parts)
    left = tiles[:, None] - each[:, None] * np.arange(parts)
    found: NDArray[np.int64] = np.clip(left, 0, each[:, None]).reshape(-1)
    return found


def storing(new: Floats, family: str, sms: Floats) -> Launch:
    """Writing the bytes of new keys and values into the cache: read once, written once."""
    tensors = {"new": Traffic(new, new), "KV": Traffic(new, new, written=True)}
    return Launch("store", family, spread(new, new, sms), tensors, ONE_BLOCK, flops=NOTHING)


def planner(n: int) -> Launch:
    """One block that counts the tiles of the batch."""
    one = (Blocks(NOTHING, NOTHING, ONCE, np.ones(n), Demand()),)
    return Launch("plan", "other", one, {}, ONE_BLOCK, flops=NOTHING)


def combining(out: Floats, parts: Floats, split: Floats, sms: Floats) -> Launch:
    """Weighing the parts of each of ``out`` values, where ``split`` is 1; no blocks elsewhere."""
    tensors = {
        "PAV": Traffic(out * parts * PARTIAL * split, out * parts * PARTIAL * split),
        "AV": Traffic(out * SIZE * split, out * SIZE * split, written=True),
    }
    runs = spread(out * parts * PARTIAL, out * SIZE, sms * split)
    return Launch("combine", "other", runs, tensors, ONE_BLOCK, flops=NOTHING)


def spread(read: Floats, written: Floats, count: Floats) -> tuple[Blocks, ...]:
    """Bytes copied by as many blocks, each its share."""
    shares = np.maximum(count, 1.0)
    once = Demand(read_bytes=read / shares, written_bytes=written / shares)
    return (Blocks(NOTHING, NOTHING, ONCE, count, Demand(), once),)


def pairs_of(shape: Shape) -> float:
    """Query-key pairs that the mask leaves for one query head."""
    last = np.arange(shape.keys - shape.queries, shape.keys)
    return float(np.minimum(last + 1, shape.window + 1 if shape.window else shape.keys).sum())


def tiles_of(tiles: Segments) -> float:
    """Tiles that all blocks of one key head of one sequence visit."""
    return sum(
        each * (classes * first + step * classes * (classes - 1) / 2) for first, step, classes, each in tiles
    )
