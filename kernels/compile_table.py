"""What launch parameters of the dense kernels need of an SM, by compiling each of them: a table for searches.

``python -m dse.kernels.compile_table FOLDER`` writes ``flash_forward.csv`` and ``split_kv_decode.csv``, one row for
each target, tile, number of warps and of stages. Needs no GPU. Rows change with the version of triton, which they name.
"""

from __future__ import annotations

import csv
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dse.kernels.command import FOLDER, write_into
from dse.kernels.resources import compiled
from dse.kernels.trace_kernel import trace_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dse.workloads.resources import Resources

TARGETS = ("sm_80", "sm_90", "sm_100")
WARPS = (4, 8)
STAGES = (2, 3, 4)
COLUMNS = (
    "target", "head_dim", "causal", "tile_queries", "tile_keys", "warps", "stages", "shared_bytes", "registers",
    "stack_bytes", "fits", "triton",
)  # fmt: skip
# Sizes that decide nothing: the smallest with whole tiles and pointers and counts that are multiples of 16.
SMALL = {"sequence": 256, "batch": 1}


@dataclass(frozen=True)
class Kernel:
    """A kernel, its sizes, and the parameters that are multiplied."""

    name: str
    sizes: Mapping[str, int]
    axes: Mapping[str, Sequence[int | bool]]


KERNELS = (
    Kernel(
        "flash_forward",
        {"heads": 4, "kv_heads": 2},
        {
            "head_dim": (64, 128),
            "causal": (False, True),
            "tile_queries": (64, 128),
            "tile_keys": (32, 64, 128),
        },
    ),
    Kernel(
        "split_kv_decode",
        {"heads": 8, "kv_heads": 2, "splits": 2},
        {"head_dim": (64, 128), "tile_keys": (32, 64, 128)},
    ),
)


def rows(kernel: Kernel, targets: Sequence[str] = TARGETS) -> Iterator[dict[str, str]]:
    """Rows of a kernel's table; of several launches the one with the tiles."""
    names = list(kernel.axes)
    for chosen in itertools.product(*kernel.axes.values()):
        values = dict(zip(names, chosen, strict=True))
        trace = trace_kernel(kernel.name, {**SMALL, **kernel.sizes, **values}, level="counts", sample=True)
        options = [{"num_warps": w, "num_stages": s} for w, s in itertools.product(WARPS, STAGES)]
        for resources in compiled(trace, targets, options):
            if resources.launch == 0:
                yield _row(values, resources)


def _row(values: Mapping[str, int | bool], resources: Resources) -> dict[str, str]:
    shape = {name: str(values.get(name, "")).lower() for name in COLUMNS[1:5]}
    return shape | {
        "target": resources.target,
        "warps": str(resources.num_warps),
        "stages": str(resources.num_stages),
        "shared_bytes": str(resources.shared_bytes),
        "registers": str(resources.registers),
        "stack_bytes": str(resources.stack_bytes),
        "fits": str(not resources.exceeded).lower(),
        "triton": resources.triton,
    }


def write_all(folder: Path) -> None:
    """Write both tables into a folder."""
    for kernel in KERNELS:
        found = list(rows(kernel))
        with Path(folder, f"{kernel.name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(found)


def main(arguments: Sequence[str]) -> int:
    """Run as a command."""
    return write_into("compile_table", FOLDER, write_all, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
