"""Runs of an encoder that was pruned as it ran: which tokens and heads each layer had, and the streams its top-k saw.

Modelled: probabilities of 12 bits of every query over the keys that survived, in their order; rows that fetched
low-order bits; all as the pruned forward pass gave them, so that pruning in one layer shows in the scores of the next.
Not modelled: values of Q, K and V. numpy and pyarrow suffice to read a file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dse import spec
from dse.errors import ConfigError, Place, Problem, TraceError
from dse.workloads.head_rows import Bits, HeadRows, Selection
from dse.workloads.pruning import kept
from dse.workloads.trace_file import write_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt
    import pyarrow as pa

    Ints = npt.NDArray[np.int64]

ROOM = "workloads/streams"
SCHEMA_VERSION = 1
METADATA_KEY = b"dse_streams"
_TEXTS = ("model", "passage", "schedule")
_COUNTS = ("layers", "head_count", "length")
_SHARES = ("values", "cosine")
_CHOSEN = ("scored", "weighted", "iterations")


@dataclass(frozen=True, slots=True, eq=False)
class HeadRun:
    """One head of one layer: ``streams`` (queries, keys) of 12-bit probabilities, ``refetch`` (queries,).

    ``tokens`` are the positions of its queries and keys in the sentence, ascending. Where another rule than top-k
    chose, ``scored``, ``weighted`` and ``iterations`` (queries,) are those of a ``Selection``, and no stream is kept.
    """

    layer: int
    head: int
    tokens: npt.NDArray[np.int32]
    streams: npt.NDArray[np.uint16]
    refetch: npt.NDArray[np.bool_]
    scored: npt.NDArray[np.int32] | None = None
    weighted: npt.NDArray[np.int32] | None = None
    iterations: npt.NDArray[np.int32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PrunedRun:
    """A pruned run of ``model`` on a text under a schedule, or by another ``rule`` than top-k.

    ``values`` is the share of the keys whose values each row fetched, ``bits`` those of the numbers; ``cosine`` is that
    of its embedding with the one of the unpruned model.
    """

    model: str
    passage: str
    schedule: str
    length: int
    layers: int
    head_count: int
    values: float
    cosine: float
    bits: Bits
    heads: tuple[HeadRun, ...]
    provenance: Mapping[str, str]
    rule: str = ""


def run_rows(run: PrunedRun, depth: int) -> HeadRows:
    """Head rows of a pruned run, heads of so much depth, in order of layer, head and query."""
    rows = list(_rows(run))
    layer, head, query, keys, values, refetch = np.array([row[0] for row in rows]).T
    return HeadRows(
        np.zeros_like(layer),
        layer,
        head,
        query,
        np.full(len(rows), run.length),
        keys,
        values,
        refetch.astype(np.bool_),
        depth=depth,
        bits=run.bits,
        provenance=f"{run.model} pruned by {run.schedule}, {run.passage}, {run.length} tokens",
        key_indices=tuple(row[1] for row in rows),
        value_indices=tuple(row[2] for row in rows),
        streams=None if run.rule else tuple(row[3] for row in rows),
        selection=_selection(run),
    )


def _selection(run: PrunedRun) -> Selection | None:
    """What the rows computed with, in their order; None where top-k chose."""
    if not run.rule:
        return None
    columns = [np.concatenate([getattr(head, name) for head in run.heads]) for name in _CHOSEN]
    scored, weighted, iterations = (column.astype(np.int64) for column in columns)
    return Selection(run.rule, scored, weighted, iterations)


def _rows(run: PrunedRun) -> Iterator[tuple[tuple[int, ...], Ints, Ints, Ints]]:
    """Counts, positions of keys and of values, and the stream of each row."""
    for head in run.heads:
        tokens, streams = head.tokens.astype(np.int64), head.streams.astype(np.int64)
        keep = kept(run.values, len(tokens))
        if run.rule:
            chosen, streams = (
                np.tile(np.arange(len(tokens)), (len(tokens), 1)),
                np.empty((len(tokens), 0), dtype=np.int64),
            )
        else:
            chosen = np.sort(np.argsort(-streams, axis=1, kind="stable")[:, :keep], axis=1)
        for place, query in enumerate(tokens.tolist()):
            again = int(head.refetch[place])
            counts = (head.layer, head.head, query, len(tokens), keep, again)
            yield counts, tokens, tokens[chosen[place]], streams[place]


def write_run(run: PrunedRun, path: str | Path) -> None:
    """Write a file of streams atomically; the same run gives the same bytes with the same pyarrow.

    Raises
    ------
    TraceError
        If the folder cannot be written.
    """
    import pyarrow as pa

    rows = [
        {
            "layer": head.layer,
            "head": head.head,
            "tokens": head.tokens.tolist(),
            # Two columns of bytes take a fifth less room than one of words.
            "low": (head.streams & 0xFF).astype(np.uint8).tobytes(),
            "high": (head.streams >> 8).astype(np.uint8).tobytes(),
            "refetch": head.refetch.tolist(),
            **{name: getattr(head, name).tolist() for name in _CHOSEN if run.rule},
        }
        for head in run.heads
    ]
    table = pa.Table.from_pylist(rows, schema=_schema(run.rule))
    metadata = json.dumps(_metadata(run) | {"hash": content_hash(run)}, sort_keys=True)
    write_table(table.replace_schema_metadata({METADATA_KEY: metadata}), Path(path))


def find_run(name: str) -> Path | None:
    """Where the shipped streams of a name, or those of a path, are; None if that is no such file."""
    if name.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            metadata = pq.read_schema(name).metadata or {}
        except (pa.ArrowException, OSError):
            return None  # load_scores tells what is wrong with it
        return Path(name) if METADATA_KEY in metadata else None
    try:
        return spec.find(name, ROOM, ".parquet")
    except ConfigError:
        return None


def load_run(source: str | Path) -> PrunedRun:
    """The pruned run of a file: a path, or the name of a shipped one (``minilm_alice_64_half``).

    Raises
    ------
    TraceError
        If the file is missing, damaged, of another schema version or not one of streams.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        path = source if isinstance(source, Path) else spec.find(source, ROOM, ".parquet")
    except ConfigError as error:
        raise TraceError(*error.problems) from None
    place = Place(str(path))
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        metadata = json.loads((table.schema.metadata or {})[METADATA_KEY])
        if metadata["schema_version"] != SCHEMA_VERSION:
            text = f"streams of schema {metadata['schema_version']}, this dse reads {SCHEMA_VERSION}"
            raise TraceError(Problem(text, place))
        run = _run(table.to_pylist(), metadata)
        good = metadata["hash"] == content_hash(run)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, OverflowError) as error:
        detail = f"{type(error).__name__}: {error}"
        raise TraceError(Problem(f"not a readable file of streams ({detail})", place)) from None
    if not good:
        raise TraceError(Problem("damaged streams: the content does not fit its hash", place))
    return run


