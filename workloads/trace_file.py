"""Trace files: one parquet, one row per launch, program class and event, the rest as JSON in its metadata.

Two kinds of rows lead each class: ``programs`` (places in the grid) and ``anchors`` (one per tensor), both
with their numbers flattened in ``values``. Files are written whole or not at all, and hold no time stamp:
the same trace gives the same bytes with the same pyarrow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse import spec as files
from dse.errors import ConfigError, Place, Problem, TraceError
from dse.workloads.resources import read_resources
from dse.workloads.trace import KINDS, LEVELS, Event, Launch, ProgramClass, Sampling, Trace, TracedTensor
from dse.workloads.values import read_values, values_path, values_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from dse.workloads.trace import Coordinates, Value

ROOM = "workloads/traces"
SCHEMA_VERSION = 1
METADATA_KEY = b"dse_trace"
LEADING_KINDS = ("programs", "anchors")
_TEXTS = ("kind", "operator", "tensor", "dtype", "result")
_NUMBERS = ("line", "trip", "axis", "count", "elements", "active")
_LISTS = ("shape", "origin", "values")
# Fields that a file holds only where a trace has them.
_OPTIONAL = ("resources", "configurations")
_FIELDS = [field.name for field in dataclasses.fields(Event)]


def write_trace(trace: Trace, path: str | Path) -> None:
    """Write a trace atomically: each file appears complete, or not at all; values go into their own.

    Raises
    ------
    TraceError
        If the folder cannot be written.
    """
    path = Path(path)
    if trace.level == "values":
        write_table(values_table(trace.values, content_hash(trace)), values_path(path))
    write_table(_table(trace), path)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table atomically, without a time stamp.

    Raises
    ------
    TraceError
        If the folder cannot be written.
    """
    import pyarrow.parquet as pq

    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(descriptor)
    except OSError as error:
        raise TraceError(Problem(f"cannot write the trace: {error.strerror}", Place(str(path)))) from None
    try:
        pq.write_table(table, name, compression="zstd", version="2.6", write_statistics=False)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        raise TraceError(Problem(f"cannot write the trace: {error.strerror}", Place(str(path)))) from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()


