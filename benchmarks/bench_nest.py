"""Full candidate evaluations of loop nests per second on one core: joules, cycles, room, every constraint.

Candidates of one structure with random tile sizes, counted in blocks that fit the processor's cache. A full evaluation
is ``Plan.costs`` and its ``feasible`` mask. The best of several runs is reported.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import numpy as np

from dse.arch.machine import load_machine
from dse.arch.spatial_array import SpatialArray
from dse.simulator.loop_nest.lower import plan_of
from dse.simulator.mapping import load_mapping
from dse.workloads.load import load_workload

if TYPE_CHECKING:
    from dse.simulator.loop_nest.plan import Plan

BLOCK = 8192
CASES = {
    "matmul on A16": ("reference_a16", "matmul_stationary", "matmul", dict.fromkeys("mnk", 1024)),
    "fused attention on A128": (
        "reference_a128",
        "attention_stationary",
        "attention_elementwise",
        {"h": 16, "m": 4096, "p": 4096, "e": 64, "f": 64},
    ),
    "FuseMax's cascade": ("fusemax", "fusemax_nest", "bert", {"sequence": 65536, "batch": 64}),
}


def plan_for(case: str) -> Plan:
    """The structure of one case."""
    machine_name, mapping, workload, sizes = CASES[case]
    machine = load_machine(machine_name)
    assert isinstance(machine, SpatialArray)
    return plan_of(load_workload(workload, sizes), machine, load_mapping(mapping))[0]


def rate(plan: Plan, candidates: int, repeats: int) -> float:
    """Candidates per second."""
    rng = np.random.default_rng(1)
    most = [int(plan.problem.sizes[key.loop.rank][0]) for key in plan.nest.loops]
    tiles = np.stack([rng.integers(1, size + 1, candidates).astype(float) for size in most])
    window = np.full((len(plan.groups), BLOCK), 2.0)
    best = float("inf")
    for _ in range(repeats):
        start, feasible = time.perf_counter(), 0
        for first in range(0, candidates, BLOCK):
            block = tiles[:, first : first + BLOCK]
            found = plan.costs(block, window[:, : block.shape[1]])
            feasible += int(found.feasible.sum())
        best = min(best, time.perf_counter() - start)
    return candidates / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=1 << 19)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    for case in CASES:
        found = rate(plan_for(case), asked.candidates, asked.repeats)
        print(f"{case}: {found / 1e6:.2f} million candidates/s")


if __name__ == "__main__":
    main()
