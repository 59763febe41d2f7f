"""Peers beside dse on the reference matrix product: ``python benchmarks/peers/compare.py [--zigzag PYTHON]``.

A peer runs in an interpreter of its own, as its dependencies may differ; where it is not installed, that is said.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench_map import CASES, search_of  # noqa: E402 - found through the line above

ENGINES = (("loma", 6), ("salsa", 6))
RECORDED = (
    ("AccelForge 1.0.467", 5.570e-3, 4.194e-3, 2.1),
    ("ZigZag 3.9.1, loma 8", 6.744e-3, None, 3.9),
    ("ZigZag 3.9.1, salsa", 5.587e-3, None, 8.3),
)


def ours() -> None:
    """Energy of DRAM, buffer and products; register accesses are left out, as their conventions differ."""
    for case in CASES[:2]:
        search, seconds = search_of(case)
        best = search.best
        assert best is not None
        line(f"dse, {case.title}", best.ranking[2] - registers_j(case.tiles), best.ranking[1], seconds)


def registers_j(tiles: str) -> float:
    """A register read for each product, a write for each weight: fetched 4 or 3 times at the best tiles."""
    return (2**30 + (4 if tiles == "perfect" else 3) * 2**20) * 1.6e-12


def zigzag(python: str) -> None:
    """ZigZag's two engines, if that interpreter has it."""
    if subprocess.run([python, "-c", "import zigzag.api"], capture_output=True, check=False).returncode:
        print(f"ZigZag is not installed in {python}: pip install zigzag-dse six (Python 3.11)")
        return
    for engine, limit in ENGINES:
        command = [python, str(Path(__file__).with_name("zigzag_matmul.py")), engine, str(limit)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(ran.stdout.splitlines()[-1])
        line(
            f"ZigZag, {engine} {limit}",
            found["energy_j"] - found["memories_pj"]["W"][0] * 1e-12,
            found["latency_s"],
            found["seconds"],
        )


def line(title: str, joules: float, latency_s: float | None, seconds: float) -> None:
    """One row of the table."""
    latency = f"{latency_s * 1e3:8.3f} ms" if latency_s else " " * 11
    print(f"{title:32} {joules * 1e3:8.4f} mJ {latency} {seconds:8.2f} s")


def main() -> None:
    """Measure here what can be, then show what was measured elsewhere."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zigzag", default=sys.executable, metavar="PYTHON", help="interpreter with ZigZag")
    print("matmul 1024^3 on 16 x 16, DRAM + buffer + products; processor time")
    ours()
    zigzag(parser.parse_args().zigzag)
    print("AccelForge needs Python 3.12 or later; recorded on another day, 2 cores, wall-clock time:")
    for row in RECORDED:
        line(*row)


if __name__ == "__main__":
    main()
