"""Attention in memory: design points per second in closed form, commands per second one by one.

Heads, keys, depth and queries vary independently from point to point; the closed form gives time, energy,
traffic and commands of each. The command scheduler runs the published command stream of 130 heads of 2048
keys at the banks. The best of several runs is reported; with ``--check`` the exit code is 1 where a rate is
below the one promised.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from dse.arch.machine import load_machine
from dse.arch.pim import Pim
from dse.simulator.pim.attention import Attention, cost
from dse.simulator.pim.commands import simulate
from dse.simulator.pim.shape import Shape

if TYPE_CHECKING:
    from collections.abc import Callable

POINTS_PER_S, COMMANDS_PER_S, RUN_S = 500_000.0, 50_000.0, 0.5


def best(work: Callable[[], object], runs: int) -> float:
    """Seconds of the fastest of several runs."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def points(count: int, seed: int = 0) -> Attention:
    """Independent random attention layers."""
    draw = np.random.default_rng(seed)
    return Attention.of(
        draw.integers(1, 4096, count),
        draw.integers(1, 1 << 17, count),
        16 * draw.integers(4, 37, count),
        queries=draw.integers(1, 17, count),
    )


def main() -> int:
    """Print both rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="exit 1 below the promised rates")
    given = parser.parse_args()
    machine = load_machine("attacc_bank", {"stacks": "1"})
    assert isinstance(machine, Pim)
    work = points(given.points)
    seconds = best(lambda: cost(machine, work), given.runs)
    shape = Shape(Attention.of(130, 2048, 128), machine, np.ones(1))
    issued = simulate(shape, published=True).issued
    run = best(lambda: simulate(shape, published=True), given.runs)
    print(f"closed form: {given.points / seconds:,.0f} points/s")
    print(f"commands: {issued / run:,.0f} commands/s, {issued:,} in {run:.3f} s")
    slow = given.points / seconds < POINTS_PER_S or issued / run < COMMANDS_PER_S or run > RUN_S
    return int(given.check and slow)


if __name__ == "__main__":
    sys.exit(main())
