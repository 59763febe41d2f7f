"""Launches behind rows that ``dse measure`` wrote: this project's kernels and microbenchmarks at their parameters.

Modelled: dense, causal, windowed and block-sparse prefill, modified scores, split decode, absorbed latent decode,
linear attention by chunks and by steps, microbenchmarks; what a block takes of an SM is read from the row where the
measuring machine compiled it.
Kernels that are not listed in ``BUILDERS`` (several launches that depend on values), and boxes of several axes, take
their launches from a trace.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.errors import ConfigError
from dse.studies.latency.kernels import Alternative
from dse.studies.latency.kernels.runs import blocks, segments
from dse.workloads.launch_shapes import attention, decode, linear_attention
from dse.workloads.launches import NOTHING, ONCE, Blocks, Demand, Launch, Resources, Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pandas as pd

    from dse.arch.gpu import Gpu
    from dse.studies.latency.tracing import Tracing
    from dse.workloads.launches import Array

HOT = "hot"
TEAM = 1024.0  # elements of a block of the microbenchmarks
PRODUCT = (128.0, 128.0, 64.0)  # of the tensor microbenchmark
WHOLE = "full"


def own_alternatives(
    rows: pd.DataFrame, gpu: Gpu, tracing: Tracing | None = None
) -> Iterator[tuple[int, Alternative]]:
    """Position and launches of every row whose kernel is known, in closed form or from a trace.

    Raises
    ------
    ConfigError
        A row lacks a parameter of its kernel, or it is no number.
    """
    for place, row in enumerate(rows.to_dict("records")):
        cells = {str(name): cell for name, cell in row.items()}
        build = BUILDERS.get(str(row["kernel"]))
        try:
            launches = build(_Row(cells), gpu) if build else ()
        except (KeyError, ValueError) as error:
            raise ConfigError(
                f"{row['class']} {row['kernel']}: parameter {error} is missing or wrong"
            ) from None
        if not launches and tracing is not None:
            launches = tracing.launches(cells)
        warm = np.array([row["cache"] == HOT])
        yield (
            place,
            Alternative(_compiled(launches, str(row.get("launches", ""))), np.ones(1, dtype=bool), warm),
        )


class _Row:
    """Parameters of one row."""

    def __init__(self, cells: Mapping[str, Any]) -> None:
        self._cells = cells

    def number(self, name: str, other: str = "") -> float:
        """A parameter as a number; where the kernel does not have it, that of ``other``."""
        text = str(self._cells.get(name, ""))
        return float(text) if text or not other else self.number(other)

    def flag(self, name: str) -> bool:
        """Whether a flag is set."""
        return str(self._cells.get(name, "")) == "true"

    def text(self, name: str, default: str) -> str:
        """A choice."""
        return str(self._cells.get(name, "")) or default


def _compiled(launches: Sequence[Launch], text: str) -> tuple[Launch, ...]:
    """Launches with the resources that the measuring machine's compiler reported, in order."""
    if not text:
        return tuple(launches)
    found = json.loads(text)
    if len(found) != len(launches):
        return tuple(launches)
    return tuple(
        replace(launch, resources=_resources(one), compiled={})
        for launch, one in zip(launches, found, strict=True)
    )


def _resources(one: Mapping[str, Any]) -> Resources:
    def value(name: str) -> Array:
        return np.full(1, float(one[name]) if one.get(name) is not None else np.nan)

    return Resources(value("shared_bytes"), value("registers"), value("warps"), value("stages"))


def _flash(row: _Row, gpu: Gpu) -> tuple[Launch, ...]:
    return (
        attention(
            batch=row.number("batch"), heads=row.number("heads"), kv_heads=row.number("kv_heads", "heads"),
            queries=row.number("queries", "sequence"), keys=row.number("sequence"), depth=row.number("head_dim"),
            value_depth=row.number("value_dim", "head_dim"), causal=row.flag("causal"),
            tile_queries=row.number("tile_queries"), tile_keys=row.number("tile_keys"),
            precision=row.text("precision", "fp16"), padded=True,
        ),
    )  # fmt: skip


