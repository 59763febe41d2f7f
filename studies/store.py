"""The folder of a sweep: a journal of finished batches, and final files that do not depend on its history.

While a sweep runs, every finished batch is one checksummed file in ``journal/``, put there by a rename, so
that a process killed at any moment loses only what it had not finished. ``finish`` merges them in the order
of the design points; an interrupted and resumed sweep ends with the same bytes as an undisturbed one. Not
covered: a file system that loses synced data, and hosts sharing a folder over a network without locks.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import dse
from dse.errors import ConfigError
from dse.studies import frames, journal
from dse.studies.columns import COMPONENT_COLUMNS, POINT, ordered
from dse.studies.lock import Lock

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import pandas as pd
    import pyarrow as pa

SCHEMA_VERSION = 2
JOURNAL, META, RESULTS, COMPONENTS, CSV = (
    "journal",
    "meta.json",
    "results.parquet",
    "components.parquet",
    "results.csv",
)


class Results(NamedTuple):
    """A finished sweep as read back from its folder."""

    rows: pd.DataFrame
    components: pd.DataFrame | None
    meta: dict[str, object]


def point_hash(parts: Mapping[str, object]) -> str:
    """16 hex digits naming a design point; key order and ``64`` against ``64.0`` make no difference.

    ``parts`` holds text, numbers, booleans, None, and mappings or sequences of them.
    """
    text = json.dumps(_canonical(parts), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return frames.digest(text.encode())


def _canonical(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _canonical(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_canonical(inner) for inner in value]
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    return value.item() if hasattr(value, "item") else value


class Store:
    """Results of one sweep in one folder; use ``Store.open``, as a context manager.

    Nothing is written before the first ``add``: a sweep refused for its input leaves no folder behind.
    """

    def __init__(self, folder: Path, content: Mapping[str, str], *, fresh: bool) -> None:
        self.folder = folder
        self.content = dict(sorted(content.items()))
        self.fresh = fresh
        self._lock: Lock | None = None
        self._started = False
        self._tables: list[pa.Table] = []
        self._components: list[pa.Table] = []
        self._finished: set[str] = set()

    @classmethod
    def open(cls, folder: str | Path, content: Mapping[str, str], *, fresh: bool = False) -> Self:
        """Open a folder for the sweep identified by ``content`` (what it is made of: name to hash).

        Raises
        ------
        ConfigError
            The folder is in use, or holds a sweep of other content, damaged results or other files.
        """
        store = cls(Path(folder), content, fresh=fresh)
        if store.folder.exists():
            store._check()
            store._take()
            try:
                store._load()
            except BaseException:
                store.close()
                raise
        return store

    @property
    def finished(self) -> frozenset[str]:
        """Hashes of the points whose results are safe on disk."""
        return frozenset(self._finished)

    def rows(self) -> pd.DataFrame:
        """Rows of all finished points, in the order they were finished; empty when there are none."""
        import pandas as pd

        if not self._tables:
            return pd.DataFrame()
        table = frames.join(self._tables)
        frame: pd.DataFrame = table.select(ordered(table.column_names)).to_pandas()
        return frame

    def add(self, rows: pd.DataFrame | pa.Table, components: pd.DataFrame | pa.Table | None = None) -> None:
        """Record a finished batch; on return it survives a kill. Points already recorded are left out.

        ``rows`` has a ``point`` column of hashes and plain values; ``components`` any number of rows for
        each point.
        """
        import pyarrow as pa

        self._begin()
        table = rows if isinstance(rows, pa.Table) else frames.to_arrow(rows)
        details = None
        if components is not None:
            whole = components if isinstance(components, pa.Table) else frames.to_arrow(components)
            details = frames.encoded(whole)
        points = table[POINT].to_pylist()
        new = [point for point in points if point not in self._finished]
        if not new:
            return
        if len(new) < len(points):
            table = table.filter(pa.array(frames.positions(table, new) >= 0))
            if details is not None:
                details = details.filter(pa.array(frames.positions(details, new) >= 0))
        journal.write(self.folder / JOURNAL, table, details)
        self._keep(table, details)

    def finish(
        self, order: Sequence[str], meta: Mapping[str, object], axes: Sequence[str] = ()
    ) -> pd.DataFrame:
        """Write the final files with the points in the given order, drop the journal, and return all rows.

        ``meta`` (command line, seed, hashes ...) is stored as given: leave out times and process numbers
        if the files are to be the same on every run. ``axes`` sets the order of the sweep's own columns.
        """
        assert set(order) == self._finished, "every point of the sweep, and no other, must have been added"
        self._begin()
        table = frames.arranged(frames.join(self._tables), order)
        table = table.select(ordered(table.column_names, axes))
        files = {RESULTS: frames.parquet_bytes(table), CSV: frames.csv_bytes(table)}
        if self._components:
            components = frames.join(self._components)
            files[COMPONENTS] = frames.ledger_bytes(components.select(_component_order(components)), order)
        for name, data in files.items():
            frames.write_atomic(self.folder / name, data)
        self._write_meta(meta, table, {name: frames.digest(data) for name, data in files.items()})
        shutil.rmtree(self.folder / JOURNAL, ignore_errors=True)
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def close(self) -> None:
        """Let other processes use the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write_meta(self, meta: Mapping[str, object], table: pa.Table, files: Mapping[str, str]) -> None:
        own: dict[str, object] = {
            "schema_version": SCHEMA_VERSION,
            "version": dse.__version__,
            "content": self.content,
            "content_hash": point_hash(self.content),
            "points": table.num_rows,
            "columns": {field.name: str(field.type) for field in table.schema},
            "files": dict(files),
        }
        assert not own.keys() & meta.keys(), "meta repeats keys the store writes itself"
        text = json.dumps({**own, **meta}, indent=2, allow_nan=False)
        frames.write_atomic(self.folder / META, f"{text}\n".encode())

    def _take(self) -> None:
        try:
            self._lock = Lock(self.folder / ".lock")
        except OSError as error:
            raise ConfigError(f"{self.folder}: cannot be written ({error.strerror})") from error

    def _check(self) -> None:
        """Refuse a folder that is not a sweep's, or is another sweep's."""
        if not self.folder.is_dir():
            raise ConfigError(f"{self.folder}: is a file; choose another --out folder")
        names = {path.name for path in self.folder.iterdir()}
        if names - {".lock"} and not names & {META, JOURNAL}:
            raise ConfigError(f"{self.folder}: holds files that no sweep wrote; choose another --out folder")
        if not self.fresh:
            _compare(self.folder, _record(self.folder), self.content)

    def _load(self) -> None:
        """Read what is finished, from the final files if there are any, else from the journal."""
        self._check()  # again, now that nobody else can change it
        if self.fresh:
            return
        if (self.folder / META).exists():
            self._keep(*_read_final(self.folder))
        elif _record(self.folder):
            for path in journal.parts(self.folder / JOURNAL):
                self._keep(*journal.read(path))

    def _keep(self, rows: pa.Table, components: pa.Table | None) -> None:
        self._tables.append(rows)
        self._finished.update(rows[POINT].to_pylist())
        if components is not None:
            self._components.append(frames.encoded(components))

    def _begin(self) -> None:
        """Before the first write: make the folder, take the lock, discard what ``fresh`` replaces."""
        if self._started:
            return
        try:
            (self.folder / JOURNAL).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{self.folder}: cannot be created ({error.strerror})") from error
        if self._lock is None:
            self._take()
            self._load()  # another run may have come first
        if self.fresh or not _record(
            self.folder
        ):  # without a record, parts are left of an unfinished removal
            _discard(self.folder)
        for left in [*self.folder.glob(".*.tmp"), *(self.folder / JOURNAL).glob(".*.tmp")]:
            left.unlink()
        record = {"schema_version": SCHEMA_VERSION, "content": self.content}
        frames.write_atomic(self.folder / JOURNAL / META, json.dumps(record, sort_keys=True).encode())
        self._started = True


