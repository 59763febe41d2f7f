"""``dse measure``: time a suite of kernels on this machine's GPU, or say what would be timed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from dse.errors import ConfigError, Problem
from dse.studies.measure_suite import load_suite
from dse.studies.tables import emit

if TYPE_CHECKING:
    from dse.kernels.measuring.jobs import Suite

# A kernel is compiled, compared and warmed up before its blocks: seconds, from compiling kernels of this size.
PREPARATION_S = 2.0


def measure(
    suite: str,
    output: Path | None,
    dry_run: bool,
    resolved: Path | None,
    interpret: bool,
    seconds: float | None,
    format: str,  # noqa: A002
) -> int:
    """Measure a suite; with ``dry_run`` list its rows, with ``resolved`` write it for a machine without dse.

    Returns
    -------
    int
        Exit code: 1 if a kernel failed or differs from its reference, 4 without a GPU.

    Raises
    ------
    ConfigError
        No such suite, an error in it, or no file to write to.
    MissingDependencyError
        torch or triton is not installed.
    """
    from dse.kernels.measuring.jobs import write_suite

    found = load_suite(suite)
    if dry_run:
        emit(_listed(found), format)
        sys.stderr.write(f"{_amount(found)}\n")
        return 0
    if resolved is not None:
        write_suite(found, resolved)
        sys.stderr.write(
            f"{resolved}: {_amount(found)}; run it where the GPU is with "
            f"PYTHONPATH=src python -m dse.kernels.measure {resolved} -o measured.csv\n"
        )
        return 0
    if output is None:
        raise ConfigError(Problem("is missing: the table to write, such as -o measured.csv", path="-o"))
    code = _run(found, output, interpret, seconds)
    if code == 1:
        sys.stderr.write(f"some kernels failed or differ from their references: column status of {output}\n")
    return code


def _listed(suite: Suite) -> list[dict[str, object]]:
    """One row for each job."""
    return [
        {
            "class": job.kind,
            "split": job.split,
            "kernel": job.kernel,
            "warps": job.warps or None,
            "stages": job.stages or None,
            "compared": job.compare,
            "parameters": " ".join(f"{name}={value}" for name, value in job.parameters.items()),
        }
        for job in suite.jobs
    ]


def _amount(suite: Suite) -> str:
    splits = Counter(job.split for job in suite.jobs)
    timed = suite.blocks * suite.block_s * len(suite.caches)
    seconds = len(suite.jobs) * (PREPARATION_S + timed)
    parts = ", ".join(f"{count} {name}" for name, count in splits.items())
    return f"{suite.name}: {len(suite.jobs)} jobs ({parts}), about {seconds / 60:.0f} min on a GPU"


def _run(suite: Suite, output: Path, interpret: bool, seconds: float | None) -> int:
    """Measure in a process of its own: whether kernels are compiled or interpreted is decided when it starts."""
    from dse.kernels.launch import FLAG, require_packages
    from dse.kernels.measuring.jobs import write_suite

    require_packages()
    environment = {name: value for name, value in os.environ.items() if name != FLAG}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    with tempfile.TemporaryDirectory(prefix="dse-measure-") as folder:
        path = Path(folder, f"{suite.name}.json")
        write_suite(suite, path)
        options = ["--interpret"] if interpret else []
        options += [] if seconds is None else ["--seconds", str(seconds)]
        command = [sys.executable, "-m", "dse.kernels.measure", str(path), "-o", str(output), *options]
        return subprocess.run(command, env=environment, check=False).returncode
