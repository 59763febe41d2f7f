"""How large a sweep is and how long it will take, from a few of its points evaluated now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.studies import frames
from dse.studies.columns import POINT
from dse.studies.sweep import BATCH_POINTS, batch_tables

if TYPE_CHECKING:
    from dse.studies.sweep import Batch, Plan

SAMPLES = (64, 512)
LEDGER_ROW_BYTES = 64  # in memory, while a sweep is finished: four numbers and five codes
START_S = 1.5  # a process to import what it needs


def estimate(plan: Plan, with_ledger: bool, jobs: int) -> dict[str, Any]:
    """Points, batches, ledger rows and seconds of a sweep; seconds hold for this machine as loaded now.

    A batch takes a fixed time and a time for each point, which a small and a larger sample tell apart.
    """
    size = len(plan.points)
    samples = [_timed(plan, min(count, size), with_ledger) for count in SAMPLES]
    (few, fast, _), (many, slow, batch) = samples
    each = max(slow - fast, 0.0) / (many - few) if many > few else slow / many
    fixed = max(fast - few * each, 0.0)
    batches = -(-size // BATCH_POINTS)
    workers = min(jobs, batches)
    rows = 0 if batch.components is None else round(batch.components.num_rows / many * size)
    written = _writing_s(batch) / many * size
    seconds = (batches * fixed + size * each) / workers + written + (START_S if workers > 1 else 0.0)
    return {
        "points": size,
        "batches": batches,
        "ledger_rows": rows,
        "ledger_bytes": rows * LEDGER_ROW_BYTES,
        "estimated_s": seconds,
    }


def _writing_s(batch: Batch) -> float:
    """Time of recording a batch and writing the final files, which one process does."""
    started = time.perf_counter()
    keys = batch.rows[POINT].to_pylist()
    frames.ipc_bytes(batch.rows)
    frames.parquet_bytes(batch.rows)
    frames.csv_bytes(batch.rows)
    if batch.components is not None:
        frames.ipc_bytes(batch.components)
        frames.ledger_bytes(batch.components, keys)
    return time.perf_counter() - started


def _timed(plan: Plan, count: int, with_ledger: bool) -> tuple[int, float, Batch]:
    """Time of a batch of points spread evenly over the sweep."""
    numbers = np.unique(np.linspace(0, len(plan.points) - 1, count).astype(np.int64))
    keys = [plan.points.keys[number] for number in numbers]
    started = time.perf_counter()
    batch = batch_tables(plan, numbers, keys, with_ledger)
    return len(numbers), time.perf_counter() - started, batch
