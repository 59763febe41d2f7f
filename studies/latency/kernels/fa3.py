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
from dse.studies.latency.kernels.runs import Segments, blocks, segments
from dse.workloads.launch_shapes import SCORE_OPERATIONS
from dse.workloads.launches import Blocks, Demand, Launch, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dse.arch.gpu import Gpu
    from dse.workloads.launches import Order

Floats: TypeAlias = NDArray[np.float64]
PHASES = {"prefill": "seq_len", "decode": "kv_len"}
TARGETS = ("sm90", "sm80")
ONE_GROUP_ROWS = 64  # query rows that one warp group takes


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
    new = _array(2.0 * s.batch * s.kv_heads * s.queries * s.depth * SIZE for s in shapes)
    out = _array(s.batch * s.kv_heads * s.rows * s.depth for s in shapes)
    parts, split = _array(p.parts for p in plans), _array(p.split for p in plans)
    main = _main(shapes, plans, phase, target)
    sequence = (storing(new, phase, sms), planner(len(shapes)), *main, combining(out, parts, split, sms))
    return [Alternative(sequence, np.ones(len(shapes), dtype=bool))]


def plan(shape: Shape, target: str, sms: int) -> Plan:
    """Tile and split of a row."""
    causal, local = shape.queries > 1, shape.window > 0
    guess = tile_sm90(shape, one_group=False) if target == "sm90" else (128, 112)
    seen = min(shape.keys, shape.window + 1 + guess[0]) if local else shape.keys
    most = static_parts(shape.kv_heads * -(-shape.rows // guess[0]), sms, -(-seen // guess[1]))
    split = most > 1
    if target == "sm90":
        rows, cols = tile_sm90(shape, one_group=shape.depth in {64, 128} and shape.rows <= ONE_GROUP_ROWS)
    else:
        rows, cols = (128, 112) if split else (128, 64)
    visited = tiles_visited(shape, rows, cols, causal=causal)
    parts = planned_parts(shape, rows, cols, sms, most) if split else 1
    return Plan(rows, cols, split, parts, segments(parted(visited, parts)))


def tile_sm90(shape: Shape, *, one_group: bool) -> tuple[int, int]:
    """Query rows and keys of a tile on Hopper, 16-bit values, pages gathered.

    ``one_group`` is the variant of one warp group for few query rows. The source has it for depths 64 and 128; that the
    collector's build takes it at 64, too, is inferred from the latencies of its decode rows.
    """
    causal, local = shape.queries > 1, shape.window > 0
    if shape.depth <= 64 and one_group:
        return ONE_GROUP_ROWS, 192
    if shape.depth <= 64:
        return 192, 128 if causal and not local else 160
    if shape.depth <= 128:
        return ONE_GROUP_ROWS if one_group else 128, 128
    if shape.depth <= 192:
        return 128, 96
    return 128, 64 if local else 80


def _main(shapes: Sequence[Shape], plans: Sequence[Plan], phase: str, target: str) -> tuple[Launch, ...]:
    """The attention launch, once for rows whose blocks start longest first and once for those in grid order."""
    scheduled = np.array([target == "sm90" or one.split for one in plans])
    runs, tensors = _runs(shapes, plans), _tensors(shapes, plans)
    flops = _array(4.0 * s.batch * s.kv_heads * s.group * pairs_of(s) * s.depth for s in shapes)
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
        2.0 * s.batch * s.kv_heads * p.tile_keys * s.depth * SIZE * tiles_of(p.tiles)
        for s, p in zip(shapes, plans, strict=True)
    )
    return {"Q": Traffic(q, q), "KV": Traffic(kv, np.maximum(asked, kv)), "AV": Traffic(q, q, written=True)}


def _keys_seen(shape: Shape) -> int:
    """Keys that some query of a row sees."""
    return min(shape.keys, shape.window + shape.queries) if shape.window else shape.keys


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