def read_trace(path: str | Path) -> Trace:
    """Read and check a trace file.

    Raises
    ------
    TraceError
        If the file is missing, damaged, of another schema version, or not a trace; names the file and the
        fault.
    """
    place = Place(str(path))
    table, metadata = _open(Path(path), place)
    version = metadata.get("schema_version")
    if version != SCHEMA_VERSION:
        raise TraceError(
            Problem(f"trace schema {version}, this dse reads {SCHEMA_VERSION}: trace the kernel again", place)
        )
    expected = _schema()
    if not table.schema.remove_metadata().equals(expected):
        raise TraceError(Problem(f"columns differ from those of trace schema {SCHEMA_VERSION}", place))
    try:
        trace = _trace(table.to_pylist(), metadata)
        problems = list(_problems(trace))
        if not problems and metadata["hash"] != content_hash(trace):
            problems = ["its content does not fit its hash"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        detail = f"{type(error).__name__}: {error}"
        raise TraceError(Problem(f"damaged trace ({detail})", place)) from None
    if problems:
        raise TraceError(*(Problem(f"damaged trace: {text}", place) for text in problems))
    if trace.level == "values":
        values = read_values(values_path(path), metadata["hash"])
        trace = dataclasses.replace(trace, values=values)
    return trace


def content_hash(trace: Trace) -> str:
    """SHA-256 of everything a trace says, whatever file it stands in."""
    return _digest(list(_rows(trace)), _metadata(trace))


def load_trace(source: str | Path) -> Trace:
    """The trace of a file: a path, or the name of a shipped one (``flash_forward_causal``).

    Files of values are read with their trace, not by themselves.

    Raises
    ------
    TraceError
        As ``read_trace``; names the nearest shipped trace.
    """
    try:
        path = source if isinstance(source, Path) else files.find(source, ROOM, ".parquet")
    except ConfigError as error:
        raise TraceError(*error.problems) from None
    return read_trace(path)


def _open(path: Path, place: Place) -> tuple[pa.Table, dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise TraceError(Problem("no such trace file", place))
    try:
        # Unlike read_table, this does not load pandas.
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        detail = str(error).splitlines()[0]
        raise TraceError(Problem(f"not a readable parquet file ({detail})", place)) from None
    raw = (table.schema.metadata or {}).get(METADATA_KEY)
    if raw is None:
        raise TraceError(Problem("a parquet file, but not a trace of dse", place))
    try:
        metadata = json.loads(raw)
    except ValueError:
        raise TraceError(Problem("damaged trace: its metadata is not JSON", place)) from None
    if not isinstance(metadata, dict):
        raise TraceError(Problem("damaged trace: its metadata is not an object", place))
    return table, metadata


def _schema() -> pa.Schema:
    import pyarrow as pa

    texts = [(name, pa.string()) for name in _TEXTS]
    numbers = [(name, pa.int64()) for name in _NUMBERS]
    lists = [(name, pa.list_(pa.int64())) for name in _LISTS]
    return pa.schema([("launch", pa.int64()), ("program_class", pa.int64()), *texts, *numbers, *lists])


def _table(trace: Trace) -> pa.Table:
    import pyarrow as pa

    rows, metadata = list(_rows(trace)), _metadata(trace)
    table = pa.Table.from_pylist(rows, schema=_schema())
    metadata = metadata | {"hash": _digest(rows, metadata)}
    return table.replace_schema_metadata({METADATA_KEY: json.dumps(metadata, sort_keys=True)})


def _digest(rows: Sequence[Mapping[str, Any]], metadata: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()


def _rows(trace: Trace) -> Iterator[dict[str, Any]]:
    empty = dataclasses.asdict(Event(""))
    for index, launch in enumerate(trace.launches):
        for number, members in enumerate(launch.classes):
            key = {"launch": index, "program_class": number}
            places = list(itertools.chain.from_iterable(members.programs))
            yield empty | key | {"kind": "programs", "count": members.multiplicity, "values": places}
            for tensor, anchors in members.anchors.items():
                corners = list(itertools.chain.from_iterable(anchors))
                yield empty | key | {"kind": "anchors", "tensor": tensor, "values": corners}
            for event in members.events:
                yield {name: getattr(event, name) for name in _FIELDS} | key | {"values": ()}


def _metadata(trace: Trace) -> dict[str, Any]:
    plain = {
        field.name: getattr(trace, field.name)
        for field in dataclasses.fields(trace)
        if field.name not in ("launches", "values", *_OPTIONAL)
    }
    plain = {key: dict(value) if hasattr(value, "items") else value for key, value in plain.items()}
    launches = [
        {
            "kernel": launch.kernel,
            "grid": launch.grid,
            "arguments": dict(launch.arguments),
            "tensors": {name: dataclasses.asdict(tensor) for name, tensor in launch.tensors.items()},
            **({"sampling": dataclasses.asdict(launch.sampling)} if launch.sampling else {}),
        }
        for launch in trace.launches
    ]
    optional = {
        "resources": [dataclasses.asdict(item) for item in trace.resources],
        "configurations": dict(trace.configurations),
    }
    plain |= {name: value for name, value in optional.items() if value}
    return {"schema_version": SCHEMA_VERSION, **plain, "launches": launches}


def _trace(rows: Sequence[Mapping[str, Any]], metadata: Mapping[str, Any]) -> Trace:
    grouped: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        grouped.setdefault((row["launch"], row["program_class"]), []).append(row)
    launches = tuple(
        Launch(
            kernel=str(plain["kernel"]),
            grid=_integers(plain["grid"]),
            arguments={name: _value(value) for name, value in plain["arguments"].items()},
            tensors={name: _tensor(tensor) for name, tensor in plain["tensors"].items()},
            classes=tuple(_class(grouped[key]) for key in sorted(grouped) if key[0] == index),
            sampling=_sampling(plain["sampling"]) if "sampling" in plain else None,
        )
        for index, plain in enumerate(metadata["launches"])
    )
    return Trace(
        kernel=str(metadata["kernel"]),
        kernel_hash=str(metadata["kernel_hash"]),
        parameters={name: _value(value) for name, value in metadata["parameters"].items()},
        seed=int(metadata["seed"]),
        level=str(metadata["level"]),
        sampled=bool(metadata["sampled"]),
        versions={name: str(value) for name, value in metadata["versions"].items()},
        max_error=None if metadata["max_error"] is None else float(metadata["max_error"]),
        launches=launches,
        resources=tuple(read_resources(plain) for plain in metadata.get("resources", ())),
        configurations={name: str(text) for name, text in metadata.get("configurations", {}).items()},
    )


def _class(rows: Sequence[Mapping[str, Any]]) -> ProgramClass:
    leading = [row for row in rows if row["kind"] == "programs"]
    if len(leading) != 1:
        raise ValueError(f"a program class has {len(leading)} rows of kind programs")
    places = _split(leading[0]["values"], 3)
    anchors = {
        row["tensor"]: _split(row["values"], len(row["values"]) // max(1, len(places)))
        for row in rows
        if row["kind"] == "anchors"
    }
    events = tuple(_event(row) for row in rows if row["kind"] not in LEADING_KINDS)
    return ProgramClass(places, int(leading[0]["count"]), anchors, events)


def _event(row: Mapping[str, Any]) -> Event:
    lists = {name: tuple(row[name]) for name in ("shape", "origin")}
    return Event(**{name: row[name] for name in _FIELDS} | lists)


def _tensor(plain: Mapping[str, Any]) -> TracedTensor:
    return TracedTensor(
        dtype=str(plain["dtype"]),
        item_bytes=int(plain["item_bytes"]),
        shape=_integers(plain["shape"]),
        strides=_integers(plain["strides"]),
        unique_read_bytes=int(plain["unique_read_bytes"]),
        unique_written_bytes=int(plain["unique_written_bytes"]),
        values=_integers(plain["values"]),
    )


def _sampling(plain: Mapping[str, Any]) -> Sampling:
    return Sampling(
        fitted=int(plain["fitted"]),
        held_out=int(plain["held_out"]),
        trips=int(plain["trips"]),
        pieces=tuple(tuple(_integers(piece) for piece in axis) for axis in plain["pieces"]),
    )


def _split(flat: Sequence[int], size: int) -> tuple[Coordinates, ...]:
    if size and len(flat) % size:
        raise ValueError(f"{len(flat)} numbers do not split into groups of {size}")
    return tuple(tuple(flat[at : at + size]) for at in range(0, len(flat), size)) if size else ()


def _integers(values: Sequence[int]) -> Coordinates:
    return tuple(int(value) for value in values)


def _value(value: Any) -> Value:  # noqa: ANN401
    if isinstance(value, list):
        return tuple(_value(item) for item in value)
    if value is None or isinstance(value, (int, float, bool, str)):
        return value
    raise TypeError(f"{value!r} is not an argument")


def _problems(trace: Trace) -> Iterator[str]:
    """What contradicts itself in a trace that could be read."""
    if trace.level not in LEVELS:
        yield f"level '{trace.level}' is none of {', '.join(LEVELS)}"
    if trace.sampled != any(launch.sampling for launch in trace.launches):
        yield "its launches do not agree on whether it is sampled"
    for launch in trace.launches:
        programs = sum(members.multiplicity for members in launch.classes)
        if programs != math.prod(launch.grid):
            yield f"{launch.kernel} has grid {launch.grid}, but its classes hold {programs} programs"
        for number, members in enumerate(launch.classes):
            label = f"{launch.kernel}, class {number}"
            if not trace.sampled and members.multiplicity != len(members.programs):
                yield f"{label}: {len(members.programs)} programs listed for {members.multiplicity}"
            for name in sorted({event.kind for event in members.events} - set(KINDS)):
                yield f"{label}: unknown event kind '{name}'"
            for name in sorted({e.tensor for e in members.events if e.tensor} - set(launch.tensors)):
                yield f"{label}: unknown tensor '{name}'"
            if any(event.active > event.elements or event.count < 1 for event in members.events):
                yield f"{label}: an event with more active than executed elements, or with no count"
