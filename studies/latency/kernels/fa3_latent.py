"""FlashAttention-3 with absorbed latent attention (one key head whose latents are the values) as sglang calls it.

Modelled: 64 × 64 tiles over scores of depth 576 (512 latent, 64 rotary) and values of depth 512, query heads packed
into rows, splits planned as in `fa3`; prefill and decode. From the same sources (tile_size.h: value depth 512;
collector/sglang/collect_mla.py). Not modelled: which warp group holds which half of the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dse.studies.latency.kernels import Alternative
from dse.studies.latency.kernels.paged import (
    EINSUMS,
    ONE_BLOCK,
    PARTIAL,
    SIZE,
    TRIPS,
    Shape,
    combining,
    pairs_of,
    parted,
    planned_parts,
    planner,
    static_parts,
    storing,
    tiles_of,
    tiles_visited,
)
from dse.studies.latency.kernels.runs import blocks, segments
from dse.workloads.launch_shapes import SCORE_OPERATIONS
from dse.workloads.launches import Demand, Launch, Traffic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.arch.gpu import Gpu

Floats: TypeAlias = NDArray[np.float64]
LATENT, ROTARY, TILE = 512.0, 64.0, 64


def columns(options: Mapping[str, str]) -> tuple[str, ...]:
    """Columns that launches follow from: heads are those of one device."""
    return ("batch_size", "isl", "kv_len", "num_heads")


def launches(rows: Mapping[str, Floats], options: Mapping[str, str], gpu: Gpu) -> Sequence[Alternative]:
    """The one way there is: write the cache, plan, attention, combine."""
    given = (rows[name] for name in columns(options))
    shapes = [
        Shape(int(b), 1, int(h), int(q), int(k), int(LATENT + ROTARY), 0)
        for b, q, k, h in zip(*given, strict=True)
    ]
    sms = np.full(len(shapes), gpu.sms[0])
    found, parts = [], []
    for shape in shapes:
        tiles = tiles_visited(shape, TILE, TILE, causal=shape.queries > 1)
        most = static_parts(-(-shape.rows // TILE), int(gpu.sms[0]), -(-shape.keys // TILE))
        parts.append(planned_parts(shape, TILE, TILE, int(gpu.sms[0]), most) if most > 1 else 1)
        found.append((segments(parted(tiles, parts[-1])), most > 1))
    split = np.array([float(one) for _, one in found])
    out = np.array([s.batch * s.rows * LATENT for s in shapes])
    new = np.array([s.batch * s.queries * (LATENT + ROTARY) * SIZE for s in shapes])
    main = _main(shapes, [tiles for tiles, _ in found], split)
    sequence = (
        storing(new, "decode", sms),
        planner(len(shapes)),
        main,
        combining(out, np.array(parts, dtype=np.float64), split, sms),
    )
    return [Alternative(sequence, np.ones(len(shapes), dtype=bool))]


def _main(
    shapes: Sequence[Shape], tiles: Sequence[list[tuple[float, float, float, float]]], split: Floats
) -> Launch:
    scores, depth = float(TILE * TILE), LATENT + ROTARY
    read = np.full(1, TILE * depth * SIZE)
    step = Demand(
        {"bf16": np.full(1, 2.0 * scores * (depth + LATENT))}, np.full(1, scores),
        np.full(1, SCORE_OPERATIONS * scores), read_bytes=read,
    )  # fmt: skip
    used = np.array([min(TILE, s.rows) for s in shapes], dtype=np.float64)
    written = used * LATENT * np.where(split > 0.0, PARTIAL, SIZE)
    once = Demand(read_bytes=used * depth * SIZE, written_bytes=written)
    batch = np.array([float(s.batch) for s in shapes])
    heads = np.array([float(s.batch * s.rows) for s in shapes])
    cache = batch * np.array([s.keys * depth * SIZE for s in shapes])
    asked = batch * np.array([tiles_of(one) for one in tiles]) * TILE * depth * SIZE
    tensors = {
        "Q": Traffic(heads * depth * SIZE, heads * depth * SIZE),
        "KV": Traffic(cache, np.maximum(asked, cache)),
        "AV": Traffic(heads * LATENT * SIZE, heads * LATENT * SIZE, written=True),
    }
    flops = np.array([2.0 * s.batch * s.group * pairs_of(s) * (depth + LATENT) for s in shapes])
    runs = blocks(tiles, batch, step, once)
    return Launch(
        "attention",
        "decode",
        runs,
        tensors,
        ONE_BLOCK,
        "longest_first",
        round_trips=TRIPS,
        flops=flops,
        einsums=EINSUMS,
    )