def content_hash(run: PrunedRun) -> str:
    """SHA-256 of everything a run says, whatever file it stands in."""
    digest = hashlib.sha256(json.dumps(_metadata(run), sort_keys=True).encode())
    for head in run.heads:
        digest.update(json.dumps([head.layer, head.head, *head.streams.shape]).encode())
        for array, kind in ((head.tokens, "<i4"), (head.streams, "<u2"), (head.refetch, "?")):
            digest.update(np.ascontiguousarray(array.astype(kind)).tobytes())
        for name in _CHOSEN if run.rule else ():
            digest.update(getattr(head, name).astype("<i4").tobytes())
    return digest.hexdigest()


def _metadata(run: PrunedRun) -> dict[str, Any]:
    plain = {name: getattr(run, name) for name in (*_TEXTS, *_COUNTS, *_SHARES)}
    plain |= {"rule": run.rule} if run.rule else {}
    return plain | {
        "bits": dataclasses.asdict(run.bits),
        "provenance": dict(run.provenance),
        "schema_version": SCHEMA_VERSION,
    }


def _schema(rule: str) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("layer", pa.int32()),
            ("head", pa.int32()),
            ("tokens", pa.list_(pa.int32())),
            ("low", pa.binary()),
            ("high", pa.binary()),
            ("refetch", pa.list_(pa.bool_())),
            *((name, pa.list_(pa.int32())) for name in _CHOSEN if rule),
        ]
    )


def _run(rows: list[dict[str, Any]], metadata: Mapping[str, Any]) -> PrunedRun:
    plain: dict[str, Any] = {name: str(metadata[name]) for name in _TEXTS}
    plain |= {name: int(metadata[name]) for name in _COUNTS}
    plain |= {name: float(metadata[name]) for name in _SHARES}
    return PrunedRun(
        **plain,
        bits=Bits(**metadata["bits"]),
        provenance=dict(metadata["provenance"]),
        heads=tuple(_head(row) for row in rows),
        rule=str(metadata.get("rule", "")),
    )


def _head(row: Mapping[str, Any]) -> HeadRun:
    tokens, refetch = np.array(row["tokens"], dtype=np.int32), np.array(row["refetch"], dtype=np.bool_)
    if tokens.shape != refetch.shape:
        raise ValueError("not one mark for each query")
    low, high = (np.frombuffer(row[name], dtype=np.uint8).astype(np.uint16) for name in ("low", "high"))
    streams = (high << 8 | low).astype(np.uint16)
    if "scored" not in row:
        streams = streams.reshape(len(tokens), len(tokens))
    chosen = {name: np.array(row[name], dtype=np.int32) for name in _CHOSEN if name in row}
    if any(column.shape != tokens.shape for column in chosen.values()):
        raise ValueError("not one count for each query")
    return HeadRun(int(row["layer"]), int(row["head"]), tokens, streams, refetch, **chosen)
