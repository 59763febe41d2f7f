"""Scores of many query heads against one key head, summed over heads: the indexer of sparse attention, in 8 bit.

Modelled: persistent blocks that fetch ahead; 2 query tokens × their heads against 256 keys at a time, a product in FP8,
a rectifier and a weighted sum over heads in FP32, scores written. Tiles are assumed. Not modelled: how tiles are dealt
out to the blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dse.studies.latency.kernels import Alternative
from dse.workloads.launches import NOTHING, ONCE, Blocks, Demand, Launch, Resources, Traffic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.arch.gpu import Gpu

Floats: TypeAlias = NDArray[np.float64]
TOKENS, KEYS, DEPTH, SIZE, SCORE_SIZE = 2.0, 256.0, 128.0, 1.0, 4.0
OPERATIONS = 2.0  # of a score: rectified, multiplied and added


def columns(options: Mapping[str, str]) -> tuple[str, ...]:
    """Columns that launches follow from: query tokens, tokens before them, heads."""
    return ("batch_size", "isl", "step", "num_heads")


def launches(rows: Mapping[str, Floats], options: Mapping[str, str], gpu: Gpu) -> Sequence[Alternative]:
    """One launch; each token sees the keys before it and itself."""
    batch, queries, before, heads = (rows[name] for name in columns(options))
    pairs = batch * (queries * before + queries * (queries + 1.0) / 2.0)
    scores = TOKENS * heads * KEYS
    tile = Demand(
        {"fp8": 2.0 * scores * DEPTH}, fp32=OPERATIONS * scores, read_bytes=np.full(1, KEYS * DEPTH * SIZE),
        written_bytes=np.full(1, TOKENS * KEYS * SCORE_SIZE),
    )  # fmt: skip
    count = np.maximum(batch * np.ceil(queries / TOKENS), 1.0)
    first = np.ceil((before + TOKENS) / KEYS)
    last = np.ceil((before + queries) / KEYS)
    classes = np.maximum(last - first + 1.0, 1.0)
    runs = (
        Blocks(first, ONCE, classes, count / classes, tile, Demand(read_bytes=TOKENS * heads * DEPTH * SIZE)),
    )
    keys = batch * (before + queries) * DEPTH * SIZE
    asked = np.maximum(runs[0].tiles * KEYS * DEPTH * SIZE, keys)
    out = pairs * SCORE_SIZE
    tensors = {"K": Traffic(keys, asked), "S": Traffic(out, out, written=True)}
    launch = Launch(
        "mqa_logits",
        "gemm",
        runs,
        tensors,
        Resources(co_resident=ONCE),
        round_trips=NOTHING,
        start_trips=np.full(1, 2.0),
        flops=2.0 * pairs * heads * DEPTH + NOTHING,
    )
    return [Alternative((launch,), np.ones(len(batch), dtype=bool))]
