"""Decode steps of the Duplex systems as LLMSimulator ran them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.studies.batch import Request, Resolver
from dse.studies.record import evaluate_one
from dse.studies.rows import result_columns
from tests.packaging.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dse.studies.batch import Group

TABLE = ROOT / "studies/duplex/llmsimulator_steps.csv"
MODELS = {"mixtral": "mixtral_8x7b", "glam": "glam_143b", "opt66b": "opt_66b"}
SYSTEMS = {
    ("GPU", "off"): "duplex_gpu",
    ("GPU+LOGIC", "off"): "duplex",
    ("GPU+LOGIC", "on"): "duplex_coprocessing",
    ("GPU+PIM", "off"): "duplex_bank",
}
# The table holds means over steps in which the keys grow, 3.5 beyond the prompt in the mean.
GROWN = 3
# Steps whose routings the table averages.
STEPS = 6
EXPERTS = {"mixtral": (8, 32), "glam": (64, 16)}


@dataclass(frozen=True)
class Run:
    """One row of the table."""

    row: dict[str, str]

    @property
    def ideal(self) -> bool:
        return self.row["use_ramulator"] == "off"

    def seconds(self, column: str) -> float:
        return float(self.row[f"{column}_ns"]) * 1e-9

    def request(self, routing: Path | None = None, accounting: str = "paper") -> Request:
        """The design point of the row, its experts chosen by a recording."""
        devices, alone = self.row["num_device"], self.row["processor"] == "GPU"
        names = ["devices.xpu.count"] if alone else ["devices.xpu.count", "devices.pim.count"]
        given = {
            "sequence": int(self.row["input_len"]) + GROWN,
            "batch": self.row["batch"],
            "phase": "decode",
            "scope": "model",
            **({} if routing is None else {"routing": str(routing)}),
        }
        return Request(
            SYSTEMS[self.row["processor"], self.row["parallel_exec"]] + ("" if self.ideal else "_timed"),
            MODELS[self.row["model"]],
            tuple(given.items()),
            tuple((name, devices) for name in names),
            accounting,
        )

    def record_routing(self, folder: Path) -> Path | None:
        """A recording of the table's routing: numbers 0 to 256 of a Mersenne twister, modulo the experts."""
        if self.row["model"] not in EXPERTS:
            return None
        experts, layers = EXPERTS[self.row["model"]]
        path = folder / f"routing_{experts}_{self.row['batch']}.csv"
        if not path.exists():
            draws = _numbers(experts)
            with path.open("w", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(("layer", "token", "expert"))
                for layer in range(layers * STEPS):
                    for token in range(int(self.row["batch"])):
                        chosen = {next(draws)}
                        while len(chosen) < 2:
                            chosen.add(next(draws))
                        rows.writerows((layer, token, expert) for expert in chosen)
        return path


def _numbers(experts: int, seed: int = 777) -> Iterator[int]:
    """Experts as LLMSimulator draws them: the first ones come a little more often than the others."""
    twister = np.random.RandomState(seed)
    while True:
        yield int.from_bytes(twister.bytes(4), "little") * 257 // 2**32 % experts


def runs() -> list[Run]:
    """All rows of the table."""
    with TABLE.open(newline="") as file:
        return [Run(row) for row in csv.DictReader(file)]


def times(group: Group) -> dict[str, float]:
    """Seconds of each part, and of the whole."""
    columns = result_columns(group)
    parts = {name[5:]: float(values[0]) for name, values in columns.items() if name.startswith("time.")}
    return parts | {"all": float(columns["latency_s"][0])}


def evaluated(run: Run, folder: Path, resolver: Resolver | None = None) -> dict[str, float]:
    """Our times of a row."""
    return times(evaluate_one(run.request(run.record_routing(folder)), resolver))
