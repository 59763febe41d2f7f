"""Values of a traced run: scores in the order each program computed them, and which tiles it kept.

Modelled: the scores of one launch as natural logits, scaled and masked, exact or quantised to a whole number
of bits with one step for all of them; row maxima and sums as the exact scores give them. A file of values
stands beside its trace, ``<stem>.values.parquet``, one row per program. Not modelled: values of other
tensors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.errors import Place, Problem, TraceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt
    import pyarrow as pa

    from dse.workloads.trace import Coordinates

    Floats = npt.NDArray[np.float64]

SCHEMA_VERSION = 1
METADATA_KEY = b"dse_values"
FEWEST_BITS, MOST_BITS = 2, 16
_LISTS = ("program", "corners", "kept")


@dataclass(frozen=True, slots=True, eq=False)
class ProgramValues:
    """Scores of one program.

    ``codes`` has shape (tiles, rows, keys): quantised scores, the smallest code where masked, or the scores
    themselves, -inf where masked. ``corners`` is where each tile starts along the keys, ``kept`` the numbers
    of tiles whose values were used, in order; all of them in a kernel without a branch. ``row_max`` and
    ``row_sum`` (of exp(score - maximum)) are fp64 of the unquantised scores.
    """

    program: Coordinates
    corners: Coordinates
    kept: Coordinates
    codes: npt.NDArray[Any]
    row_max: Floats
    row_sum: Floats


@dataclass(frozen=True, slots=True, eq=False)
class LaunchValues:
    """Scores of all programs of launch number ``launch``; a quantised score is its code times ``step``."""

    launch: int
    bits: int | None
    step: float
    programs: tuple[ProgramValues, ...]

    def scores(self, program: ProgramValues) -> Floats:
        """Scores of one program as fp64, shape (tiles, rows, keys), -inf where masked."""
        if self.bits is None:
            return program.codes.astype(np.float64)
        return np.where(program.codes == -(1 << (self.bits - 1)), -np.inf, program.codes * self.step)


@dataclass(frozen=True, slots=True, eq=False)
class CapturedProgram:
    """What a tracer saw of one program: tiles of scores in the kernel's own unit, -inf where masked."""

    program: Coordinates
    corners: Coordinates
    kept: Coordinates
    tiles: Sequence[npt.NDArray[Any]]


def launch_values(
    launch: int, programs: Sequence[CapturedProgram], unit: float, branched: bool, bits: int | None
) -> LaunchValues:
    """Values of a launch; ``unit`` is what one unit of the kernel's scores is in natural logits.

    Raises
    ------
    TraceError
        If ``bits`` is outside 2 to 16, or a program's tiles differ in shape.
    """
    if bits is not None and not FEWEST_BITS <= bits <= MOST_BITS:
        raise TraceError(f"scores are quantised to {FEWEST_BITS} to {MOST_BITS} bits, not {bits}")
    stacked = [_stacked(program) * unit for program in programs]
    largest = max((float(np.abs(s[np.isfinite(s)]).max(initial=0.0)) for s in stacked), default=0.0)
    step = 1.0 if bits is None or not largest else largest / ((1 << (bits - 1)) - 1)
    return LaunchValues(
        launch=launch,
        bits=bits,
        step=step,
        programs=tuple(
            _program(program, scores, branched, bits, step)
            for program, scores in zip(programs, stacked, strict=True)
        ),
    )


def _stacked(program: CapturedProgram) -> Floats:
    if len({tile.shape for tile in program.tiles}) > 1:
        raise TraceError(f"program {program.program} computed tiles of scores of different shapes")
    return np.asarray(np.stack(program.tiles) if program.tiles else np.zeros((0, 0, 0)), dtype=np.float64)


def _program(
    program: CapturedProgram, scores: Floats, branched: bool, bits: int | None, step: float
) -> ProgramValues:
    row_max = scores.max(axis=(0, 2), initial=-np.inf)
    finite = np.where(np.isfinite(row_max), row_max, 0.0)
    return ProgramValues(
        program=program.program,
        corners=program.corners,
        kept=program.kept if branched else tuple(range(len(program.tiles))),
        codes=_codes(scores, bits, step),
        row_max=row_max,
        row_sum=np.exp(scores - finite[None, :, None]).sum(axis=(0, 2)),
    )


