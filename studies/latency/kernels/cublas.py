"""Matrix products by cuBLAS: every tile and split it has, of which it is assumed to pick the fastest.

Modelled: output tiles, parts of the sum and the launch that adds them, operands and result over the off-chip interface
once. Assumed: persistent blocks that fetch the operands of the next tile while products of this one run; nothing is
in the cache from the run before (the collector takes other operands each time). Not modelled: rasterisation, clusters,
and that the library's choice is not always the fastest.
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
TILES = (
    (128, 256), (256, 128), (128, 128), (64, 256), (256, 64), (128, 64), (64, 128), (64, 64), (64, 32), (64, 16),
)  # fmt: skip
PARTS = (1, 2, 3, 4, 6, 8, 12, 16)
STEP = 64  # elements of the sum that a step multiplies
SHORTEST_PART = 256
SIZE, PARTIAL = 2.0, 4.0
ROUND_TRIPS = 1.0  # result out
START_TRIPS = 2.0  # descriptor, first operands in


def columns(options: Mapping[str, str]) -> tuple[str, ...]:
    """Columns that launches follow from, under the names a table has for m, n and k."""
    return (options.get("m", "m"), options.get("n", "n"), options.get("k", "k"))


def launches(rows: Mapping[str, Floats], options: Mapping[str, str], gpu: Gpu) -> Sequence[Alternative]:
    """One alternative for each tile and number of parts."""
    m, n, k = (rows[name] for name in columns(options))
    found = []
    for tile_m, tile_n in TILES:
        for parts in PARTS:
            deep = np.ceil(k / parts / STEP) * STEP
            possible = (parts == 1) | (deep >= SHORTEST_PART)
            if possible.any():
                sequence = [_launch(m, n, k, tile_m, tile_n, parts)]
                if parts > 1:
                    sequence.append(_reduce(m * n, parts, gpu.sms))
                found.append(
                    Alternative(tuple(sequence), possible, False, f"{tile_m}x{tile_n}, {parts} parts")
                )
    return found


def _launch(m: Floats, n: Floats, k: Floats, tile_m: int, tile_n: int, parts: int) -> Launch:
    steps = np.ceil(k / parts / STEP)
    fetched = (np.minimum(tile_m, m) + np.minimum(tile_n, n)) * STEP * SIZE
    tile = Demand({"bf16": np.full(1, 2.0 * tile_m * tile_n * STEP)}, read_bytes=fetched)
    count = np.ceil(m / tile_m) * np.ceil(n / tile_n) * parts
    runs = (Blocks(steps, NOTHING, ONCE, count, tile),)
    out = m * n * (SIZE if parts == 1 else parts * PARTIAL)
    tensors = {
        "A": Traffic(m * k * SIZE, m * k * SIZE),
        "W": Traffic(n * k * SIZE, n * k * SIZE),
        "Z": Traffic(out, out, written=True),
    }
    return Launch(
        "gemm", "gemm", runs, tensors, Resources(co_resident=ONCE), round_trips=np.full(1, ROUND_TRIPS),
        start_trips=np.full(1, START_TRIPS),
        flops=2.0 * m * n * k, einsums=("Z",),
    )  # fmt: skip


def _reduce(outputs: Floats, parts: int, sms: Floats) -> Launch:
    """The launch that adds the parts, which are still in the cache."""
    read, written = outputs * parts * PARTIAL / sms, outputs * SIZE / sms
    runs = (Blocks(NOTHING, NOTHING, ONCE, sms, Demand(), Demand(read_bytes=read, written_bytes=written)),)
    return Launch("reduce", "other", runs, {}, Resources(co_resident=ONCE), flops=NOTHING)
