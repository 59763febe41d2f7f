"""Large sweeps on two processes: 100,000 points with a fixed mapping and every ledger, and with a search of each.

Claims: under 20 s with a fixed mapping and the full ledger written; under 5 minutes with an exhaustive search of up to
1,000 mappings for each point. Each sweep is a fresh process that starts from an empty folder; claims are for an idle
machine of two cores. ``--points N`` takes fewer points.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SEQUENCES = ["1K", "2K", "4K", "8K", "16K", "32K", "64K", "128K", "256K", "1M"]
SIDES = [16, 32, 64, 96, 128, 160, 192, 224, 256, 320]
LANES = [16, 32, 64, 96, 128, 160, 192, 224, 256, 512]
CAPACITIES = [1, 2, 4, 6, 8, 12, 16, 20, 24, 32]
BANDWIDTHS = [50, 100, 150, 200, 250, 300, 350, 400, 600, 800]


def sweep_text(machine: str, mapper: str, points: int) -> str:
    """A sweep over length, both arrays, buffer and bandwidth; fewer points are fewer lengths and bandwidths."""
    share = min(1.0, points / 100_000)
    few = max(1, round(10 * share**0.5))
    axes = {
        "machine": [machine],
        "workload": ["bert"],
        "mapper": [mapper],
        "sequence": SEQUENCES[:few],
        "array_2d.shape": [f'"[{side}, {side}]"' for side in SIDES],
        "array_1d.lanes": LANES,
        "global_buffer.capacity": [f"{size} MiB" for size in CAPACITIES],
        "dram.bandwidth": [f"{rate} GiB/s" for rate in BANDWIDTHS[:few]],
    }
    lines = [f"  {name}: [{', '.join(str(value) for value in values)}]" for name, values in axes.items()]
    return "\n".join(["title: benchmark", "source: none", "sweep:", *lines, ""])


def seconds(text: str, *options: str) -> tuple[float, str]:
    """Wall time of a sweep on two processes, and its closing line."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "benchmark.yaml")
        file.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "dse", "sweep", str(file), "--out", f"{folder}/out", "--no-plots"]
        start = time.perf_counter()
        ran = subprocess.run(
            [*command, "--jobs", "2", "--format", "csv", *options],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        return time.perf_counter() - start, ran.stderr.splitlines()[-1]


def main() -> None:
    """Time both sweeps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    points = parser.parse_args().points
    for name, machine, mapper, options, claim in (
        ("fixed mapping, full ledger", "fusemax", "paper", ["--ledger"], "20 s"),
        (
            "exhaustive search of 64 options and all block sizes",
            "flat",
            "exhaustive",
            ["--no-ledger"],
            "5 minutes",
        ),
    ):
        wall, said = seconds(sweep_text(machine, mapper, points), *options)
        print(
            f"{name}: {wall:.1f} s (claim: under {claim} for 100,000 points); {said.partition(';')[0]}",
            flush=True,
        )


if __name__ == "__main__":
    main()
