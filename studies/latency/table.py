"""Latency tables in memory: every cell as text, and for each row its machine, class, kernel and seconds.

Two forms are read: a table with a description beside it, and what ``dse measure`` writes, which describes itself
(docs/formats.md). Rows that did not run have no latency; they are kept apart, with their reason. Nothing is dropped.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import ConfigError, Problem, nearest
from dse.studies.latency.description import SECONDS, description, find_table, rules
from dse.studies.latency.rules import Rule, any_of, parse, seen, select

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from dse.studies.latency.description import TableFile

    Mask = NDArray[np.bool_]

MACHINE, CLASS, LATENCY, SPLIT, DEVICE = "machine", "class", "latency_s", "split", "device"
NEEDED = (CLASS, SPLIT, "kernel", "cache", "status", LATENCY, DEVICE)  # of what dse measure writes
OWN = "triton"  # how launches of this project's kernels are found
OK = "ok"


@dataclass(frozen=True)
class LatencyTable:
    """Rows of one file and what its description says of them.

    ``rows`` has all columns as text, besides ``latency_s`` (float), ``class`` (empty for rows of none) and ``machine``.
    ``kernels`` tells how the launches of a class follow from the columns, ``failed`` why rows have no latency.
    """

    name: str
    path: Path
    file: TableFile | None
    rows: pd.DataFrame
    kernels: Mapping[str, tuple[str, Mapping[str, str]]]
    failed: tuple[str, ...] = ()

    @property
    def measured_s(self) -> NDArray[np.float64]:
        """Latency of every row."""
        return np.asarray(self.rows[LATENCY], dtype=np.float64)

    def where(self, mask: Mask) -> LatencyTable:
        """The rows of a mask."""
        return replace(self, rows=self.rows[mask].reset_index(drop=True))

    def of_machine(self, machine: str) -> LatencyTable:
        """Rows of one machine; a measured table is of one device, and all its rows are taken.

        Raises
        ------
        ConfigError
            The table has none.
        """
        if self.file is None:
            return self
        mask = np.asarray(self.rows[MACHINE] == machine)
        if not mask.any():
            known = sorted({str(name) for name in self.rows[MACHINE]} - {""})
            raise ConfigError(f"{self.name}: no row of machine {machine}; it has rows of {', '.join(known)}")
        return self.where(mask)

    def strangers(self, machine: str) -> list[str]:
        """Devices of a measured table that are not called like the machine."""
        if self.file is not None:
            return []
        devices = dict.fromkeys(str(name) for name in self.rows[DEVICE])
        return [name for name in devices if machine.replace("_", " ") not in name.lower()]

    def filtered(self, texts: Sequence[str]) -> LatencyTable:
        """Rows that fulfil all rules.

        Raises
        ------
        ConfigError
            A rule is none, names an unknown column, or leaves no row.
        """
        found = _parsed(texts, "--filter")
        table = self
        for rule in found:
            mask = select(table.rows, [rule])
            if not mask.any():
                raise ConfigError(Problem(seen(table.rows, rule), path="--filter"))
            table = table.where(mask)
        return table

    def in_split(self, name: str) -> Mask:
        """Rows of a named split: by the description's rules, or by the column ``split``.

        Raises
        ------
        ConfigError
            There is no such split, or it has no row.
        """
        alternatives = self.split_rules(name)
        mask = any_of(self.rows, alternatives)
        if not mask.any():
            raise ConfigError(f"{self.name}: split {name} has no row here")
        return mask

    def split_rules(self, name: str) -> list[list[Rule]]:
        """The rules behind a split, as a calibration keeps them.

        Raises
        ------
        ConfigError
            There is no such split.
        """
        if self.file is not None:
            return self.file.split(name)
        known = sorted({str(value) for value in self.rows[SPLIT]})
        if name not in known:
            hint = nearest(name, known) or f"; there are {', '.join(known)}"
            raise ConfigError(f"{self.name}: no split '{name}'{hint}")
        return [[Rule(SPLIT, "=", (name,))]]


def load_table(source: str) -> LatencyTable:
    """The table of a path or shipped name, with its description.

    Raises
    ------
    ConfigError
        The table or its description is wrong; all problems found together.
    """
    path = find_table(source)
    frame = _read(path)
    file = description(path)
    return _measured(path, frame) if file is None else _described(path, frame, file)


def _read(path: Path) -> pd.DataFrame:
    """All cells as text; lines before the header that start with ``#`` say what the file is."""
    import pandas as pd

    try:
        with path.open(encoding="utf-8") as file:
            head = sum(1 for _ in itertools.takewhile(lambda line: line.startswith("#"), file))
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True, skiprows=head)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: this is no table of comma-separated values ({error})") from None
    if frame.empty:
        raise ConfigError(f"{path}: this table has no rows")
    return frame


