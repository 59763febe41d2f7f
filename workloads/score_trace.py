"""Attention scores of a trained model on real text: quantised streams, row statistics, importance, keep-lists.

Modelled: for every layer and head the scaled scores of some query rows in the order of the keys, as the
attention kernel computed them, quantised symmetrically with one step per head; maximum and sum of exp(score -
maximum) of every row; column sums of the probabilities over all rows; the size of the head's output. Not
modelled: masks (the model has none), values of K and V. numpy and pyarrow suffice to read a file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dse import spec
from dse.errors import ConfigError, Place, Problem, TraceError
from dse.workloads.keep import keep_lists, linear_ratios
from dse.workloads.trace_file import write_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import pyarrow as pa

    Floats = npt.NDArray[np.float32]

ROOM = "workloads/scores"
SCHEMA_VERSION = 1
METADATA_KEY = b"dse_scores"
BITS = 8
LARGEST_CODE = (1 << (BITS - 1)) - 1
_FLOATS = ("row_max", "row_sum", "importance")
_NUMBERS = ("layer", "head", "step", "output")


@dataclass(frozen=True, slots=True, eq=False)
class HeadScores:
    """One head of one layer.

    ``codes`` has shape (kept rows, keys), int8; a score is its code times ``step``, in natural logits.
    ``row_max`` and ``row_sum`` (of exp(score - maximum)) have one number for every query row, of the exact
    scores; ``importance`` has the sum of each key's probabilities over all rows. ``output`` is the sum of
    absolute values of the head's output over tokens and depth.
    """

    layer: int
    head: int
    step: float
    output: float
    codes: npt.NDArray[np.int8]
    row_max: Floats
    row_sum: Floats
    importance: Floats

    def scores(self) -> npt.NDArray[np.float64]:
        """Scores of the kept rows in natural logits, shape (kept rows, keys)."""
        return self.codes * np.float64(self.step)


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTrace:
    """Scores of one model on one text; ``rows`` are the query rows whose scores are kept.

    ``keep`` maps a share to the tokens that survive each layer when the share kept falls to it linearly;
    ``provenance`` has the hashes of kernel, weights and text, and the versions of what computed it.
    """

    model: str
    passage: str
    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    rows: tuple[int, ...]
    layers: int
    head_count: int
    heads: tuple[HeadScores, ...]
    keep: Mapping[str, tuple[tuple[int, ...], ...]]
    provenance: Mapping[str, str]
    bits: int = field(default=BITS)

    @property
    def length(self) -> int:
        """Tokens: query rows and keys."""
        return len(self.ids)

    def head(self, layer: int, head: int) -> HeadScores:
        """The scores of one head."""
        return self.heads[layer * self.head_count + head]

    def token_importance(self) -> Floats:
        """Importance of each token in each layer, over its heads: shape (layers, tokens)."""
        by_head = np.stack([one.importance for one in self.heads])
        importance: Floats = by_head.reshape(self.layers, self.head_count, self.length).sum(axis=1)
        return importance

    def head_importance(self) -> Floats:
        """Size of each head's output: shape (layers, heads)."""
        sizes = np.array([one.output for one in self.heads], dtype=np.float32)
        return sizes.reshape(self.layers, self.head_count)

    def keep_lists(self, last: float) -> tuple[npt.NDArray[np.int64], ...]:
        """Tokens that survive each layer when the share kept falls linearly to ``last``."""
        return keep_lists(self.token_importance(), linear_ratios(self.layers, last))


def write_scores(trace: ScoreTrace, path: str | Path) -> None:
    """Write a file of scores atomically; the same trace gives the same bytes with the same pyarrow.

    Raises
    ------
    TraceError
        If the folder cannot be written.
    """
    import pyarrow as pa

    rows = [
        {name: getattr(head, name) for name in _NUMBERS}
        | {name: getattr(head, name) for name in _FLOATS}
        | {"codes": head.codes.tobytes()}
        for head in trace.heads
    ]
    metadata = json.dumps(_metadata(trace) | {"hash": content_hash(trace)}, sort_keys=True)
    table = pa.Table.from_pylist(rows, schema=_schema())
    write_table(table.replace_schema_metadata({METADATA_KEY: metadata}), Path(path))


