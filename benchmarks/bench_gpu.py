"""Speed of the GPU law: one shape, 100,000 shapes of one kernel, a traced kernel, a whole Program.

``python benchmarks/bench_gpu.py`` prints times beside their limits and fails above them: 5 ms for one shape once it is
traced, 5 s for 100,000 shapes.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from dse.arch.gpu import Gpu
from dse.arch.machine import load_machine
from dse.simulator.evaluate import evaluate
from dse.simulator.gpu import lower
from dse.simulator.gpu.law import predict
from dse.simulator.mapping import load_mapping
from dse.spec import shipped
from dse.workloads.launch_shapes import attention, decode, splits_to_fill
from dse.workloads.load import load_workload
from dse.workloads.traced import load_traced

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPES = 100_000
ONE_S, MANY_S = 5e-3, 5.0


def best(work: Callable[[], object], times: int) -> float:
    """Least seconds of several runs."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def cases(machine: Gpu) -> list[tuple[str, Callable[[], object], int, float]]:
    """What is timed: name, work, runs, limit in seconds."""
    rng = np.random.default_rng(0)
    batch, heads = (rng.integers(1, 65, SHAPES).astype(float) for _ in range(2))
    length = rng.integers(1, 65_536, SHAPES).astype(float)
    splits = splits_to_fill(batch * heads, np.ceil(length / 128.0), machine.sms)
    traced = load_traced(shipped("workloads/traces", ".parquet")["flash_forward_causal"])
    mapping = load_mapping(machine.mapping)
    model = load_workload("llama3_70b", {"sequence": 4096, "scope": "layer"})

    def prefill(b: object, h: object, n: object) -> object:
        shape = {"batch": b, "heads": h, "kv_heads": h, "queries": n, "keys": n, "depth": 128}
        return predict([attention(**shape)], machine).seconds  # type: ignore[arg-type]

    def split(b: object, h: object, n: object, parts: object) -> object:
        shape = {"batch": b, "heads": h, "kv_heads": h, "keys": n, "depth": 128, "splits": parts}
        return predict(decode(**shape), machine).seconds  # type: ignore[arg-type]

    return [
        ("one shape, prefill", lambda: prefill(2, 32, 4096), 20, ONE_S),
        ("one shape, decode", lambda: split(2, 32, 4096, 4), 20, ONE_S),
        ("one traced launch", lambda: predict(traced.launches, machine).seconds, 20, ONE_S),
        (f"{SHAPES:,} shapes, prefill", lambda: prefill(batch, heads, length), 3, MANY_S),
        (f"{SHAPES:,} shapes, decode", lambda: split(batch, heads, length, splits), 3, MANY_S),
        (
            "a model's layer as a Program",
            lambda: evaluate(lower(model, machine, mapping, "physical").program),
            5,
            1.0,
        ),
    ]


def main() -> int:
    """Print every case; 1 if one is above its limit."""
    machine = load_machine("h200")
    assert isinstance(machine, Gpu)
    slow = False
    for name, work, times, limit in cases(machine):
        seconds = best(work, times)
        slow |= seconds > limit
        print(f"{name:32} {seconds * 1e3:10.3f} ms   limit {limit * 1e3:8.1f} ms")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
