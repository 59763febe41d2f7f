"""Result tables as bytes: data frames to Arrow tables, to parquet and CSV, the same bytes for the same rows.

Column types depend on the values alone, not on how rows were divided into batches. Nested values are not
supported.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from dse.errors import ConfigError
from dse.studies.columns import POINT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    import pyarrow as pa


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


def positions(table: pa.Table, order: Sequence[str]) -> npt.NDArray[np.int64]:
    """Position in ``order`` of the point of every row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.index_in(table[POINT], pa.array(order, pa.string())).cast(pa.int64())
    places: npt.NDArray[np.int64] = found.combine_chunks().to_numpy(zero_copy_only=False)
    return places


def arranged(table: pa.Table, order: Sequence[str]) -> pa.Table:
    """Rows sorted by the position of their point in ``order``; rows of one point keep their order."""
    import numpy as np

    return table.take(np.argsort(positions(table, order), kind="stable"))


def parquet_bytes(table: pa.Table) -> bytes:
    """The table as one parquet file, without metadata of its own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(None), sink, compression="zstd", row_group_size=1 << 18)
    return bytes(sink.getvalue().to_pybytes())


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

    data = path.read_bytes()
    if digest(data) != checksum:
        raise OSError("its bytes are not those that were written")
    return pq.read_table(pa.BufferReader(data))
