"""Parts of an unfinished sweep: one Arrow file for each finished batch, named by the digest of its bytes.

The component rows of a batch are nested in its result rows, so that a batch is one file and one rename.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.errors import ConfigError
from dse.studies import frames
from dse.studies.columns import POINT

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

NESTED = "components"


def parts(folder: Path) -> list[Path]:
    """Files of all recorded batches; half-written files have other names."""
    return sorted(folder.glob("part-*.arrow"))


def write(folder: Path, rows: pa.Table, components: pa.Table | None) -> Path:
    """Record a batch; every point of ``components`` must be one of ``rows``."""
    if components is not None:
        rows = rows.append_column(NESTED, _nest(rows[POINT], components))
    data = frames.ipc_bytes(rows)
    path = folder / f"part-{frames.digest(data)}.arrow"
    frames.write_atomic(path, data)
    return path


def read(path: Path) -> tuple[pa.Table, pa.Table | None]:
    """Result rows and component rows of one batch.

    Raises
    ------
    ConfigError
        The file is not what was written under its name.
    """
    try:
        part = frames.from_ipc(path, path.stem.removeprefix("part-"))
    except (OSError, ValueError) as error:
        remedy = "delete this file to compute its points again, or run with --fresh"
        raise ConfigError(f"{path}: damaged ({error}); {remedy}") from error
    if NESTED not in part.column_names:
        return part, None
    return part.drop_columns([NESTED]), _unnest(part[POINT], part[NESTED])


def _nest(points: pa.ChunkedArray, components: pa.Table) -> pa.Array:
    """One list of component rows for each point, in the order of the points."""
    import numpy as np
    import pyarrow as pa

    order = points.to_pylist()
    components = frames.arranged(components, order)
    counts = np.bincount(frames.positions(components, order), minlength=len(order))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    columns = components.drop_columns([POINT]).combine_chunks()
    arrays = [column.combine_chunks() for column in columns.columns]
    rows = pa.StructArray.from_arrays(arrays, fields=list(columns.schema))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), rows)


def _unnest(points: pa.ChunkedArray, nested: pa.ChunkedArray) -> pa.Table:
    """Inverse of ``_nest``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lists = nested.combine_chunks()
    table = pa.Table.from_struct_array(pc.list_flatten(lists))
    codes = pc.list_parent_indices(lists).cast(pa.int32())
    return table.add_column(0, POINT, pa.DictionaryArray.from_arrays(codes, points.combine_chunks()))
