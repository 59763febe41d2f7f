"""Attention layers run with the public AttAcc simulator, one stack each: what cycles and commands it counted.

``attacc_run.csv`` comes from running github.com/scale-snu/attacc_simulator, MIT licence (LICENSE.attacc);
``attacc_stored.csv`` is a sample of the table that ships with it, made with older versions of its controller and
command streams: rows are not opened ahead of barriers, and a cycle takes one command.
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


def _run(row: dict[str, str], **changes: str) -> Run:
    heads, keys, depth, word = (int(row[key]) for key in ("heads", "keys", "head_dim", "word_bytes"))
    return Run(
        machine(row["machine"], row["power_limited"], **changes),
        Attention.of(heads, keys, depth, word_bytes=word),
        int(row["cycles"]),
        {kind: int(row[kind]) for kind in KINDS},
        f"{row['machine']}-{keys}-{heads}-{word}-{row['power_limited']}",
    )


def _runs(table: str, **changes: str) -> list[Run]:
    path = Path(__file__).with_name(table)
    return [_run(row, **changes) for row in csv.DictReader(path.open(encoding="utf-8"))]


RUNS = _runs("attacc_run.csv")
STORED = _runs("attacc_stored.csv", **{"controller.ahead": "false", "controller.paired": "false"})
