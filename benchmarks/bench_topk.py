"""Top-k engines: closed forms per second, rows per second of streams and of the event simulation.

Run: PYTHONPATH=src python benchmarks/bench_topk.py
"""

from __future__ import annotations

import time

import numpy as np

from dse.simulator.topk import Request, TopK, expected_cycles, random_rounds, select, serve

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


if __name__ == "__main__":
    main()