def _modified(exps: float, fp32: float) -> Callable[[_Row, Gpu], tuple[Launch, ...]]:
    """Flash attention with further operations on each score."""

    def build(row: _Row, gpu: Gpu) -> tuple[Launch, ...]:
        (launch,) = _flash(row, gpu)
        scores = row.number("tile_queries") * row.number("tile_keys")

        def more(tile: Demand) -> Demand:
            return replace(tile, exps=tile.exps + exps * scores, fp32=tile.fp32 + fp32 * scores)

        return (replace(launch, blocks=tuple(replace(run, tile=more(run.tile)) for run in launch.blocks)),)

    return build


def _sparse(row: _Row, gpu: Gpu) -> tuple[Launch, ...]:
    """Flash attention that visits at most ``kept`` key tiles, at random among those that the mask leaves."""
    (launch,) = _flash(row, gpu)
    rows, cols = row.number("tile_queries"), row.number("tile_keys")
    count = np.ceil(row.number("queries", "sequence") / rows)
    offset = row.number("sequence") - row.number("queries", "sequence")
    seen = np.ceil((offset + np.arange(1.0, count + 1.0) * rows) / cols)
    every = np.full(int(count), np.ceil(row.number("sequence") / cols))
    tiles = np.minimum(np.minimum(seen if row.flag("causal") else every, every), row.number("kept"))
    known = next(run for run in launch.blocks if run.tile.flops)
    repeats = np.full(1, row.number("batch") * row.number("heads"))
    share = float(tiles.sum() / (seen if row.flag("causal") else every).sum())
    return (
        replace(
            launch,
            blocks=blocks([segments(tiles.astype(np.int64))], repeats, known.tile, known.once),
            tensors={
                name: replace(t, total=np.maximum(t.total * share, t.unique)) for name, t in launch.tensors.items()
            },
            flops=launch.flops * share,
            round_trips=np.full(1, 4.0),  # bounds of the list, its entries, keys, output
        ),
    )  # fmt: skip


def _state(row: _Row, gpu: Gpu) -> tuple[Launch, ...]:
    """One step of linear attention: every state read and written in FP32."""
    depth, width = row.number("head_dim"), row.number("value_dim", "head_dim")
    part = min(row.number("tile_values"), width)
    heads = row.number("batch") * row.number("heads")
    moved = np.full(1, depth * part * 4.0)
    once = Demand(fp32=np.full(1, 4.0 * depth * part), read_bytes=moved, written_bytes=moved)
    whole = np.full(1, heads * depth * width * 4.0)
    tensors = {"S": Traffic(whole, whole), "next": Traffic(whole, whole, written=True)}
    count = np.full(1, heads * np.ceil(width / part))
    runs = (Blocks(NOTHING, NOTHING, ONCE, count, Demand(), once),)
    return (Launch("step", "other", runs, tensors, flops=np.full(1, 4.0 * heads * depth * width)),)


def _window(row: _Row, gpu: Gpu) -> tuple[Launch, ...]:
    """A causal window over one axis; boxes of several axes are not counted here."""
    if row.text("axes", WHOLE) != WHOLE or row.text("dilation", WHOLE) != WHOLE or not row.flag("causal"):
        return ()
    return (
        attention(
            batch=row.number("batch"), heads=row.number("heads"), kv_heads=row.number("kv_heads", "heads"),
            queries=row.number("sequence"), keys=row.number("sequence"), depth=row.number("head_dim"),
            causal=True, window=row.number("window"), tile_queries=row.number("query_tile"),
            tile_keys=row.number("key_tile"), precision=row.text("precision", "fp16"), padded=True,
        ),
    )  # fmt: skip


def _split(row: _Row, gpu: Gpu) -> tuple[Launch, ...]:
    group = row.number("heads") / row.number("kv_heads")
    return decode(
        batch=row.number("batch"), heads=row.number("heads"), kv_heads=row.number("kv_heads"),
        keys=row.number("sequence"), depth=row.number("head_dim"), splits=row.number("splits"),
        tile_rows=max(16.0, 2.0 ** np.ceil(np.log2(group))), tile_keys=row.number("tile_keys"),
        precision=row.text("precision", "fp16"), padded=True,
    )  # fmt: skip


