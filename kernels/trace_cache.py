"""Traces kept in a folder of the user, so that a kernel is traced once for its source, parameters and seed.

Tracing runs in a process of its own and stops after a given time; that it took too long is kept as well, and tried
again only when more time is given. A kept trace is read without torch and triton. Not modelled: removal of traces of
earlier sources, which are never read again.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from dse.errors import TraceError
from dse.kernels import launch
from dse.kernels.reference import kernel_hash
from dse.kernels.trace_kernel import TooSlowError, trace_elsewhere
from dse.workloads.annotation import load_annotation
from dse.workloads.trace_file import SCHEMA_VERSION, read_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dse.workloads.annotation import Annotation
    from dse.workloads.trace import Trace, Value

VERSION = 1  # of how traces are made; a higher one leaves kept traces unread


def user_folder() -> Path:
    """Where traces are kept: below ``XDG_CACHE_HOME``, else below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "dse", "traces")


def kept_trace(
    name: str,
    values: Mapping[str, Value],
    seed: int,
    seconds: float,
    folder: Path,
    starting: Callable[[], None] = lambda: None,
) -> Trace:
    """The trace of a kernel at resolved parameters, sampled where possible, from the folder or made within a time.

    ``starting`` is called before anything is traced.

    Raises
    ------
    TooSlowError
        Tracing takes more than ``seconds``, as it turned out now or earlier.
    TraceError
        The kernel cannot be traced, or the folder not be written.
    MissingDependencyError
        The trace is not there, and torch or triton is not installed.
    """
    path = folder / f"{name}-{_key(name, values, seed)}.parquet"
    if path.is_file():
        return read_trace(path)
    launch.require_packages()
    late = path.with_suffix(".json")
    given = float(json.loads(late.read_text())["seconds"]) if late.is_file() else 0.0
    if given and given >= seconds:
        raise TooSlowError(f"tracing took more than {given:g} s")
    if not seconds:
        raise TooSlowError("not traced yet, and no time is given to")
    starting()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trace_elsewhere(_request(name, values, seed), path, seconds)
    except OSError as error:
        raise TraceError(f"traces cannot be kept in {folder}: {error.strerror}") from None
    except TooSlowError:
        late.write_text(json.dumps({"seconds": seconds}) + "\n")
        raise
    return read_trace(path)


def _request(name: str, values: Mapping[str, Value], seed: int) -> dict[str, object]:
    """Arguments of ``trace_kernel``; branches are counted only where the order of events is kept."""
    branched = branches(load_annotation(name))
    level = {"level": "events"} if branched else {"level": "counts", "sample": True}
    return {"name": name, "parameters": dict(values), "seed": seed, **level}


def branches(annotation: Annotation) -> bool:
    """Whether programs of a kernel branch on values."""
    return any(step.inside for note in annotation.launches.values() for step in note.steps.values())


def _key(name: str, values: Mapping[str, Value], seed: int) -> str:
    parts = [VERSION, SCHEMA_VERSION, kernel_hash(name), sorted(values.items()), seed]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
