"""Whole commands as a user waits for them: ``dse --help`` and a cold ``dse sweep arch/fusemax.yaml`` with all figures.

Claims: help in under 0.5 s, the sweep in under 10 s. Each command runs in a fresh process; the sweep starts from an
empty results folder. Medians are printed; the claims are for an idle machine.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNS = 3


def seconds(command: list[str]) -> float:
    """Wall time of one run."""
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Time both commands."""
    dse = [sys.executable, "-m", "dse"]
    helped = [seconds([*dse, "--help"]) for _ in range(RUNS)]
    print(f"dse --help: median {statistics.median(helped):.2f} s of {RUNS} (claim: under 0.5 s)")
    swept = []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as folder:
            swept.append(seconds([*dse, "sweep", "arch/fusemax.yaml", "--out", f"{folder}/out"]))
    print(
        f"dse sweep arch/fusemax.yaml: median {statistics.median(swept):.2f} s of {RUNS} (claim: under 10 s)"
    )


if __name__ == "__main__":
    main()
