"""Systems: a whole generation step by step, closed-form points a second, a stream of requests.

Claims: a generation of 2,048 tokens in under 2 s; design points of a decode step on eight GPUs with PIM above 100,000 a
second. Medians are printed; the claims are for an idle machine.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from dse.arch.machine import load_machine
from dse.simulator.mapping import load_mapping
from dse.simulator.system.generation import Steps, generate
from dse.simulator.system.serving import Scenario, serve

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS = 5
POINTS = 200_000


def median_s(work: Callable[[], object]) -> float:
    """Median wall time of several runs."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def steps(machine: str, model: str, accounting: str) -> Steps:
    """A model on a machine under its own policy."""
    loaded = load_machine(machine)
    return Steps(loaded, load_mapping(loaded.mapping), accounting, model, {})


def main() -> None:
    """Time all three."""
    for accounting in ("physical", "paper"):
        asked = steps("dgx_attacc", "gpt3_175b", accounting)
        seconds = median_s(lambda: generate(asked, 16, 2048, 2048))  # noqa: B023
        print(f"2048 tokens, GPT-3 175B, dgx_attacc, {accounting}: {seconds:.3f} s (claim: under 2 s)")
    asked = steps("dgx_attacc", "llama3_70b", "physical")
    lengths = np.linspace(1.0, 8192.0, POINTS).round()
    seconds = median_s(lambda: asked.decode(1, lengths))
    print(f"decode steps: {POINTS / seconds:,.0f} points a second (claim: above 100,000)")
    asked = steps("duplex_coprocessing", "mixtral_8x7b", "physical")
    busy = Scenario(20.0, 1000, (128, 1024), (16, 256))
    start = time.perf_counter()
    serve(asked, busy)
    seconds = time.perf_counter() - start
    print(f"1,000 requests served: {seconds:.2f} s")


if __name__ == "__main__":
    main()
