"""Measure a suite of kernels on the GPU of this machine: ``python -m dse.kernels.measure suite.json -o measured.csv``.

Needs torch, triton and numpy alone, with pynvml where clocks and power are to be logged. Each kernel is compared with
its naive reference, then its Triton launches are timed in blocks that are interleaved at random with those of other
kernels. Rows are written as they are finished; a second call goes on where the first stopped. With ``--interpret`` the
kernels are only compared, in Triton's interpreter. Not measured: what a kernel's function does around its launches.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import math
import platform
import random
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.errors import DseError, MissingDependencyError
from dse.kernels import launch
from dse.kernels.measuring.jobs import Job, Suite, read_suite
from dse.kernels.measuring.monitor import Monitor, summary
from dse.kernels.measuring.table import Table
from dse.kernels.reference import kernel_hash, largest_error
from dse.workloads.measurement import MICROBENCHMARK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dse.kernels.measuring.timer import Timed

DEVICE = "cuda"


@dataclass
class Row:
    """What is known of one row while its blocks are timed."""

    job: Job
    cache: str
    values: dict[str, str]
    timed: Timed | None
    latencies: list[float] = field(default_factory=list)
    samples: list[dict[str, float]] = field(default_factory=list)
    joules: list[float] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or with ``--interpret`` only compare, a suite."""
    parser = argparse.ArgumentParser(
        prog="python -m dse.kernels.measure", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "suite", type=Path, help="a resolved suite, JSON; dse measure SUITE --json writes one"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the table to write or go on with, CSV"
    )
    parser.add_argument("--interpret", action="store_true", help="compare only, in Triton's interpreter")
    parser.add_argument("--seconds", type=float, default=math.inf, help="start no more rows after this time")
    given = parser.parse_args(arguments)
    try:
        suite = read_suite(given.suite)
        return (
            compare(suite, given.output) if given.interpret else measure(suite, given.output, given.seconds)
        )
    except DseError as error:
        sys.stderr.writelines(f"error: {problem}\n" for problem in error.problems)
        return error.exit_code


def compare(suite: Suite, output: Path) -> int:
    """Run every job in the interpreter and compare it with its reference; 1 if one differs."""
    launch.start_interpreter()
    table = Table(output, suite)
    machine = _versions(suite, "interpreter", "", "")
    table.check_machine(machine)
    wrong = 0
    for number, job in enumerate(suite.jobs, start=1):
        if table.done(job, "hot"):
            continue
        _say(f"{number}/{len(suite.jobs)} {job.kind}: {job.kernel}")
        values = machine | table.identity(job, "hot") | _checked(job, suite, "cpu")[0]
        wrong += values["status"] != "ok"
        table.add(values | _stamp(job))
    return 1 if wrong else 0


def measure(suite: Suite, output: Path, seconds: float = math.inf) -> int:
    """Time every job on the GPU; 1 if one failed or differs from its reference.

    Raises
    ------
    MissingDependencyError
        There is no CUDA GPU.
    ConfigError
        The table holds rows of another machine or suite.
    """
    torch = _cuda()
    table, monitor, start = Table(output, suite), Monitor(), time.monotonic()
    cuda = str(torch.version.cuda or "")
    machine = _versions(suite, torch.cuda.get_device_name(), monitor.driver, cuda)
    table.check_machine(machine)
    todo = [job for job in suite.jobs if not all(table.done(job, cache) for cache in suite.caches)]
    shuffled = random.Random(suite.seed)
    for first in range(0, len(todo), suite.together):
        if time.monotonic() - start > seconds:
            _say(f"stopped after {seconds:g} s; {len(todo) - first} jobs are left for the next call")
            break
        batch = todo[first : first + suite.together]
        _say(f"{first + 1}-{first + len(batch)} of {len(todo)}: {', '.join(job.kernel for job in batch)}")
        rows = [row for job in batch for row in _prepared(job, suite, table, machine)]
        _time_rows([row for row in rows if row.timed is not None], suite, monitor, shuffled)
        for row in rows:
            table.add(row.values | _results(row) | _stamp(row.job))
        del rows
        torch.cuda.empty_cache()
    return 1 if any(row["status"] != "ok" for row in table.rows) else 0


def _prepared(job: Job, suite: Suite, table: Table, machine: dict[str, str]) -> list[Row]:
    """Rows of a job that are not in the table yet, compared with the reference and ready to be timed."""
    from dse.kernels.measuring import timer

    found, repeat = _checked(job, suite, DEVICE)
    timed = None
    if found["status"] == "ok" and repeat is not None:
        timed = timer.prepare(repeat, suite)
    caches = [cache for cache in suite.caches if not table.done(job, cache)]
    return [Row(job, cache, machine | table.identity(job, cache) | found, timed) for cache in caches]


def _checked(job: Job, suite: Suite, device: str) -> tuple[dict[str, str], Callable[[], None] | None]:
    """A job's status and error, and how to launch it again (on a GPU only)."""
    try:
        return _run_micro(job, device) if job.kind == MICROBENCHMARK else _run_kernel(job, suite, device)
    except Exception as error:  # noqa: BLE001 - whatever fails is a row of the table, the others go on
        return {"status": f"failed: {' '.join(str(error).split())[:200]}"}, None


