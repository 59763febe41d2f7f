"""Trace files: what is written is read back, and what is damaged is refused with the file's name."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import TraceError
from dse.spec import shipped
from dse.workloads.trace import KINDS, Event, Launch, ProgramClass, Trace, TracedTensor
from dse.workloads.trace_file import METADATA_KEY, SCHEMA_VERSION, load_trace, read_trace, write_trace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CAUSAL = load_trace("flash_forward_causal")
WHOLE = shipped("workloads/traces", ".parquet")["flash_forward_causal"].read_bytes()
numbers = st.integers(0, 1 << 40)
places = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))


@st.composite
def events(draw: st.DrawFn) -> Event:
    elements = draw(numbers)
    shape = tuple(draw(st.lists(numbers, max_size=3)))
    return Event(
        kind=draw(st.sampled_from(KINDS)),
        operator=draw(st.text(max_size=4)),
        tensor=draw(st.sampled_from(["", "x"])),
        dtype=draw(st.text(max_size=4)),
        result=draw(st.text(max_size=4)),
        line=draw(numbers),
        trip=draw(st.integers(-1, 9)),
        axis=draw(st.integers(-1, 3)),
        count=draw(st.integers(1, 9)),
        elements=elements,
        active=draw(st.integers(0, elements)),
        shape=shape,
        origin=tuple(-at for at in shape),
    )


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    launches = []
    for _ in range(draw(st.integers(0, 2))):
        members = []
        for _ in range(draw(st.integers(1, 3))):
            programs = tuple(draw(st.lists(places, min_size=1, max_size=3)))
            anchors = {"x": tuple(place[:2] for place in programs)} if draw(st.booleans()) else {}
            listed = tuple(draw(st.lists(events(), max_size=3)))
            members.append(ProgramClass(programs, len(programs), anchors, listed))
        grid = (sum(item.multiplicity for item in members), 1, 1)
        tensor = TracedTensor("int32", 4, (3, 2), (2, 1), draw(numbers), draw(numbers), (1, -5))
        arguments = {"flag": True, "size": draw(numbers), "scale": 0.5, "none": None, "nested": (1, (2, "a"))}
        launches.append(Launch(draw(st.text()), grid, arguments, {"x": tensor}, tuple(members)))
    return dataclasses.replace(
        CAUSAL,
        launches=tuple(launches),
        max_error=draw(st.none() | st.floats(0, 1)),
        parameters={"text": draw(st.text()), "lengths": (1, 2), "flag": False},
    )


@given(traces())
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, trace: Trace) -> None:
    path = tmp_path_factory.mktemp("trace") / "trace.parquet"
    write_trace(trace, path)
    assert read_trace(path) == trace


def test_types_survive(tmp_path: Path) -> None:
    """Equality would not tell True from 1."""
    write_trace(CAUSAL, tmp_path / "trace.parquet")
    again = read_trace(tmp_path / "trace.parquet")
    assert again.parameters["causal"] is True
    assert again.launches[0].arguments["CAUSAL"] is True
    assert again.launches[0].arguments["GROUP"] == 1
    assert again.launches[0].arguments["GROUP"] is not True


def test_the_same_trace_gives_the_same_bytes_and_files_are_small(tmp_path: Path) -> None:
    paths = tmp_path / "one.parquet", tmp_path / "two.parquet"
    for path in paths:
        write_trace(CAUSAL, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert all(path.stat().st_size < 20_000 for path in shipped("workloads/traces", ".parquet").values())


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trace.parquet"
    path.write_text("old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(TraceError, match="cannot write the trace: No space left on device"):
        write_trace(CAUSAL, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"absent/trace\.parquet: cannot write the trace: No such file"):
        write_trace(CAUSAL, tmp_path / "absent" / "trace.parquet")


def test_shipped_traces_are_found_by_name() -> None:
    assert load_trace("flash_forward") != CAUSAL
    with pytest.raises(TraceError, match=r"'flash_foward'.*did you mean 'flash_forward'"):
        load_trace("flash_foward")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"gone\.parquet: no such trace file"):
        read_trace(tmp_path / "gone.parquet")


def test_a_cut_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.parquet"
    write_trace(CAUSAL, path)
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"text", whole[4:]):
        path.write_bytes(damaged)
        with pytest.raises(TraceError, match=r"trace\.parquet: not a readable parquet file"):
            read_trace(path)
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(TraceError, match="not a trace of dse"):
        read_trace(path)


def rewritten(path: Path, change: Callable[[pa.Table, dict[str, Any]], tuple[pa.Table, Any]]) -> Path:
    """The causal trace with its table and metadata changed."""
    write_trace(CAUSAL, path)
    table = pq.read_table(path)
    metadata = json.loads(table.schema.metadata[METADATA_KEY])
    table, metadata = change(table, metadata)
    raw = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: raw}), path)
    return path


def without(metadata: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if name != key}


def replaced(table: pa.Table, name: str, change: Callable[[Any], Any]) -> pa.Table:
    place = table.schema.get_field_index(name)
    column = pa.array(
        [change(value) for value in table.column(name).to_pylist()], table.schema.field(name).type
    )
    return table.set_column(place, table.schema.field(name), column)


def truncated_first(values: list[int]) -> list[int]:
    return values[:-1] if len(values) == 12 else values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, m: (t, m | {"schema_version": 99}), f"schema 99, this dse reads {SCHEMA_VERSION}"),
        (lambda t, m: (t, without(m, "schema_version")), "schema None, this dse reads"),
        (lambda t, m: (t, b"{"), "metadata is not JSON"),
        (lambda t, m: (t, []), "metadata is not an object"),
        (lambda t, m: (t.drop_columns(["count"]), m), "columns differ from those of trace schema"),
        (lambda t, m: (t, without(m, "seed")), r"damaged trace \(KeyError: 'seed'\)"),
        (lambda t, m: (t, m | {"launches": 3}), "damaged trace"),
        (lambda t, m: (t, m | {"level": "deep"}), "level 'deep' is none of counts, events"),
        (lambda t, m: (t.slice(0, t.num_rows - 1), m), "its content does not fit its hash"),
        (lambda t, m: (t, m | {"seed": 7}), "its content does not fit its hash"),
        (lambda t, m: (replaced(t, "line", lambda n: n + 1), m), "its content does not fit its hash"),
        (lambda t, m: (t, without(m, "hash")), "damaged trace"),
        (lambda t, m: (t.slice(0, 20), m), "its classes hold 4 programs"),
        (lambda t, m: (t.slice(1), m), "0 rows of kind programs"),
        (lambda t, m: (replaced(t, "count", lambda n: n + 1), m), "programs listed for"),
        (lambda t, m: (replaced(t, "values", truncated_first), m), "damaged trace"),
        (lambda t, m: (replaced(t, "active", lambda n: n + 10**9), m), "more active than executed"),
        (lambda t, m: (replaced(t, "kind", lambda k: k.replace("dot", "dots")), m), "event kind 'dots'"),
        (lambda t, m: (replaced(t, "tensor", lambda name: name.replace("k", "w")), m), "unknown tensor 'w'"),
        (lambda t, m: (replaced(t, "shape", lambda _: None), m), "damaged trace"),
    ],
)
def test_damage_is_named(
    tmp_path: Path, change: Callable[[pa.Table, dict[str, Any]], tuple[pa.Table, Any]], message: str
) -> None:
    path = rewritten(tmp_path / "trace.parquet", change)
    with pytest.raises(TraceError, match=message) as caught:
        read_trace(path)
    assert str(path) in str(caught.value)


@settings(max_examples=80)
@given(st.data())
def test_flipped_bits_are_never_read_as_another_trace(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.parquet"
    damaged = bytearray(WHOLE)
    for place in data.draw(st.lists(st.integers(0, len(WHOLE) - 1), min_size=1, max_size=4, unique=True)):
        damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(damaged)
    with contextlib.suppress(TraceError):
        assert read_trace(path) == CAUSAL
