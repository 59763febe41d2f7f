"""Time and results of mapping searches on the reference problem; run with ``python benchmarks/bench_map.py``.

Seconds are of processor time on one core, for a search in a process that has loaded everything.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from dse.arch.machine import load_machine
from dse.mappers.choose import explorer
from dse.mappers.search.build import space_of
from dse.mappers.search.each import run
from dse.mappers.search.objective import objective
from dse.mappers.search.search import Search
from dse.mappers.space import load_space
from dse.workloads.load import load_workload

SQUARE = {"m": "1K", "n": "1K", "k": "1K"}
HEADS = {"h": "16", "m": "4K", "p": "4K", "e": "64", "f": "64"}


@dataclass(frozen=True)
class Case:
    """One search, with the seconds, joules and latency it should not exceed."""

    title: str
    machine: str
    workload: str
    sizes: dict[str, str]
    space: str
    objective: str
    seconds: float
    joules: float
    latency_s: float
    tiles: str = "all"


CASES = (
    Case(
        "matmul, perfect tiles", "reference_a16", "matmul", SQUARE, "reference_matmul", "energy",
        0.5, 7.29474e-3, 4.1944e-3, "perfect",
    ),
    Case("matmul", "reference_a16", "matmul", SQUARE, "reference_matmul", "energy", 0.5, 7.0100e-3, 4.1944e-3),
    Case("matmul", "reference_a128", "matmul", SQUARE, "reference_matmul", "energy", 0.5, 3.6155e-3, 65.54e-6),
    Case(
        "attention, times summed", "reference_a128", "attention_elementwise", HEADS,
        "reference_attention_summed", "energy", 5.0, 0.115455, 6.2915e-3,
    ),
    Case(
        "attention, overlap", "reference_a128", "attention_elementwise", HEADS,
        "reference_attention", "pareto", 5.0, 0.1156, 4.22e-3,
    ),
    Case(
        "attention, any operand stationary", "reference_a128", "attention_elementwise", HEADS,
        "reference_attention_free", "pareto", 30.0, 0.1181, 3.35e-3,
    ),
)  # fmt: skip


def search_of(case: Case) -> tuple[Search, float]:
    """A finished search, and the processor seconds it took."""
    file = load_space(case.space)
    assert file.nests is not None
    file = file.model_copy(update={"nests": file.nests.model_copy(update={"tiles": case.tiles})})
    work, machine = load_workload(case.workload, case.sizes), load_machine(case.machine)
    started = time.process_time()
    search = Search(space_of(work, machine, "physical", file), objective(case.objective))
    run(explorer("exhaustive"), search)
    return search, time.process_time() - started


def main() -> None:
    """Print one line for each case, with what it should not exceed."""
    print(
        f"{'problem':34} {'machine':15} {'seconds':>14} {'joules':>21} {'latency, s':>23} {'partial':>9} space"
    )
    for case in CASES:
        search, seconds = search_of(case)
        kept = search.front or ([search.best] if search.best else [])
        points = [(candidate.ranking[1], candidate.ranking[2]) for candidate in kept]
        fast = [p for p in points if p[0] <= case.latency_s] or points
        latency, joules = min(fast, key=lambda point: point[1])
        ok = seconds <= case.seconds and joules <= case.joules and latency <= case.latency_s
        print(
            f"{case.title:34} {case.machine:15} {seconds:6.2f} <= {case.seconds:4.1f}"
            f" {joules:9.7f} <= {case.joules:8.6f}"
            f" {latency:10.4e} <= {case.latency_s:8.4e} {search.evaluated:9,} {search.space.size:.3g}"
            f" {'ok' if ok else 'NOT MET'}"
        )


if __name__ == "__main__":
    main()
