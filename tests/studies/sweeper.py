"""A tiny sweep for the store's tests: ``python sweeper.py FOLDER SIZE BATCH`` tells of every batch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pandas as pd

from dse.studies.store import Store, point_hash

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = {"sweep": "1f2e", "machine fusemax": "a0b1", "workload bert": "77aa"}
COMPONENTS = ("dram", "global_buffer", "array_2d")


def order(size: int) -> list[str]:
    return [point_hash({"i": i}) for i in range(size)]


def rows(indices: list[int], size: int) -> pd.DataFrame:
    """Rows like a real sweep's: infeasible points, text, columns that only some machines have."""
    points = order(size)
    records: list[dict[str, object]] = []
    for i in indices:
        ok = i % 7 != 3
        record: dict[str, object] = {
            "point": points[i],
            "status": "ok" if ok else "infeasible",
            "machine": f"m{i % 3}",
            "workload": "bert, base" if i % 5 else "trxl",
            "batch": i,
            "latency_s": (i + 1) / 3.0 if ok else float("nan"),
            "bound_by": "array_2d" if ok else None,
        }
        if i % 3 == 1:
            record["utilization.array_1d"] = 1.0 / (i + 1)
        records.append(record)
    return pd.DataFrame(records)


def components(indices: list[int], size: int) -> pd.DataFrame:
    points = order(size)
    records = [
        {"point": points[i], "component": name, "count": i * k, "energy_j": i / (k + 7.0)}
        for i in indices
        if i % 7 != 3
        for k, name in enumerate(COMPONENTS[: 1 + i % 3])
    ]
    return pd.DataFrame(records, columns=["point", "component", "count", "energy_j"])


def say(what: str) -> None:
    """Tell the test that may be waiting to kill this process."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def run(
    folder: str | Path, size: int, batch: int, *, backwards: bool = False, fresh: bool = False
) -> pd.DataFrame:
    """Sweep ``size`` points and finish; points already in the folder are not computed."""
    with Store.open(folder, CONTENT, fresh=fresh) as store:
        todo = [i for i, point in enumerate(order(size)) if point not in store.finished]
        if backwards:
            todo.reverse()
        for start in range(0, len(todo), batch):
            chosen = todo[start : start + batch]
            store.add(rows(chosen, size), components(chosen, size))
            say(f"batch at {start}")
        say("finishing")
        return store.finish(order(size), {"seed": 0, "command": "dse sweep"}, axes=["batch"])


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
