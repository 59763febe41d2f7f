"""What launch parameters of the dense kernels take of an SM, as the compiler says: tables made without a GPU.

``workloads/compiled/<kernel>.csv`` has one row for each target, depth, mask, tile, number of warps and of stages that
was compiled (``python -m dse.kernels.compile_table workloads/compiled``), in fp16 with values as deep as keys. What is
not in a table keeps its estimate. Not modelled: what spilled registers cost; the tables hold them (``stack_bytes``).
"""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from dse import spec

if TYPE_CHECKING:
    from dse.workloads.launches import Array, Resources

ROOM = "workloads/compiled"
SHAPE = ("head_dim", "causal", "tile_queries", "tile_keys", "warps", "stages")
Table = dict[tuple[float, ...], tuple[float, float]]


def compiled(kernel: str, target: str, estimate: Resources, **shape: Array) -> Resources:
    """Resources of a kernel's thread block over design points: compiled ones where there is a row, else the estimate.

    ``shape`` holds arrays under the names of ``SHAPE``; those that a kernel does not have are left out.
    """
    table = _tables(kernel).get(target) if kernel in spec.shipped(ROOM, ".csv") else None
    if table is None:
        return estimate
    columns = [np.atleast_1d(shape.get(name, np.zeros(1))) for name in SHAPE]
    points = np.stack(np.broadcast_arrays(*columns), axis=1)
    each, place = np.unique(points, axis=0, return_inverse=True)
    known = np.array([table.get(tuple(row), (np.nan, np.nan)) for row in each])[place.ravel()]
    missing = np.isnan(known[:, 0])
    return replace(
        estimate,
        shared_bytes=np.where(missing, estimate.shared_bytes, known[:, 0]),
        registers=np.where(missing, estimate.registers, known[:, 1]),
    )


@cache
def _tables(kernel: str) -> dict[str, Table]:
    """Shared bytes and registers by shape, for each target."""
    found: dict[str, Table] = {}
    with spec.find(kernel, ROOM, ".csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            shape = tuple(_number(row[name]) for name in SHAPE)
            sizes = float(row["shared_bytes"]), float(row["registers"])
            found.setdefault(row["target"], {})[shape] = sizes
    return found


def _number(text: str) -> float:
    """A number, a flag as 0 or 1, 0 for what a kernel does not have."""
    return float({"": "0", "false": "0", "true": "1"}.get(text, text))
