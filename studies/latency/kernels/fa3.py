"""FlashAttention-3 over a paged KV cache as sglang calls it: write the cache, plan, the kernel, combine the parts.

Modelled: tile sizes, packing of the query heads of a key head into one tile, the static and the per-batch split of the
keys, causal and window masks by visited tiles, and the order of its schedulers; from the public source
(Dao-AILab/flash-attention, hopper/: tile_size.h, heuristics.h, flash_api.cpp, flash_prepare_scheduler.cu, BSD-3) and
the collector of the tables (ai-dynamo/aiconfigurator, collector/sglang/collect_attn.py, Apache-2.0): pages of 64
tokens, hence keys are gathered without the copy engine and query heads are always packed. Not modelled: the gather.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dse.errors import ConfigError
from dse.studies.latency.kernels import Alternative
from dse.studies.latency.kernels.runs import Segments, blocks, segments
from dse.workloads.launch_shapes import SCORE_OPERATIONS
from dse.workloads.launches import NOTHING, ONCE, Blocks, Demand, Launch, Resources, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dse.arch.gpu import Gpu
    from dse.workloads.launches import Order

Floats: TypeAlias = NDArray[np.float64]
PHASES = {"prefill": "seq_len", "decode": "kv_len"}
TARGETS = ("sm90", "sm80")
SIZE, PARTIAL = 2.0, 4.0  # bytes of a value, and of a value of a part that is combined
SPLIT_ABOVE = 4  # tiles of keys up to which keys are never split
MOST_SPLITS = 128
FILLED, NEAR, MARGIN = 0.8, 0.85, 1.1  # of heuristics.h and of the planning kernel
TRIPS = np.full(1, 4.0)  # work item, page table, first keys, output
EINSUMS = ("QK", "LM", "SLN", "SLD", "SLNV", "RNV")
ONE_BLOCK = Resources(co_resident=ONCE)
ONE_GROUP_ROWS = 64  # query rows that one warp group takes


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


@dataclass(frozen=True, slots=True)
class Plan:
    """How a row is run: its tile, in how many parts its keys at most, and what its blocks visit."""

    tile_rows: int
    tile_keys: int
    split: bool
    parts: int
    tiles: Segments


def columns(options: Mapping[str, str]) -> tuple[str, ...]:
    """Columns that launches follow from."""
    length = PHASES[_option(options, "phase", PHASES)]
    return ("batch_size", "num_heads", "num_key_value_heads", "head_dim", "window_size", length)


def launches(rows: Mapping[str, Floats], options: Mapping[str, str], gpu: Gpu) -> Sequence[Alternative]:
    """The one way there is: four launches; the last has no blocks in rows where nothing is combined.

    Raises
    ------
    ConfigError
        An option is missing or unknown.
    """
    phase, target = _option(options, "phase", PHASES), _option(options, "target", TARGETS)
    keys = rows[PHASES[phase]]
    queries = keys if phase == "prefill" else np.ones_like(keys)
    heads, kv_heads = rows["num_heads"], rows["num_key_value_heads"]
    given = (
        rows["batch_size"],
        kv_heads,
        heads / kv_heads,
        queries,
        keys,
        rows["head_dim"],
        rows["window_size"],
    )
    shapes = [Shape(*(int(value) for value in one)) for one in zip(*given, strict=True)]
    plans = [plan(shape, target, int(gpu.sms[0])) for shape in shapes]
    sms = np.full(len(shapes), gpu.sms[0])
    store, planner = _store(shapes, phase, sms), _planner(len(shapes))
    sequence = (store, planner, *_main(shapes, plans, phase, target), _combine(shapes, plans, sms))
    return [Alternative(sequence, np.ones(len(shapes), dtype=bool))]


def plan(shape: Shape, target: str, sms: int) -> Plan:
    """Tile and split of a row."""
    causal, local = shape.queries > 1, shape.window > 0
    guess = tile_sm90(shape, one_group=False) if target == "sm90" else (128, 112)
    seen = min(shape.keys, shape.window + 1 + guess[0]) if local else shape.keys
    most = static_parts(shape.kv_heads * -(-shape.rows // guess[0]), sms, -(-seen // guess[1]))
    split = most > 1
    if target == "sm90":
        rows, cols = tile_sm90(shape, one_group=shape.depth == 128 and shape.rows <= ONE_GROUP_ROWS)
    else:
        rows, cols = (128, 112) if split else (128, 64)
    visited = tiles_visited(shape, rows, cols, causal=causal)
    parts = planned_parts(shape, rows, cols, sms, most) if split else 1
    return Plan(rows, cols, split, parts, segments(_parted(visited, parts)))


def tile_sm90(shape: Shape, *, one_group: bool) -> tuple[int, int]:
    """Query rows and keys of a tile on Hopper, 16-bit values, pages gathered."""
    causal, local = shape.queries > 1, shape.window > 0
    if shape.depth <= 64:
        return 192, 128 if causal and not local else 160
    if shape.depth <= 128:
        return ONE_GROUP_ROWS if one_group else 128, 128
    if shape.depth <= 192:
        return 128, 96
    return 128, 64 if local else 80


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


def _parted(tiles: NDArray[np.int64], parts: int) -> NDArray[np.int64]:
    """Tiles of each part, all but the last of a row tile equally long."""
    each = -(-tiles // parts)
    left = tiles[:, None] - each[:, None] * np.arange(parts)
    found: NDArray[np.int64] = np.clip(left, 0, each[:, None]).reshape(-1)
    return found


def _main(shapes: Sequence[Shape], plans: Sequence[Plan], phase: str, target: str) -> tuple[Launch, ...]:
    """The attention launch, once for rows whose blocks start longest first and once for those in grid order."""
    scheduled = np.array([target == "sm90" or one.split for one in plans])
    runs, tensors = _runs(shapes, plans), _tensors(shapes, plans)
    flops = _array(4.0 * s.batch * s.kv_heads * s.group * _pairs(s) * s.depth for s in shapes)
    orders: tuple[tuple[Order, NDArray[np.bool_]], ...] = (("longest_first", scheduled), ("grid", ~scheduled))
    return tuple(
        Launch(
            "attention",
            phase,
            tuple(Blocks(b.first, b.step, b.classes, b.each * mask, b.tile, b.once) for b in runs),
            {name: Traffic(t.unique * mask, t.total * mask, t.written) for name, t in tensors.items()},
            ONE_BLOCK,
            order,
            round_trips=TRIPS,
            flops=flops * mask,
            einsums=EINSUMS,
        )
        for order, mask in orders
        if mask.any()
    )


def _runs(shapes: Sequence[Shape], plans: Sequence[Plan]) -> tuple[Blocks, ...]:
    """Thread blocks of one row tile or part of it: what they visit, the demand of a tile, and of a block."""
    rows, cols = _array(p.tile_rows for p in plans), _array(p.tile_keys for p in plans)
    depth = _array(s.depth for s in shapes)
    used = np.minimum(rows, _array(s.rows for s in shapes))
    scores = rows * cols
    tile = Demand(
        {"bf16": 4.0 * scores * depth},
        scores,
        SCORE_OPERATIONS * scores,
        read_bytes=2.0 * cols * depth * SIZE,
    )
    written = np.where(_array(p.split for p in plans) > 0, PARTIAL, SIZE)
    once = Demand(read_bytes=used * depth * SIZE, written_bytes=used * depth * written)
    repeats = _array(s.batch * s.kv_heads for s in shapes)
    return blocks([p.tiles for p in plans], repeats, tile, once)


def _tensors(shapes: Sequence[Shape], plans: Sequence[Plan]) -> dict[str, Traffic]:
    """Bytes each tensor moves: queries and outputs once, keys and values once however many row tiles ask."""
    q = _array(s.batch * s.kv_heads * s.rows * s.depth * SIZE for s in shapes)
    kv = _array(2.0 * s.batch * s.kv_heads * _keys_seen(s) * s.depth * SIZE for s in shapes)
    asked = _array(
        2.0 * s.batch * s.kv_heads * p.tile_keys * s.depth * SIZE * _tiles(p.tiles)
        for s, p in zip(shapes, plans, strict=True)
    )
    return {"Q": Traffic(q, q), "KV": Traffic(kv, np.maximum(asked, kv)), "AV": Traffic(q, q, written=True)}


def _store(shapes: Sequence[Shape], phase: str, sms: Floats) -> Launch:
    """Writing new keys and values into the cache: read once, written once."""
    new = _array(2.0 * s.batch * s.kv_heads * s.queries * s.depth * SIZE for s in shapes)
    tensors = {"new": Traffic(new, new), "KV": Traffic(new, new, written=True)}
    return Launch("store", phase, _spread(new, new, sms), tensors, ONE_BLOCK, flops=NOTHING)


def _planner(n: int) -> Launch:
    """One block that counts the tiles of the batch."""
    one = (Blocks(NOTHING, NOTHING, ONCE, np.ones(n), Demand()),)
    return Launch("plan", "other", one, {}, ONE_BLOCK, flops=NOTHING)


def _combine(shapes: Sequence[Shape], plans: Sequence[Plan], sms: Floats) -> Launch:
    """Weighing the parts of each output; the variant with parts always launches it."""
    split = _array(p.split for p in plans)
    parts = _array(p.parts for p in plans)
    out = _array(s.batch * s.kv_heads * s.rows * s.depth for s in shapes)
    tensors = {
        "PAV": Traffic(out * parts * PARTIAL * split, out * parts * PARTIAL * split),
        "AV": Traffic(out * SIZE * split, out * SIZE * split, written=True),
    }
    runs = _spread(out * parts * PARTIAL, out * SIZE, sms * split)
    return Launch("combine", "other", runs, tensors, ONE_BLOCK, flops=NOTHING)


def _spread(read: Floats, written: Floats, count: Floats) -> tuple[Blocks, ...]:
    """Bytes copied by as many blocks, each its share."""
    shares = np.maximum(count, 1.0)
    return (
        Blocks(
            NOTHING,
            NOTHING,
            ONCE,
            count,
            Demand(),
            Demand(read_bytes=read / shares, written_bytes=written / shares),
        ),
    )


def _keys_seen(shape: Shape) -> int:
    """Keys that some query of a row sees."""
    return min(shape.keys, shape.window + shape.queries) if shape.window else shape.keys


def _pairs(shape: Shape) -> float:
    """Query-key pairs that the mask leaves for one query head."""
    last = np.arange(shape.keys - shape.queries, shape.keys)
    return float(np.minimum(last + 1, shape.window + 1 if shape.window else shape.keys).sum())


def _tiles(tiles: Segments) -> float:
    return sum(
        each * (classes * first + step * classes * (classes - 1) / 2) for first, step, classes, each in tiles
    )


def _array(values: Iterable[float]) -> Floats:
    return np.array([float(value) for value in values], dtype=np.float64)


def _option(options: Mapping[str, str], name: str, known: Iterable[str]) -> str:
    """A choice of this kernel.

    Raises
    ------
    ConfigError
        It is missing or unknown.
    """
    value = options.get(name, "")
    if value not in known:
        raise ConfigError(f"kernel fa3 needs the option {name}: {' or '.join(known)}")
    return value
