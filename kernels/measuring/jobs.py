"""What is to be measured: a suite resolved to plain values, read from JSON without any other package."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from dse.errors import WorkloadError
from dse.workloads.measurement import CACHES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dse.workloads.trace import Value


@dataclass(frozen=True)
class Job:
    """One kernel at one shape; ``compare`` says that its naive reference is small enough to run beside it."""

    kind: str
    split: str
    kernel: str
    parameters: Mapping[str, Value]
    warps: int = 0
    stages: int = 0
    compare: bool = True
    tolerance: float = 0.0

    @property
    def key(self) -> str:
        """Text that tells jobs apart in a table."""
        shape = ",".join(f"{name}={plain(value)}" for name, value in sorted(self.parameters.items()))
        return f"{self.kind}|{self.kernel}|{self.warps}|{self.stages}|{shape}"


@dataclass(frozen=True)
class Suite:
    """Jobs and how to time them.

    A block of repeats takes about ``block_s``; rows are timed in ``blocks`` blocks each, those of up to ``together``
    rows interleaved at random. ``energy_from_s`` is the latency from which energy is measured too.
    """

    name: str
    jobs: tuple[Job, ...]
    seed: int = 0
    blocks: int = 6
    block_s: float = 0.05
    flushed_repeats: int = 10
    together: int = 8
    energy_from_s: float = 1e-3
    energy_block_s: float = 0.5
    caches: tuple[str, ...] = CACHES


def plain(value: Value) -> str:
    """A parameter's value as text, as in a column of the table."""
    if isinstance(value, list | tuple):
        return "+".join(map(str, value)) or "full"
    return str(value).lower() if isinstance(value, bool) else str(value)


def write_suite(suite: Suite, path: Path) -> None:
    """Write a suite for a machine that has no more than torch, triton and numpy."""
    path.write_text(json.dumps(asdict(suite), indent=1) + "\n", encoding="utf-8")


def read_suite(path: Path) -> Suite:
    """A suite that ``write_suite`` wrote.

    Raises
    ------
    WorkloadError
        The file cannot be read, or is no suite.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        jobs = tuple(Job(**{**job, "parameters": _tuples(job["parameters"])}) for job in values.pop("jobs"))
        return Suite(jobs=jobs, caches=tuple(values.pop("caches", CACHES)), **values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise WorkloadError(
            f"{path} is no resolved suite (dse measure SUITE --json writes one): {error}"
        ) from None


def _tuples(parameters: Mapping[str, Value]) -> dict[str, Value]:
    """JSON has no tuples: lengths come back as lists."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in parameters.items()}
