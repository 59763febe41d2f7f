"""Columns of a table of measured launches: what ``dse measure`` writes and ``dse compare`` reads.

One row is one kernel at one shape, under one state of the cache. Besides the columns named here a table has one for
each parameter of the kernels in it, under the parameter's own name, empty where a kernel does not have it.
"""

from __future__ import annotations

SCHEMA = 1
CACHES = ("hot", "flushed")
MICROBENCHMARK = "microbenchmark"

IDENTITY = {
    "suite": "name of the suite",
    "class": "class of kernels, or microbenchmark",
    "split": "calibration, new_shapes, new_classes or other_day, as the suite says before anything is measured",
    "kernel": "kernel, by its shipped name",
    "cache": "hot: repeats follow each other; flushed: the L2 cache is overwritten before each",
    "warps": "warps of each thread block, as asked for; 0 for the kernel's own",
    "stages": "stages of the software pipeline, as asked for; 0 for the compiler's own",
}
RESULTS = {
    "status": "ok, incorrect, or failed and why",
    "latency_s": "median over blocks of repeats of the time of one repeat, Triton launches alone",
    "latency_low_s": "lower quartile over blocks",
    "latency_high_s": "upper quartile over blocks",
    "half_a_s": "median over the even blocks",
    "half_b_s": "median over the odd blocks",
    "blocks": "blocks of repeats, interleaved with those of other rows",
    "repeats": "repeats in each block",
    "timer": "graph: replayed CUDA graph; events: launches between events",
    "error": "largest absolute difference to the naive reference; empty if too large to compare",
    "tolerance": "largest difference allowed",
    "flops": "floating-point operations of matrix products, microbenchmarks only",
    "bytes": "bytes moved, microbenchmarks only",
    "exps": "exponentials, microbenchmarks only",
    "launches": "kernels launched: name, grid, registers, spilled registers, shared bytes, warps, stages; JSON",
    "sm_clock_hz": "median SM clock while the row was timed; empty if it could not be read",
    "memory_clock_hz": "median memory clock",
    "power_w": "median power of the board",
    "energy_j": "energy of one repeat by the board's counter; empty if it was not measured",
    "temperature_c": "median temperature of the GPU",
    "throttle": "reasons for which the clock was held down, joined by +",
}
MACHINE = {
    "device": "name of the GPU",
    "driver": "version of its driver",
    "cuda": "version of CUDA that torch was built with",
    "torch": "version",
    "triton": "version",
    "numpy": "version",
    "python": "version",
    "seed": "of inputs and of the order of blocks",
    "date_utc": "when the row was finished",
    "code": "hash of the kernel's source",
}
COLUMNS = IDENTITY | RESULTS | MACHINE