def _codes(scores: Floats, bits: int | None, step: float) -> npt.NDArray[Any]:
    if bits is None:
        return scores.astype(np.float32)
    masked = -(1 << (bits - 1))
    rounded = np.rint(np.where(np.isfinite(scores), scores, 0.0) / step)
    dtype = np.int8 if bits <= 8 else np.int16
    return np.where(np.isfinite(scores), rounded, masked).astype(dtype)


def values_path(trace: str | Path) -> Path:
    """File of values beside a trace file."""
    path = Path(trace)
    return path.with_name(f"{path.name.removesuffix('.parquet')}.values.parquet")


def values_table(values: Sequence[LaunchValues], trace_hash: str) -> pa.Table:
    """Table of all launches, one row per program; its metadata names the trace it belongs to."""
    import pyarrow as pa

    exact = any(launch.bits is None for launch in values)
    integers, floats = pa.list_(pa.int64()), pa.list_(pa.float64())
    schema = pa.schema(
        [
            ("launch", pa.int64()),
            *((name, integers) for name in _LISTS),
            ("shape", integers),
            ("row_max", floats),
            ("row_sum", floats),
            ("codes", pa.list_(pa.float32() if exact else pa.int16())),
        ]
    )
    metadata = {
        "schema_version": SCHEMA_VERSION,
        "trace": trace_hash,
        "launches": [{"launch": v.launch, "bits": v.bits, "step": v.step} for v in values],
    }
    table = pa.Table.from_pylist(list(_rows(values)), schema=schema)
    return table.replace_schema_metadata({METADATA_KEY: json.dumps(metadata, sort_keys=True)})


def _rows(values: Sequence[LaunchValues]) -> Iterator[dict[str, Any]]:
    for launch in values:
        for program in launch.programs:
            lists = {name: list(getattr(program, name)) for name in _LISTS}
            yield lists | {
                "launch": launch.launch,
                "shape": list(program.codes.shape),
                "row_max": program.row_max,
                "row_sum": program.row_sum,
                "codes": program.codes.reshape(-1),
            }


def read_values(path: Path, trace_hash: str) -> tuple[LaunchValues, ...]:
    """Values of a file that belongs to the trace of this hash.

    Raises
    ------
    TraceError
        If the file is missing, damaged, of another schema version or of another trace.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    place = Place(str(path))
    if not path.is_file():
        raise TraceError(Problem("the trace has values, but their file is missing", place))
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        metadata = json.loads(table.schema.metadata[METADATA_KEY])
        version, of = metadata["schema_version"], metadata["trace"]
        if version != SCHEMA_VERSION:
            raise TraceError(Problem(f"values schema {version}, this dse reads {SCHEMA_VERSION}", place))
        if of != trace_hash:
            raise TraceError(Problem("these values belong to another trace", place))
        rows = table.to_pylist()
        return tuple(_launch(launch, rows) for launch in metadata["launches"])
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise TraceError(Problem(f"damaged values ({type(error).__name__}: {error})", place)) from None


def _launch(metadata: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> LaunchValues:
    bits = metadata["bits"]
    dtype = np.float32 if bits is None else np.int8 if bits <= 8 else np.int16
    return LaunchValues(
        launch=int(metadata["launch"]),
        bits=bits,
        step=float(metadata["step"]),
        programs=tuple(
            ProgramValues(
                program=tuple(row["program"]),
                corners=tuple(row["corners"]),
                kept=tuple(row["kept"]),
                codes=np.asarray(row["codes"], dtype=dtype).reshape(row["shape"]),
                row_max=np.asarray(row["row_max"], dtype=np.float64),
                row_sum=np.asarray(row["row_sum"], dtype=np.float64),
            )
            for row in rows
            if row["launch"] == metadata["launch"]
        ),
    )