def read(folder: str | Path) -> Results:
    """Read a finished sweep.

    Raises
    ------
    ConfigError
        There is no finished sweep in the folder, or its files are damaged.
    """
    place = Path(folder)
    if not (place / META).exists():
        if (place / JOURNAL).is_dir():
            raise ConfigError(
                f"{place}: this sweep was interrupted; run it again with the same --out to finish it"
            )
        raise ConfigError(f"{place}: no results of a sweep here ({META} is missing)")
    rows, components = _read_final(place)
    return Results(rows.to_pandas(), None if components is None else components.to_pandas(), _record(place))


def _record(folder: Path) -> dict[str, object]:
    """What the folder says about itself, finished or not; empty for a folder without a sweep."""
    for path in (folder / META, folder / JOURNAL / META):
        if path.exists():
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
            except (ValueError, OSError) as error:
                raise ConfigError(f"{path}: damaged ({error}); run with --fresh to start over") from error
            if not isinstance(record, dict) or not isinstance(record.get("content"), dict):
                raise ConfigError(f"{path}: not written by dse; choose another --out folder")
            return record
    return {}


def _compare(folder: Path, record: Mapping[str, object], content: Mapping[str, str]) -> None:
    """Refuse to mix results of different inputs, saying which input differs."""
    if not record:
        return
    written = record.get("schema_version")
    changes = [] if written == SCHEMA_VERSION else [f"result format {written}, not {SCHEMA_VERSION}"]
    before = record["content"]
    assert isinstance(before, dict)
    for name in sorted({*before, *content}):
        if name not in content:
            changes.append(f"{name} is gone")
        elif name not in before:
            changes.append(f"{name} is new")
        elif before[name] != content[name]:
            changes.append(f"{name} changed ({before[name]} to {content[name]})")
    if changes:
        remedy = "run with --fresh to discard them, or choose another --out folder"
        raise ConfigError(f"{folder}: holds results of other inputs: {', '.join(changes)}; {remedy}")


def _discard(folder: Path) -> None:
    """Remove what a sweep wrote; the record of its content goes first, lest a kill leave a false one."""
    for name in (META, f"{JOURNAL}/{META}", RESULTS, CSV, COMPONENTS):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "figures", ignore_errors=True)
    for path in (folder / JOURNAL).iterdir():
        path.unlink()


def _read_final(folder: Path) -> tuple[pa.Table, pa.Table | None]:
    files = _record(folder).get("files")
    if not isinstance(files, dict) or RESULTS not in files:
        raise ConfigError(f"{folder / META}: lists no {RESULTS}; run the sweep with --fresh")
    tables = [_checked(folder / name, str(files[name])) for name in (RESULTS, COMPONENTS) if name in files]
    return tables[0], tables[1] if len(tables) > 1 else None


def _checked(path: Path, checksum: str) -> pa.Table:
    try:
        return frames.from_parquet(path, checksum)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: damaged ({error}); run the sweep with --fresh") from error


def _component_order(table: pa.Table) -> list[str]:
    known = [name for name in (POINT, *COMPONENT_COLUMNS) if name in table.column_names]
    return [*known, *sorted({*table.column_names} - {*known})]
