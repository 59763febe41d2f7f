"""Result tables as bytes: data frames to Arrow tables, to parquet and CSV, the same bytes for the same rows.

Column types depend on the values alone, not on how rows were divided into batches. Nested values are not
supported.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from dse.errors import ConfigError
from dse.studies.columns import POINT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    import pyarrow as pa

LEDGER_ROWS = 1 << 18


def digest(data: bytes) -> str:
    """First 16 hex digits of the SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()[:16]


def write_atomic(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` so that a reader, or a restart after a crash, sees all of it or nothing.

    Raises
    ------
    ConfigError
        The place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror or error})") from error


def _sync(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power loss, where the system allows opening folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def to_arrow(frame: pd.DataFrame) -> pa.Table:
    """The frame with 64-bit numbers, plain text, NaN as null, and columns without any value typed null."""
    import pyarrow as pa

    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    for i, column in enumerate(table.columns):
        name = table.column_names[i]
        wanted = pa.string() if name == POINT else _plain(column.type)
        if column.null_count == len(column) and name != POINT:
            table = table.set_column(i, name, pa.nulls(len(column)))
        elif wanted != column.type:
            table = table.set_column(i, name, column.cast(wanted))
    return table


def to_table(columns: Mapping[str, np.ndarray[Any, Any]], whole: Collection[str] = ()) -> pa.Table:
    """Columns of numbers or text in the types of `to_arrow`; those named in ``whole`` hold whole numbers."""
    import pyarrow as pa

    found = {}
    for name, values in columns.items():
        kind = pa.string() if values.dtype == object else pa.float64()
        array = pa.array(values, kind, from_pandas=True)
        if name in whole:
            array = array.cast(pa.int64())
        found[name] = pa.nulls(len(array)) if array.null_count == len(array) and name != POINT else array
    return pa.table(found)


def _plain(kind: pa.DataType) -> pa.DataType:
    """Storage type of values of ``kind``."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_nested(kind):
        raise TypeError(f"result columns hold plain values, not {kind}")
    return kind


def join(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows under the union of the columns; mixed numbers and columns without any value become float64.

    Raises
    ------
    ConfigError
        A column holds text in one table and numbers in another.
    """
    import pyarrow as pa

    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ConfigError(f"batches disagree on the type of a result column: {error}") from error
    for i, column in enumerate(table.columns):
        if pa.types.is_null(column.type):
            table = table.set_column(i, table.column_names[i], column.cast(pa.float64()))
    return table.combine_chunks()


def encoded(table: pa.Table) -> pa.Table:
    """The table with its text columns dictionary-encoded."""
    import pyarrow as pa

    for i, column in enumerate(table.columns):
        if pa.types.is_string(column.type):
            table = table.set_column(i, table.column_names[i], column.dictionary_encode())
    return table


def positions(table: pa.Table, order: Sequence[str]) -> npt.NDArray[np.int64]:
    """Position in ``order`` of the point of every row, -1 where it is not there."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table[POINT].combine_chunks()
    names = column.dictionary if pa.types.is_dictionary(column.type) else column
    found = pc.index_in(names, pa.array(order, pa.string())).fill_null(-1).cast(pa.int64())
    places: npt.NDArray[np.int64] = found.to_numpy(zero_copy_only=False)
    if not pa.types.is_dictionary(column.type):
        return places
    codes = column.indices.to_numpy(zero_copy_only=False)
    return places[codes] if len(places) else np.zeros(0, dtype=np.int64)


def arranged(table: pa.Table, order: Sequence[str]) -> pa.Table:
    """Rows sorted by the position of their point in ``order``; rows of one point keep their order."""
    import numpy as np

    places = positions(table, order)
    return table if (places[1:] >= places[:-1]).all() else table.take(np.argsort(places, kind="stable"))


def parquet_bytes(table: pa.Table) -> bytes:
    """The table as one parquet file, without metadata of its own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(None), sink, compression="zstd", row_group_size=1 << 18)
    return bytes(sink.getvalue().to_pybytes())


def ledger_bytes(table: pa.Table, order: Sequence[str]) -> bytes:
    """A dictionary-encoded ledger as one parquet file of plain text and numbers, its points in the given order.

    Dictionaries are sorted, and those of points are cut to each group of rows, so that the bytes depend on the rows
    alone, not on the batches they came in.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = arranged(table, order)
    places = positions(table, order)
    columns = {name: _sorted_texts(table[name].combine_chunks()) for name in table.column_names}
    sink = pa.BufferOutputStream()
    empty = pa.table({name: column[:0] for name, column in columns.items()})
    texts = [name for name, column in columns.items() if pa.types.is_dictionary(column.type)]
    options = {"compression": "zstd", "store_schema": False, "use_dictionary": texts}
    with pq.ParquetWriter(sink, empty.schema, **options) as writer:
        for start in range(0, len(places), LEDGER_ROWS):
            here = places[start : start + LEDGER_ROWS]
            first, last = int(here[0]), int(here[-1])
            codes = pa.array((here - first).astype("int32"))
            point = pa.DictionaryArray.from_arrays(codes, pa.array(order[first : last + 1], pa.string()))
            part = {name: column.slice(start, LEDGER_ROWS) for name, column in columns.items()}
            writer.write_table(pa.table(part | {POINT: point}), row_group_size=LEDGER_ROWS)
    return bytes(sink.getvalue().to_pybytes())


def _sorted_texts(column: pa.Array) -> pa.Array:
    """A dictionary-encoded column with its dictionary sorted and without repetition; others as they are."""
    import numpy as np
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        return column
    used = np.array(column.dictionary.to_pylist(), dtype=object)
    names, codes = np.unique(used, return_inverse=True)
    indices = codes.astype(np.int32)[column.indices.to_numpy(zero_copy_only=False)]
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), pa.array(names, pa.string()))


def ipc_bytes(table: pa.Table) -> bytes:
    """The table in Arrow's own format: fast to write, for files that are read soon and once."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4", unify_dictionaries=True)
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def from_ipc(path: Path, checksum: str) -> pa.Table:
    """Read a file of `ipc_bytes` whose bytes must have the given digest.

    Raises
    ------
    OSError
        It cannot be read, or its bytes are not those that were written.
    """
    import pyarrow as pa

    with pa.ipc.open_file(pa.BufferReader(_checked(path, checksum))) as reader:
        return reader.read_all()


def csv_bytes(table: pa.Table) -> bytes:
    """The table as CSV: floats in shortest exact form, null as nothing, text quoted if any text needs it."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    texts = [column for column in table.columns if pa.types.is_string(column.type)]
    special = any(pc.any(pc.match_substring_regex(column, '[,"\r\n]')).as_py() for column in texts)
    options = csv.WriteOptions(include_header=False, quoting_style="needed" if special else "none")
    sink = pa.BufferOutputStream()
    csv.write_csv(table, sink, options)
    header = ",".join(table.column_names)
    return f"{header}\n".encode() + bytes(sink.getvalue().to_pybytes())


def from_parquet(path: Path, checksum: str) -> pa.Table:
    """Read a parquet file whose bytes must have the given digest.

    Raises
    ------
    OSError
        It cannot be read, or its bytes are not those that were written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.read_table(pa.BufferReader(_checked(path, checksum)))


def _checked(path: Path, checksum: str) -> bytes:
    data = path.read_bytes()
    if digest(data) != checksum:
        raise OSError("its bytes are not those that were written")
    return data
