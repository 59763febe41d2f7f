"""Softmax or layer normalisation of the rows of a matrix: one launch, every element read and written once.

Modelled: a warp for each row of up to 1,024 elements, four warps beyond; 16-bit values; the work of a softmax (maximum,
exponential, sum, scale). Not modelled: rows that do not fit registers and are read again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dse.errors import ConfigError
from dse.studies.latency.kernels import Alternative
from dse.workloads.launches import NOTHING, ONCE, Blocks, Demand, Launch, Resources, Traffic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.arch.gpu import Gpu

Floats: TypeAlias = NDArray[np.float64]
SIZE, LONG_ROW = 2.0, 1024.0
OPERATIONS = {
    "softmax": (1.0, 4.0),
    "layernorm": (0.0, 6.0),
}  # exponentials and FP32 operations of an element


def columns(options: Mapping[str, str]) -> tuple[str, ...]:
    """Columns that launches follow from."""
    return (options.get("rows", "rows"), options.get("cols", "cols"))


def launches(rows: Mapping[str, Floats], options: Mapping[str, str], gpu: Gpu) -> Sequence[Alternative]:
    """One launch with a block for every row.

    Raises
    ------
    ConfigError
        The operation is unknown.
    """
    name = options.get("operation", "")
    if name not in OPERATIONS:
        raise ConfigError(f"kernel row_passes needs the option operation: {' or '.join(OPERATIONS)}")
    count, width = (rows[column] for column in columns(options))
    exps, fp32 = OPERATIONS[name]
    once = Demand(exps=exps * width, fp32=fp32 * width, read_bytes=width * SIZE, written_bytes=width * SIZE)
    runs = (Blocks(NOTHING, NOTHING, ONCE, count, Demand(), once),)
    moved = count * width * SIZE
    tensors = {"in": Traffic(moved, moved), "out": Traffic(moved, moved, written=True)}
    warps = Resources(NOTHING, np.full(1, 32.0), np.where(width > LONG_ROW, 4.0, 1.0), ONCE)
    launch = Launch(name, "other", runs, tensors, warps, flops=NOTHING * count)
    return [Alternative((launch,), np.ones(len(count), dtype=bool))]