def load_scores(source: str | Path) -> ScoreTrace:
    """The scores of a file: a path, or the name of a shipped one (``minilm_alice_64``).

    Raises
    ------
    TraceError
        If the file is missing, damaged, of another schema version or not one of scores; names the nearest
        shipped one.
    """
    try:
        path = source if isinstance(source, Path) else spec.find(source, ROOM, ".parquet")
    except ConfigError as error:
        raise TraceError(*error.problems) from None
    place = Place(str(path))
    table, metadata = _open(path, place)
    if metadata.get("schema_version") != SCHEMA_VERSION:
        text = f"scores of schema {metadata.get('schema_version')}, this dse reads {SCHEMA_VERSION}"
        raise TraceError(Problem(text, place))
    try:
        trace = _trace(table.to_pylist(), metadata)
        good = metadata["hash"] == content_hash(trace) and len(trace.heads) == trace.layers * trace.head_count
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        detail = f"{type(error).__name__}: {error}"
        raise TraceError(Problem(f"damaged scores ({detail})", place)) from None
    if not good:
        raise TraceError(Problem("damaged scores: the content does not fit its hash", place))
    return trace


def content_hash(trace: ScoreTrace) -> str:
    """SHA-256 of everything a trace says, whatever file it stands in."""
    digest = hashlib.sha256(json.dumps(_metadata(trace), sort_keys=True).encode())
    for head in trace.heads:
        digest.update(json.dumps([getattr(head, name) for name in _NUMBERS]).encode())
        for name in ("codes", *_FLOATS):
            digest.update(np.ascontiguousarray(getattr(head, name)).tobytes())
    return digest.hexdigest()


def _schema() -> pa.Schema:
    import pyarrow as pa

    floats = pa.list_(pa.float32())
    return pa.schema(
        [
            ("layer", pa.int32()),
            ("head", pa.int32()),
            ("step", pa.float64()),
            ("output", pa.float64()),
            ("codes", pa.binary()),
            *((name, floats) for name in _FLOATS),
        ]
    )


def _metadata(trace: ScoreTrace) -> dict[str, Any]:
    """Everything but the heads, as JSON has it."""
    names = [one.name for one in dataclasses.fields(trace) if one.name != "heads"]
    plain = {name: getattr(trace, name) for name in names}
    return plain | {"schema_version": SCHEMA_VERSION}


def _open(path: Path, place: Place) -> tuple[pa.Table, dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise TraceError(Problem("no such file of scores", place))
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        raw = (table.schema.metadata or {}).get(METADATA_KEY)
        metadata = json.loads(raw) if raw else None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TraceError(Problem(f"not a readable file of scores ({error})", place)) from None
    if not isinstance(metadata, dict):
        raise TraceError(Problem("a parquet file, but not scores of dse", place))
    return table, metadata


def _trace(rows: list[dict[str, Any]], metadata: Mapping[str, Any]) -> ScoreTrace:
    shape = (len(metadata["rows"]), len(metadata["ids"]))
    return ScoreTrace(
        model=str(metadata["model"]),
        passage=str(metadata["passage"]),
        ids=tuple(metadata["ids"]),
        pieces=tuple(metadata["pieces"]),
        rows=tuple(metadata["rows"]),
        layers=int(metadata["layers"]),
        head_count=int(metadata["head_count"]),
        bits=int(metadata["bits"]),
        keep={share: tuple(tuple(one) for one in lists) for share, lists in metadata["keep"].items()},
        provenance=dict(metadata["provenance"]),
        heads=tuple(_head(row, shape) for row in rows),
    )


def _head(row: Mapping[str, Any], shape: tuple[int, int]) -> HeadScores:
    row_max, row_sum, importance = (np.asarray(row[name], dtype=np.float32) for name in _FLOATS)
    if any(array.shape != shape[1:] for array in (row_max, row_sum, importance)):
        raise ValueError("a row statistic has another length than the text")
    return HeadScores(
        layer=int(row["layer"]),
        head=int(row["head"]),
        step=float(row["step"]),
        output=float(row["output"]),
        codes=np.frombuffer(row["codes"], dtype=np.int8).reshape(shape),
        row_max=row_max,
        row_sum=row_sum,
        importance=importance,
    )
