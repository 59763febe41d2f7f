"""The table of measured launches: a CSV file that says what it is, grows row by row, and can be taken up again."""

from __future__ import annotations

import csv
import io
import os
from typing import TYPE_CHECKING

from dse.errors import ConfigError
from dse.kernels.measuring.jobs import plain
from dse.workloads.measurement import COLUMNS, IDENTITY, MACHINE, RESULTS, SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dse.kernels.measuring.jobs import Job, Suite

# What must be the same for rows to stand in one table.
SAME = ("device", "driver", "torch", "triton", "suite", "seed")


class Table:
    """Rows of one suite; those already in the file are kept and not measured again."""

    def __init__(self, path: Path, suite: Suite) -> None:
        self.path = path
        parameters = dict.fromkeys(name for job in suite.jobs for name in job.parameters)
        own = [name for name in parameters if name not in COLUMNS]
        self.columns = [*IDENTITY, *own, *(name for name in (*RESULTS, *MACHINE))]
        self.rows = self._read() if path.exists() else []

    def done(self, job: Job, cache: str) -> bool:
        """Whether a row of a job under a state of the cache is there."""
        wanted = self.identity(job, cache)
        return any(all(row.get(k, "") == v for k, v in wanted.items()) for row in self.rows)

    def identity(self, job: Job, cache: str) -> dict[str, str]:
        """Columns that tell the rows of a table apart."""
        own = {name: plain(v) for name, v in job.parameters.items() if name in self.columns}
        named = {"class": job.kind, "split": job.split, "kernel": job.kernel, "cache": cache}
        return named | {"warps": str(job.warps), "stages": str(job.stages)} | own

    def check_machine(self, machine: Mapping[str, str]) -> None:
        """Refuse to add rows of another machine, suite or set of versions.

        Raises
        ------
        ConfigError
            Naming what differs.
        """
        for row in self.rows:
            other = [
                f"{name} {row[name]!r}, now {machine[name]!r}" for name in SAME if row[name] != machine[name]
            ]
            if other:
                raise ConfigError(f"{self.path} holds rows of {'; '.join(other)}; write to another file")

    def add(self, row: Mapping[str, str]) -> None:
        """Append a row and make sure that it is on disk."""
        text = io.StringIO()
        if not self.path.exists():
            text.write(
                f"# Measured launches, schema {SCHEMA}; units are in the columns' names, times are SI\n"
            )
            csv.writer(text, lineterminator="\n").writerow(self.columns)
        csv.writer(text, lineterminator="\n").writerow([row.get(name, "") for name in self.columns])
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())
        self.rows.append(dict(row))

    def _read(self) -> list[dict[str, str]]:
        """Rows of the file; a last line that was cut off in writing is dropped."""
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        lines = [line for line in whole.splitlines(keepends=True) if not line.startswith("#")]
        rows = list(csv.DictReader(lines))
        if not lines or next(csv.reader(lines[:1])) != self.columns:
            raise ConfigError(f"{self.path} is not a table of this suite; write to another file")
        if whole != text:
            self.path.write_text(whole, encoding="utf-8")
        return rows
