"""Launches from a plain description: kernel, shape and tiles, without a trace.

Modelled: flash attention (causal, window, groups of query heads), decode over splits of the keys with its combining
launch, absorbed latent attention, dense matrix products, chunked linear attention. Every argument may be a number or
an array over design points; flags and types are structure. Operations of a tile follow the online softmax: per score
one scale, one subtraction, a maximum and a sum; per tile a rescaled accumulator. Not modelled: ragged lengths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from dse.workloads.launches import NOTHING, ONCE, Blocks, Demand, Launch, Resources, Traffic
from dse.workloads.requests import Requests
from dse.workloads.workload import VALUE_BYTES

if TYPE_CHECKING:
    from dse.workloads.launches import Array, Order

Number: TypeAlias = "float | Array"
SCORE_OPERATIONS = 4.0  # scale, subtract, maximum, sum
ROWS_PER_READ = (
    64.0  # rows of the first operand that one read of the second serves: a warp group's instruction
)
MOST_SPLITS = 128  # of the public rule
CHUNK = 8192
EINSUMS = ("QK", "LM", "SLN", "SLD", "SLNV", "RNV")


def array(value: Number) -> Array:
    """A number or array as an array over design points."""
    return np.atleast_1d(np.asarray(value, dtype=np.float64))


def attention(
    *,
    batch: Number,
    heads: Number,
    kv_heads: Number,
    queries: Number,
    keys: Number,
    depth: Number,
    value_depth: Number | None = None,
    causal: bool = True,
    window: Number | None = None,
    tile_queries: Number = 128,
    tile_keys: Number = 128,
    precision: str = "bf16",
    packed: bool = False,
    padded: bool = False,
    family: str = "prefill",
    order: Order = "grid",
    resources: Resources | None = None,
    name: str = "attention",
) -> Launch:
    """Flash attention: each block holds a tile of query rows and walks over the tiles of keys its rows may see.

    A causal mask lets the last query see the last key; ``window`` is the keys a row sees up to its own. ``packed``
    puts the query heads that share a key head into the rows of one tile, ``padded`` computes with depths that are
    powers of two.
    """
    b, h, g, p, m = (array(v) for v in (batch, heads, kv_heads, queries, keys))
    e = array(depth)
    f = e if value_depth is None else array(value_depth)
    rows, cols, size = array(tile_queries), array(tile_keys), VALUE_BYTES[precision]
    group = h / g if packed else ONCE
    tile = attention_tile(rows, cols, e, f, precision, padded)
    once = Demand(fp32=rows * f, read_bytes=rows * e * size, written_bytes=rows * f * size)
    runs = _trips(p * group, m, rows, cols, group, window) if causal else _all_trips(p * group, m, rows, cols)
    edges = (1.0 if window is None else 2.0) if causal else 0.0
    masked = edges * np.maximum(np.ceil(rows / group / cols), 1.0)
    blocks = tuple(
        Blocks(first, step, classes, each * b * h / group, tile, once, np.minimum(masked, first))
        for first, step, classes, each in runs
    )
    tiles = sum((run.tiles for run in blocks), NOTHING)
    kv = {"K": e, "V": f}
    tensors = {"Q": Traffic(b * h * p * e * size, b * h * p * e * size)}
    tensors |= {k: Traffic(b * g * m * d * size, tiles * cols * d * size) for k, d in kv.items()}
    tensors["AV"] = Traffic(b * h * p * f * size, b * h * p * f * size, written=True)
    flops = 2.0 * b * h * Requests(b, m, p).pairs(causal, None if window is None else array(window)) * (e + f)
    return Launch(
        name, family, blocks, tensors, resources or Resources(), order, flops=flops, einsums=EINSUMS
    )


def attention_tile(
    rows: Array, cols: Array, depth: Array, value_depth: Array, precision: str, padded: bool
) -> Demand:
    """Demand of one tile of scores: two products, an exponential for each score, the online softmax."""
    size = VALUE_BYTES[precision]
    scores = rows * cols
    staged = cols * (depth + value_depth) * size
    computed = power_of_two(depth) + power_of_two(value_depth) if padded else depth + value_depth
    return Demand(
        flops={precision: 2.0 * scores * computed},
        exps=scores + rows,
        fp32=SCORE_OPERATIONS * scores + rows * value_depth,
        shared_bytes=staged * (1.0 + np.ceil(rows / ROWS_PER_READ)),
        read_bytes=staged,
    )


def power_of_two(depth: Array) -> Array:
    """The least power of two that is not below."""
    found: Array = np.exp2(np.ceil(np.log2(depth)))
    return found


def decode(
    *,
    batch: Number,
    heads: Number,
    kv_heads: Number,
    keys: Number,
    depth: Number,
    value_depth: Number | None = None,
    splits: Number = 1,
    tile_rows: Number = 64,
    tile_keys: Number = 128,
    precision: str = "bf16",
    shared_values: bool = False,
    padded: bool = False,
    family: str = "decode",
    resources: Resources | None = None,
    name: str = "decode",
) -> tuple[Launch, Launch]:
    """Decode of one query per sequence over ``splits`` parts of the keys, and the launch that combines the parts.

    The query heads of a key head are rows of a tile, padded to ``tile_rows``. ``shared_values`` says that values are a
    part of the keys (absorbed latent attention): they are read once. With one split nothing is combined: the second
    launch has no blocks.
    """
    b, h, g, m, e = (array(v) for v in (batch, heads, kv_heads, keys, depth))
    f = e if value_depth is None else array(value_depth)
    parts, rows, cols, size = array(splits), array(tile_rows), array(tile_keys), VALUE_BYTES[precision]
    row_tiles = np.ceil(h / g / rows)
    tile = attention_tile(rows, cols, e, f, precision, padded)
    read = e if shared_values else e + f
    tile = Demand(tile.flops, tile.exps, tile.fp32, tile.shared_bytes, cols * read * size)
    split = parts > 1.0
    out_size = np.where(split, 4.0, size)
    once = Demand(fp32=rows * f, read_bytes=rows * e * size, written_bytes=rows * f * out_size)
    tiles = np.ceil(m / cols)
    short, more = np.floor(tiles / parts), tiles - np.floor(tiles / parts) * parts
    blocks = (
        Blocks(short + 1.0, NOTHING, ONCE, more * b * g * row_tiles, tile, once),
        Blocks(short, NOTHING, ONCE, (parts - more) * b * g * row_tiles, tile, once),
    )
    out = b * h * f * out_size * parts
    tensors = {"Q": Traffic(b * h * e * size, b * h * e * size * parts)}
    tensors["K"] = Traffic(b * g * m * e * size, b * g * m * e * size * row_tiles)
    if not shared_values:
        tensors["V"] = Traffic(b * g * m * f * size, b * g * m * f * size * row_tiles)
    tensors["AV"] = Traffic(out, out, written=True)
    flops = 2.0 * b * h * m * (e + f)
    main = Launch(name, family, blocks, tensors, resources or Resources(), flops=flops, einsums=EINSUMS)
    return main, _combine(np.where(split, b * h, 0.0), parts, f, size, family)


def _combine(outputs: Array, parts: Array, depth: Array, size: float, family: str) -> Launch:
    """The launch that weighs the parts of each output, one block for each; no blocks where there is one part."""
    read, written = parts * (depth + 1.0) * 4.0, depth * size
    work = Demand(exps=parts, fp32=2.0 * parts * depth, read_bytes=read, written_bytes=written)
    tensors = {
        "PAV": Traffic(outputs * read, outputs * read),
        "AV": Traffic(outputs * written, outputs * written, written=True),
    }
    blocks = (Blocks(ONCE, NOTHING, ONCE, outputs, work),)
    four = Resources(NOTHING, 64.0 * ONCE, 4.0 * ONCE, ONCE)
    return Launch("combine", family, blocks, tensors, four, flops=NOTHING, einsums=("W", "WAV", "AV"))


def splits_to_fill(
    blocks: Number, tiles: Number, sms: Number, enough: float = 0.8, near: float = 0.85
) -> Array:
    """Splits of the keys that fill the SMs: 1 if ``blocks`` occupy ``enough`` of them or there are at most 4 tiles.

    Otherwise the fewest splits whose blocks fill their waves at least ``near`` as well as the best number does (the
    rule of FlashAttention's ``num_splits_heuristic``, BSD-3).
    """
    n, t, s = np.broadcast_arrays(array(blocks), array(tiles), array(sms))
    found = np.empty(n.shape)
    for start in range(0, len(n), CHUNK):
        here = slice(start, start + CHUNK)
        found[here] = _fill(n[here], t[here], s[here], enough, near)
    return found


def _fill(blocks: Array, tiles: Array, sms: Array, enough: float, near: float) -> Array:
    """Splits that fill, for a range of points."""
    counts = np.arange(1.0, MOST_SPLITS + 1.0)
    waves = blocks[:, None] * counts / sms[:, None]
    allowed = counts <= np.minimum(tiles, sms)[:, None]
    filled = np.where(allowed, waves / np.ceil(waves), 0.0)
    good = filled >= near * filled.max(axis=1)[:, None]
    alone = (blocks >= enough * sms) | (tiles <= 4.0)
    chosen: Array = np.where(alone, 1.0, counts[np.argmax(good, axis=1)])
    return chosen


def gemm(
    *,
    m: Number,
    n: Number,
    k: Number,
    tile_m: Number = 128,
    tile_n: Number = 128,
    tile_k: Number = 64,
    splits: Number = 1,
    precision: str = "bf16",
    family: str = "gemm",
    resources: Resources | None = None,
    name: str = "gemm",
) -> Launch:
    """Matrix product [m, k] × [k, n]: a block owns a tile of the output (or a part of its sum) and walks along k.

    The grid is walked in patches, so that blocks that run together share both operands. Partial sums of ``splits``
    parts are written and added once more in FP32.
    """
    size = VALUE_BYTES[precision]
    rows, cols, deep = array(m), array(n), array(k)
    tm, tn, tk, parts = array(tile_m), array(tile_n), array(tile_k), array(splits)
    down, across = np.ceil(rows / tm), np.ceil(cols / tn)
    trips = np.ceil(deep / parts / tk)
    step = (tm + tn) * tk * size
    tile = Demand({precision: 2.0 * tm * tn * tk}, shared_bytes=step + (tm / ROWS_PER_READ * tn + tm) * tk * size,
                  read_bytes=step)  # fmt: skip
    out_size = np.where(parts > 1.0, 4.0 * parts + 4.0, size)
    once = Demand(written_bytes=np.minimum(tm, rows) * np.minimum(tn, cols) * out_size / parts)
    blocks = (Blocks(trips, NOTHING, ONCE, down * across * parts, tile, once),)
    first, second = rows * deep * size, deep * cols * size
    tensors = {
        "A": Traffic(first, first * across, spread=0.5),
        "W": Traffic(second, second * down, spread=0.5, far=True),
        "Z": Traffic(rows * cols * out_size, rows * cols * out_size, written=True),
    }
    flops = 2.0 * rows * cols * deep
    return Launch(name, family, blocks, tensors, resources or Resources(), flops=flops, einsums=("Z",))


def linear_attention(
    *,
    batch: Number,
    heads: Number,
    length: Number,
    chunk: Number,
    depth: Number,
    value_depth: Number | None = None,
    precision: str = "bf16",
    family: str = "linear",
    resources: Resources | None = None,
) -> Launch:
    """Chunked linear attention: one block for each head carries the state [depth, value_depth] along the chunks."""
    b, h, s, c, e = (array(v) for v in (batch, heads, length, chunk, depth))
    f, size = e if value_depth is None else array(value_depth), VALUE_BYTES[precision]
    products = 2.0 * c * (c * e + e * f + c * f + e * f)
    moved = c * (2.0 * e + f) * size
    tile = Demand(
        {precision: products},
        exps=2.0 * c,
        fp32=c * c + c * f + e * f,
        shared_bytes=2.0 * moved,
        read_bytes=moved,
        written_bytes=c * f * size,
    )
    once = Demand(written_bytes=e * f * 4.0)
    blocks = (Blocks(np.ceil(s / c), NOTHING, ONCE, b * h, tile, once),)
    tensors = {
        name: Traffic(b * h * s * d * size, b * h * s * d * size)
        for name, d in (("Q", e), ("K", e), ("V", f))
    }
    tensors["AV"] = Traffic(b * h * s * f * size, b * h * s * f * size, written=True)
    useful = 2.0 * b * h * s * ((c + 1.0) / 2.0 * (e + f) + 2.0 * e * f)
    einsums = ("QK", "INTER", "INTRA", "KV")
    return Launch(
        "chunks",
        family,
        blocks,
        tensors,
        resources or Resources(),
        carried=True,
        flops=useful,
        einsums=einsums,
    )


def _all_trips(rows: Array, keys: Array, tile_rows: Array, tile_keys: Array) -> list[tuple[Array, ...]]:
    """All blocks visit all tiles."""
    return [(np.ceil(keys / tile_keys), NOTHING, ONCE, np.ceil(rows / tile_rows))]


def _trips(
    rows: Array, keys: Array, tile_rows: Array, tile_keys: Array, group: Array, window: Number | None
) -> list[tuple[Array, ...]]:
    """Runs (first, step, classes, blocks of each) of the tiles that blocks of rows visit under a causal mask.

    Block i ends at key ``offset + (i + 1) * rows``; of tiles larger than a block, several blocks see equally many.
    """
    span = tile_rows / group
    count, most = np.ceil(rows / tile_rows), np.ceil(keys / tile_keys)
    offset = np.maximum(keys - rows / group, 0.0)
    if window is not None:
        most_seen = np.minimum(np.ceil((span + array(window) - 1.0) / tile_keys), most)
        reached = np.minimum(np.floor(np.maximum(array(window) - offset, 0.0) / span), count)
        first = np.minimum(np.ceil((offset + span) / tile_keys), most_seen)
        last = np.minimum(np.ceil((offset + reached * span) / tile_keys), most_seen)
        slope = np.where(reached > 1.0, (last - first) / np.maximum(reached - 1.0, 1.0), 0.0)
        return [(first, slope, reached, ONCE), (most_seen, NOTHING, ONCE, count - reached)]
    each = np.maximum(np.round(tile_keys / span), 1.0)
    slope = np.maximum(np.round(span / tile_keys), 1.0)
    start = np.where(each > 1.0, np.ceil(offset / span), 0.0)
    first = np.where(each > 1.0, np.ceil((start + 1.0) / each), np.ceil(offset / tile_keys) + slope)
    head = np.where(each > 1.0, np.minimum(first * each - start, count - 1.0), 0.0)
    whole = np.floor((count - 1.0 - head) / each)
    rest = count - 1.0 - head - whole * each
    after = np.where(head > 0.0, first + 1.0, first)
    return [
        (first, NOTHING, ONCE, head),
        (after, slope, whole, each),
        (after + whole * slope, NOTHING, ONCE, rest),
        (most, NOTHING, ONCE, ONCE * np.ones_like(count)),
    ]
