"""Top-k engines: closed forms per second, rows per second of streams and of the event simulations.

Run: PYTHONPATH=src python benchmarks/bench_topk.py
"""

from __future__ import annotations

import time

import numpy as np

from dse.arch.machine import load_machine
from dse.simulator.evaluate import evaluate
from dse.simulator.lowering import lower
from dse.simulator.mapping import load_mapping
from dse.simulator.simulate import simulate
from dse.simulator.topk import Request, TopK, expected_cycles, random_rounds, select, serve
from dse.workloads.load import load_workload

CONFIGURATIONS = 2_000_000
ROWS = 4608


def timed(name: str, count: int, start: float) -> None:
    seconds = time.perf_counter() - start
    print(f"{name:32} {count:9,} in {seconds:6.3f} s, {count / seconds:12,.0f} a second")


def main() -> None:
    draw, engine = np.random.default_rng(0), TopK(capacity=4096)
    n = draw.integers(2, 4096, CONFIGURATIONS).astype(np.float64)
    k = np.ceil(0.2 * n)
    start = time.perf_counter()
    expected_cycles(engine, n, k)
    timed("closed form", CONFIGURATIONS, start)

    few_n, few_k = n[:ROWS].astype(np.int64), k[:ROWS].astype(np.int64)
    start = time.perf_counter()
    random_rounds(engine, few_n, few_k)
    timed("random ranks", ROWS, start)

    streams = [draw.integers(0, 256, int(size)) for size in few_n]
    start = time.perf_counter()
    for stream, keep in zip(streams, few_k, strict=True):
        select(engine, stream, int(keep), draw)
    timed("8-bit streams", ROWS, start)

    requests = [Request(stream, int(keep)) for stream, keep in zip(streams, few_k, strict=True)]
    start = time.perf_counter()
    serve(engine, requests)
    timed("simulation, an event a round", ROWS, start)
    start = time.perf_counter()
    serve(engine, requests[:100], detail=True)
    timed("simulation, an event a row", 100, start)


def generation() -> None:
    """The event simulation of 32 generated tokens of GPT-2 small, a round of top-k an event."""
    machine = load_machine("spatten")
    parameters = {"phase": "decode", "scope": "attention_stack", "sequence": 993, "steps": 32}
    workload = load_workload("gpt2_small", parameters | {"pruning": "gpt2_small_wikitext2"})
    mapping = load_mapping(machine.mapping, {"topk": "random_integer"})
    for accounting in ("paper", "physical"):
        start = time.perf_counter()
        program = lower(workload, machine, mapping, accounting).program
        timed(f"head rows lowered, {accounting}", ROWS, start)
        start = time.perf_counter()
        evaluate(program)
        timed(f"head rows evaluated, {accounting}", ROWS, start)
        start = time.perf_counter()
        simulate(program)
        timed(f"head rows simulated, {accounting}", ROWS, start)


if __name__ == "__main__":
    main()
    generation()
