"""Design points per second of the FuseMax tile on one core: totals alone, and with the full ledger.

Nine columns vary independently from point to point: tiles, E, F, window, DRAM cycles of a K and of a V
tile, and joules of a multiply-add, of a vector operation and of a DRAM read. The rest of the tree (other
busy times, latencies, dependences) is the same at all points. Every step has an action with energy and
bytes. Times include building the Program from the columns, but not making the columns. The best of several
runs is reported.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.evaluate import evaluate
from dse.simulator.program import Action, Body, Edge, Hold, Loop, Program, Step, Unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from dse.simulator.arrays import Array, Values

EDGES = (
    *(Edge(*names) for names in (("LK", "QK"), ("LV", "SLNV"), ("QK", "LM"), ("LM", "RM"), ("RM", "SLN"))),
    *(Edge(*names) for names in (("SLN", "SLD"), ("SLN", "SLNV"), ("RM", "PRM"), ("PRM", "SPD"))),
    *(
        Edge(*names)
        for names in (("PRM", "SPNV"), ("SPD", "RD"), ("SLD", "RD"), ("SPNV", "RNV"), ("SLNV", "RNV"))
    ),
    *(Edge(*names, 1.0) for names in (("RM", "RM"), ("RM", "PRM"), ("RD", "SPD"), ("RNV", "SPNV"))),
)
UNITS = {name: Unit(name) for name in ("2D", "1D", "dram")}


def columns(points: int, seed: int = 0) -> dict[str, Array]:
    """Independent random columns; E and F are multiples of 8 up to 576."""
    rng = np.random.default_rng(seed)
    return {
        "count": rng.integers(16, 1 << 24, points).astype(float),
        "e": 8.0 * rng.integers(2, 73, points),
        "f": 8.0 * rng.integers(2, 73, points),
        "window": rng.integers(1, 17, points).astype(float),
        "k_cycles": rng.uniform(1, 400, points),
        "v_cycles": rng.uniform(1, 400, points),
        "mac_joules": rng.uniform(1e-12, 3e-11, points),
        "vector_joules": rng.uniform(1e-12, 3e-11, points),
        "dram_joules": rng.uniform(1e-12, 3e-11, points),
    }


def tile_program(c: dict[str, Array], buffered: bool) -> Program:
    """The tile with loads of K and V; ``buffered`` adds two buffers for each and a division in every 16th."""

    def step(name: str, unit: str, busy: Values, latency: Values = 0.0) -> Step:
        joules = c[{"2D": "mac_joules", "1D": "vector_joules", "dram": "dram_joules"}[unit]]
        return Step(name, unit, busy, latency, (Action(unit, name, name, "op", 65536.0, 131072.0, joules),))

    steps = [
        *(step("LK", "dram", c["k_cycles"], 100.0), step("LV", "dram", c["v_cycles"], 100.0)),
        *(
            step("QK", "2D", c["e"]),
            step("LM", "2D", 1.0, 256.0),
            step("RM", "1D", 1.0),
            step("SLN", "2D", 7.0),
        ),
        *(step("SLD", "2D", 1.0, 256.0), step("SLNV", "2D", c["f"], 256.0), step("PRM", "1D", 7.0)),
        *(
            step("SPD", "1D", 1.0),
            step("RD", "1D", 1.0),
            step("SPNV", "1D", c["f"]),
            step("RNV", "1D", c["f"]),
        ),
    ]
    edges, holds = EDGES, [Hold("registers", "QK", "SLNV", c["window"])]
    if buffered:
        steps.append(Step("AV", "1D", c["f"], 0.0, step("AV", "1D", c["f"]).actions, 16.0))
        edges = (*edges, Edge("RNV", "AV"))
        holds += [Hold("K", "LK", "QK", 2.0), Hold("V", "LV", "SLNV", 2.0)]
    return Program(Loop("tiles", c["count"], Body("tile", tuple(steps), edges), tuple(holds)), UNITS, 940e6)


def least_seconds(work: Callable[[], object], repeats: int) -> float:
    """Shortest of several runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def totals(c: dict[str, Array], buffered: bool) -> object:
    """Cycles, joules and bound of all points."""
    return evaluate(tile_program(c, buffered))


def ledger(c: dict[str, Array], buffered: bool) -> object:
    """The same, with every row of the ledger."""
    return evaluate(tile_program(c, buffered)).ledger


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    c = columns(options.points)
    fewer = {name: values[: max(1, options.points // 5)] for name, values in c.items()}
    for name, buffered in (("tile", False), ("tile with buffers and division", True)):
        rate = options.points / least_seconds(partial(totals, c, buffered), options.repeats) / 1e6
        print(f"{name}: cycles, joules and bound: {rate:.1f} million design points per second")
        rate = len(fewer["e"]) / least_seconds(partial(ledger, fewer, buffered), 5) / 1e6
        print(f"{name}: full ledger: {rate:.2f} million design points per second")
    found = evaluate(tile_program(c, False))
    shares = np.bincount(found.bound, minlength=len(found.bound_names)) / options.points
    print("bound by:", {n: round(float(s), 3) for n, s in zip(found.bound_names, shares, strict=True) if s})
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"one core; load average of the machine {os.getloadavg()[0]:.1f}; peak memory {memory} MiB")


if __name__ == "__main__":
    main()
