"""Attention layers run with the public AttAcc simulator, one stack each: what cycles and commands it counted.

``attacc_run.csv`` comes from github.com/scale-snu/attacc_simulator, MIT licence (LICENSE.attacc).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dse.arch.machine import load_machine
from dse.arch.pim import Pim
from dse.simulator.pim.shape import Attention, Shape

KINDS = ("mac", "sfm", "mvgb", "mvsb", "wrgb")


@cache
def machine(name: str, limited: str = "true", **changes: str) -> Pim:
    """One stack of a machine."""
    found = load_machine(name, {"stacks": "1", "power_limited": limited, **changes})
    assert isinstance(found, Pim)
    return found


@dataclass(frozen=True)
class Run:
    """One attention layer and what the simulator counted."""

    machine: Pim
    work: Attention
    cycles: int
    counts: dict[str, int]
    label: str

    @property
    def shape(self) -> Shape:
        return Shape(self.work, self.machine, self.work.heads / self.work.heads)


def _run(row: dict[str, str]) -> Run:
    heads, keys, depth, word = (int(row[key]) for key in ("heads", "keys", "head_dim", "word_bytes"))
    return Run(
        machine(row["machine"], row["power_limited"]),
        Attention.of(heads, keys, depth, word_bytes=word),
        int(row["cycles"]),
        {kind: int(row[kind]) for kind in KINDS},
        f"{row['machine']}-{keys}-{heads}-{word}-{row['power_limited']}",
    )


TABLE = Path(__file__).with_name("attacc_run.csv")
RUNS = [_run(row) for row in csv.DictReader(TABLE.open(encoding="utf-8"))]