def _latent(row: _Row, gpu: Gpu) -> tuple[Launch, ...]:
    """Absorbed latent attention: one key head whose latents are also the values; one launch."""
    main, _ = decode(
        batch=row.number("batch"), heads=row.number("heads"), kv_heads=1.0, keys=row.number("sequence"),
        depth=row.number("latent_dim") + row.number("rope_dim"), value_depth=row.number("latent_dim"),
        tile_rows=row.number("tile_heads"), tile_keys=row.number("tile_keys"),
        precision=row.text("precision", "fp16"), shared_values=True,
    )  # fmt: skip
    return (main,)


def _chunks(row: _Row, gpu: Gpu) -> tuple[Launch, ...]:
    return (
        linear_attention(
            batch=row.number("batch"), heads=row.number("heads"), length=row.number("sequence"),
            chunk=row.number("chunk"), depth=row.number("head_dim"),
            value_depth=row.number("value_dim", "head_dim"), precision=row.text("precision", "fp16"),
        ),
    )  # fmt: skip


def _empty(row: _Row, gpu: Gpu) -> tuple[Launch, ...]:
    return (_bench("empty", ONCE, Demand()),)


def _copy(row: _Row, gpu: Gpu) -> tuple[Launch, ...]:
    size = np.full(1, row.number("size"))
    part = np.full(1, 4.0 * TEAM)
    tensors = {"in": Traffic(size, size), "out": Traffic(size, size, written=True)}
    return (
        _bench("copy", np.ceil(size / part), Demand(read_bytes=part, written_bytes=part), tensors=tensors),
    )


def _l2(row: _Row, gpu: Gpu) -> tuple[Launch, ...]:
    size = np.full(1, row.number("size"))
    trips = np.full(1, row.number("passes")) * size / (4.0 * TEAM)
    step = Demand(read_bytes=np.full(1, 4.0 * TEAM), fp32=np.full(1, TEAM))
    programs = np.full(1, row.number("programs"))
    tensors = {"in": Traffic(size, size * programs * row.number("passes"))}
    return (_bench("l2", programs, step, trips, tensors),)


def _tensor(row: _Row, gpu: Gpu) -> tuple[Launch, ...]:
    m, n, k = PRODUCT
    step = Demand({"fp16": np.full(1, 2.0 * m * n * k)})
    return (_bench("tensor", np.full(1, row.number("programs")), step, np.full(1, row.number("steps"))),)


def _exp(row: _Row, gpu: Gpu) -> tuple[Launch, ...]:
    step = Demand(exps=np.full(1, TEAM))
    return (_bench("exp", np.full(1, row.number("programs")), step, np.full(1, row.number("steps"))),)


def _fp32(row: _Row, gpu: Gpu) -> tuple[Launch, ...]:
    step = Demand(fp32=np.full(1, TEAM))
    return (_bench("fp32", np.full(1, row.number("programs")), step, np.full(1, row.number("steps"))),)


def _bench(
    name: str,
    count: np.ndarray,
    step: Demand,
    steps: np.ndarray = ONCE,
    tensors: Mapping[str, Traffic] | None = None,
) -> Launch:
    """A launch of equal blocks."""
    flops = steps * count * sum(step.flops.values(), NOTHING)
    return Launch(
        name, "other", (Blocks(steps, NOTHING, ONCE, count, step),), tensors or {}, flops=flops,
    )  # fmt: skip


BUILDERS: dict[str, Callable[[_Row, Gpu], tuple[Launch, ...]]] = {
    "flash_forward": _flash,
    "score_mod": _modified(1.0, 6.0),
    "score_mod_alibi": _modified(0.0, 2.0),
    "score_mod_sigmoid": _modified(0.0, 0.0),
    "block_sparse": _sparse,
    "linear_decode": _state,
    "tile_list": _window,
    "split_kv_decode": _split,
    "mla_decode": _latent,
    "linear_chunk": _chunks,
    "empty": _empty,
    "copy": _copy,
    "l2": _l2,
    "tensor": _tensor,
    "exp": _exp,
    "fp32": _fp32,
}