def _described(path: Path, frame: pd.DataFrame, file: TableFile) -> LatencyTable:
    """Rows of a table with a description: machine, class and seconds from its rules."""
    wanted = [file.latency.column, *([file.machines.column] if file.machines.column else [])]
    _require(
        path, frame, [*wanted, *(rule.column for one in file.classes.values() for rule in rules(one.rows))]
    )
    seconds = _numbers(path, frame, file.latency.column) * SECONDS[file.latency.unit]
    classes = np.full(len(frame), "", dtype=object)
    for name, one in file.classes.items():
        classes[(classes == "") & select(frame, rules(one.rows))] = name
    names = {there: here for here, there in file.machines.names.items()}
    column = file.machines.column
    alone = next(iter(file.machines.names))
    machines = [alone] * len(frame) if column is None else [names.get(text, "") for text in frame[column]]
    rows = frame.copy()
    rows[MACHINE], rows[CLASS], rows[LATENCY] = machines, classes, seconds
    kernels = {name: (one.kernel, one.options) for name, one in file.classes.items()}
    table = LatencyTable(path.stem, path, file, rows, kernels)
    ran = np.asarray(seconds > 0.0)
    zero = int((~ran).sum())
    return replace(
        table.where(ran), failed=(f"{zero} rows whose {file.latency.column} is 0",) if zero else ()
    )


def _measured(path: Path, frame: pd.DataFrame) -> LatencyTable:
    """Rows that ``dse measure`` wrote; those that did not run or were wrong are kept apart."""
    _require(path, frame, NEEDED)
    ran = np.asarray((frame["status"] == OK) & (frame[LATENCY] != ""))
    reasons = np.where(frame["status"] == OK, "not timed", frame["status"])
    names = frame[CLASS] + " " + frame["kernel"]
    failed = tuple(f"{names[i]}: {reasons[i]}" for i in np.flatnonzero(~ran))
    if not ran.any():
        raise ConfigError(f"{path}: no row of this table was timed", *dict.fromkeys(failed[:5]))
    kept = frame[ran].reset_index(drop=True)
    seconds = _numbers(path, kept, LATENCY)
    if not (seconds > 0.0).all():
        raise ConfigError(f"{path}: {LATENCY} must be above 0 in rows with status {OK}")
    rows = kept.copy()
    rows[LATENCY], rows[MACHINE] = seconds, ""
    kernels = {str(name): (OWN, dict[str, str]()) for name in dict.fromkeys(rows[CLASS])}
    return LatencyTable(path.stem, path, None, rows, kernels, failed)


def numbers_of(rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """A column as numbers; 0 where it, or a cell of it, is not there."""
    import pandas as pd

    if column not in rows:
        return np.zeros(len(rows))
    values: NDArray[np.float64] = (
        pd.to_numeric(rows[column], errors="coerce").to_numpy(dtype=np.float64).copy()
    )
    values[~np.isfinite(values)] = 0.0
    return values


def _require(path: Path, frame: pd.DataFrame, wanted: Sequence[str]) -> None:
    """Every wanted column, or an error that names all missing ones."""
    names = [str(name) for name in frame.columns]
    missing = [name for name in dict.fromkeys(wanted) if name not in names]
    if missing:
        raise ConfigError(*(f"{path}: no column '{name}'{nearest(name, names)}" for name in missing))


def _numbers(path: Path, frame: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """A column as numbers, at least 0.

    Raises
    ------
    ConfigError
        Cells that are no such number, the first few.
    """
    import pandas as pd

    values = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0.0)))
    if len(wrong):
        found = (f"{path}:{i + 2}: {column}: '{frame[column][i]}' is no time" for i in wrong[:5])
        more = [f"and {len(wrong) - 5} more"] if len(wrong) > 5 else []
        raise ConfigError(*found, *more)
    return values


def _parsed(texts: Sequence[str], option: str) -> list[Rule]:
    """Rules of an option, all problems together."""
    problems, found = list[Problem](), list[Rule]()
    for text in texts:
        try:
            found.append(parse(text))
        except ConfigError as error:
            problems += [Problem(one.message, path=option) for one in error.problems]
    if problems:
        raise ConfigError(*problems)
    return found
