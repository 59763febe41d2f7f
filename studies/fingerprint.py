"""What results depend on, as named hashes: machine, workload, mapping and space files, and the code itself."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from dse import spec, yaml_tree
from dse.arch.machine import ROOM as MACHINES
from dse.mappers.space import ROOM as SPACES
from dse.simulator.mapping import ROOM as MAPPINGS
from dse.workloads.cascade_file import ROOM as CASCADES
from dse.workloads.load import TRACES, plain_name, room_of
from dse.workloads.pruned_run import ROOM as STREAMS
from dse.workloads.pruning import ROOM as SCHEDULES
from dse.workloads.score_trace import ROOM as SCORES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dse.studies.batch import Request
    from dse.yaml_tree import Node


_ROOMS = ("arch", "workloads", "simulator", "mappers", "studies")


def fingerprint(requests: Iterable[Request]) -> dict[str, str]:
    """Named hashes of every file the requests read, of all shipped machines and mappings, and of the code."""
    asked = list(requests)
    found = {f"machine {name}": _file(name, MACHINES) for name in {r.machine for r in asked}}
    found |= {f"workload {name}": _workload(name) for name in {r.workload for r in asked}}
    found |= {f"file {path}": _digest(path.read_bytes()) for path in _named_in(asked)}
    for room in (MACHINES, MAPPINGS, SPACES, CASCADES, SCHEDULES):
        files = [*spec.shipped(room).values(), *spec.shipped(room, ".csv").values()]
        found[room] = _digest(b"\n".join(path.read_bytes() for path in files))
    for room in (SCORES, STREAMS):
        found[room] = _digest(b"".join(path.read_bytes() for path in spec.shipped(room, ".parquet").values()))
    return found | {"code": code_version(), "numpy": version("numpy")}


@cache
def code_version() -> str:
    """Hash of all source files of the package that results depend on."""
    digest = hashlib.sha256()
    for path in sorted(Path(spec.__file__).parent.glob("*.py")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    for room in _ROOMS:
        location = importlib.util.find_spec(f"dse.{room}")
        assert location is not None
        assert location.submodule_search_locations
        folder = Path(next(iter(location.submodule_search_locations)))
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _named_in(requests: Iterable[Request]) -> Iterator[Path]:
    """Files whose paths stand in machines, or in values that replace theirs: memories, parts of systems."""
    texts: dict[str, None] = {}
    for request in requests:
        texts |= dict.fromkeys(text for _, text in request.overrides)
        texts |= dict.fromkeys(_scalars(spec.resolve(request.machine, MACHINES)))
    for text in texts:
        path = Path(text)
        if path.suffix in (".yaml", ".csv") and spec.is_file(path):
            yield path


def _scalars(node: Node) -> Iterator[str]:
    """Every text in a file."""
    if isinstance(node.value, dict):
        for child in node.value.values():
            yield from _scalars(child)
    elif isinstance(node.value, list):
        for child in node.value:
            yield from _scalars(child)
    else:
        yield str(node.value)


def _workload(name: str) -> str:
    room = room_of(name)
    plain = plain_name(name, room)
    if room == TRACES:
        return _digest(spec.find(plain, TRACES, ".parquet").read_bytes())
    return _file(plain, room)


def _file(name: str, room: str) -> str:
    return _digest(yaml_tree.to_text(spec.resolve(name, room)).encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
