"""Cost of tracing: flash attention in the stock interpreter, with the speed-ups, and traced at each level.

Prints processor seconds (the best of several interleaved runs) and ratios. Tracing should cost at most 1.3
times the run with the same speed-ups and tracing off, and never more than the stock interpreter.

    PYTHONPATH=src python benchmarks/bench_trace.py [--sequence 1024] [--heads 2] [--repeats 5]
"""

import argparse
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from dse.kernels.launch import start_interpreter

start_interpreter()

from dse.kernels.flash_forward import flash_forward, make_inputs  # noqa: E402
from dse.kernels.interpreter import session  # noqa: E402
from dse.kernels.tracer import Tracer  # noqa: E402
from dse.workloads.annotation import load_annotation  # noqa: E402

WAYS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "stock interpreter": nullcontext,
    "speed-ups, tracing off": session,
    "traced, counts": lambda: session(Tracer("counts")),
    "traced, events": lambda: session(Tracer("events")),
}
BASE = "speed-ups, tracing off"


def seconds(way: str, inputs: dict[str, object]) -> float:
    start = time.process_time()
    with WAYS[way]():
        flash_forward(**inputs)  # type: ignore[arg-type]
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("sequence", 1024), ("heads", 2), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    given = {"sequence": options.sequence, "heads": options.heads, "causal": True}
    inputs = make_inputs(load_annotation("flash_forward").resolve(given), 0)
    best = dict.fromkeys(WAYS, float("inf"))
    for _ in range(options.repeats):
        for way in WAYS:
            best[way] = min(best[way], seconds(way, inputs))
    for way, found in best.items():
        print(f"{way:24} {found:7.3f} s   {found / best[BASE]:5.2f} x tracing off")


if __name__ == "__main__":
    main()
