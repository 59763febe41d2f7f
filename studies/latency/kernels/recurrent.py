"""One step of a recurrent state per head: the state is read, updated and written, everything else is small.

Modelled: one block for each sequence, value head and 32 of its value columns; state in FP32. Not modelled: gates, the
convolution before it, states in other types.
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
COLUMNS_OF_BLOCK, STATE_SIZE = 32.0, 4.0
UPDATES = 6.0  # FP32 operations on each element: decay, two products of state and vector, update, output


def columns(options: Mapping[str, str]) -> tuple[str, ...]:
    """Columns that launches follow from."""
    return ("batch_size", "num_v_heads", "head_k_dim", "head_v_dim")


def launches(rows: Mapping[str, Floats], options: Mapping[str, str], gpu: Gpu) -> Sequence[Alternative]:
    """One launch that passes over all states."""
    batch, heads, depth, width = (rows[name] for name in columns(options))
    state = batch * heads * depth * width
    block = depth * COLUMNS_OF_BLOCK
    once = Demand(fp32=UPDATES * block, read_bytes=block * STATE_SIZE, written_bytes=block * STATE_SIZE)
    count = batch * heads * np.ceil(width / COLUMNS_OF_BLOCK)
    runs = (Blocks(NOTHING, NOTHING, ONCE, count, Demand(), once),)
    moved = state * STATE_SIZE
    tensors = {"state": Traffic(moved, moved), "next": Traffic(moved, moved, written=True)}
    warps = Resources(NOTHING, np.full(1, 64.0), np.full(1, 1.0), ONCE)
    launch = Launch("recurrent", "other", runs, tensors, warps, flops=4.0 * state)
    return [Alternative((launch,), np.ones(len(batch), dtype=bool))]