def _run_micro(job: Job, device: str) -> tuple[dict[str, str], Callable[[], None] | None]:
    from dse.kernels.microbenchmarks import prepare

    work = prepare(job.kernel, job.parameters, device)
    repeat, found = _recorded(work.call, job, device)
    error = largest_error(work.output.cpu(), work.wanted)
    amounts = {name: f"{getattr(work, name):.17g}" for name in ("flops", "bytes", "exps")}
    return _verdict(error, work.tolerance) | amounts | found, repeat


def _run_kernel(job: Job, suite: Suite, device: str) -> tuple[dict[str, str], Callable[[], None] | None]:
    module = launch.kernel_module(job.kernel)
    inputs = {k: _on(v, device) for k, v in module.make_inputs(job.parameters, suite.seed).items()}
    outputs: list[Any] = []
    call = getattr(module, job.kernel)
    repeat, found = _recorded(lambda: outputs.extend(call(**inputs)), job, device)
    error = math.nan
    if job.compare:
        naive = getattr(launch.kernel_module(f"{job.kernel}_naive"), f"{job.kernel}_naive")
        error = max(largest_error(got, want) for got, want in zip(outputs, naive(**inputs), strict=True))
    elif not all(bool(tensor.isfinite().all()) for tensor in outputs[:1]):
        error = math.inf
    return _verdict(error, job.tolerance) | found, repeat


def _recorded(
    call: Callable[[], object], job: Job, device: str
) -> tuple[Callable[[], None] | None, dict[str, str]]:
    """Run a call; on a GPU record its launches."""
    if device == "cpu":
        from dse.kernels.interpreter import session

        with session():
            call()
        return None, {}
    from dse.kernels.measuring.recorder import recording

    with recording(job.warps, job.stages) as found:
        call()
    return found.repeat, {"launches": json.dumps(found.compiled, separators=(",", ":"))}


def _verdict(error: float, tolerance: float) -> dict[str, str]:
    known = not math.isnan(error)
    status = "ok" if not known or error <= tolerance else "incorrect"
    return {"status": status, "error": f"{error:.6g}" if known else "", "tolerance": f"{tolerance:g}"}


def _on(value: Any, device: str) -> Any:  # noqa: ANN401 - tensors, or plain values as they are
    return value.to(device) if hasattr(value, "to") else value


def _time_rows(rows: list[Row], suite: Suite, monitor: Monitor, order: random.Random) -> None:
    """Time the blocks of all rows, in an order drawn anew for each round."""
    from dse.kernels.measuring import timer

    buffer = timer.flush_buffer()
    with monitor:
        for _ in range(suite.blocks):
            for row in order.sample(rows, len(rows)):
                assert row.timed is not None
                monitor.take()
                if row.cache == "hot":
                    row.latencies.append(row.timed.hot_s())
                else:
                    row.latencies.append(row.timed.flushed_s(suite.flushed_repeats, buffer))
                row.samples += monitor.take()
        for row in rows:
            if row.cache == "hot" and statistics.median(row.latencies) >= suite.energy_from_s:
                row.joules += _energy(row, suite, monitor)


def _energy(row: Row, suite: Suite, monitor: Monitor) -> list[float]:
    """Joules of one repeat in a long block; empty where the GPU does not count them."""
    assert row.timed is not None
    latency, before = statistics.median(row.latencies), monitor.energy_j()
    repeats = max(row.timed.repeats, math.ceil(suite.energy_block_s / latency))
    row.timed.hot_s(repeats)
    after = monitor.energy_j()
    return [] if before is None or after is None else [(after - before) / repeats]


def _results(row: Row) -> dict[str, str]:
    """Columns of the times of a row; none where it was not timed."""
    if row.timed is None or not row.latencies:
        return {}
    times = row.latencies
    low, middle, high = (
        statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else [times[0]] * 3
    )
    halves = [statistics.median(times[start::2] or times) for start in (0, 1)]
    numbers = {"latency_s": middle, "latency_low_s": low, "latency_high_s": high}
    numbers |= {"half_a_s": halves[0], "half_b_s": halves[1]}
    return {
        **{name: f"{value:.9g}" for name, value in numbers.items()},
        "blocks": str(len(times)),
        "timer": row.timed.timer if row.cache == "hot" else "events",
        "energy_j": f"{row.joules[0]:.6g}" if row.joules else "",
        **summary(row.samples),
    }


def _versions(suite: Suite, device: str, driver: str, cuda: str) -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in ("torch", "triton", "numpy")}
    named = {"suite": suite.name, "device": device, "driver": driver, "cuda": cuda, "seed": str(suite.seed)}
    return named | found | {"python": platform.python_version()}


def _stamp(job: Job) -> dict[str, str]:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    name = "microbenchmarks" if job.kind == MICROBENCHMARK else job.kernel
    return {"date_utc": now, "code": kernel_hash(name)[:16]}


def _cuda() -> Any:  # noqa: ANN401 - torch's module
    launch.require_packages()
    import torch

    if not torch.cuda.is_available():
        raise MissingDependencyError(
            "measuring needs a CUDA GPU, and torch sees none; --interpret compares the kernels without one"
        )
    return torch


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
