"""Workloads by name: a model at a sequence length, a cascade at its rank sizes, or a trace of a kernel that ran."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse import spec
from dse.errors import ConfigError, Problem, WorkloadError, nearest
from dse.units import parse_count
from dse.workloads import cascade_file, model
from dse.workloads.workload import RANKS, VALUE_BYTES, Gemm, Workload, sized

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.workloads.cascade import Cascade

TRACES = "workloads/traces"
SUFFIXES = {model.ROOM: ".yaml", TRACES: ".parquet", cascade_file.ROOM: ".yaml"}


def load_workload(source: str, given: Mapping[str, Any]) -> Workload:
    """The workload of a path or shipped name at the given parameters (text or numbers).

    A name is that of a model, a trace or a cascade; where two share it, ``traces/NAME`` tells them apart.

    Raises
    ------
    ConfigError, WorkloadError, TraceError
        No such workload, a wrong file, or parameters that are unknown, missing or wrong.
    """
    room = room_of(source)
    name = plain_name(source, room)
    if room == model.ROOM:
        return model.load_model(name, given)
    if room == TRACES:
        return _traced(name, given)
    return _of_cascade(cascade_file.load_cascade(name), given)


def plain_name(source: str, room: str) -> str:
    """A workload's name within its room: without the ``traces/`` that tells it apart."""
    return source.removeprefix(f"{Path(room).name}/")


def room_of(source: str) -> str:
    """Room a workload's file belongs to: that of models, traces or cascades.

    Raises
    ------
    ConfigError
        No such workload; names the nearest one.
    """
    names = {room: set(spec.shipped(room, suffix)) for room, suffix in SUFFIXES.items()}
    rooms = [room for room in names if source in names[room]]
    rooms += [room for room in names if source in {f"{Path(room).name}/{name}" for name in names[room]}]
    if len(rooms) > 1:
        raise ConfigError(
            f"'{source}' could be any of {', '.join(f'{Path(room).name}/{source}' for room in rooms)}"
        )
    if rooms:
        return rooms[0]
    path = Path(source)
    if path.suffix == SUFFIXES[TRACES]:
        return TRACES
    if spec.is_file(path):
        keys = spec.resolve(path, model.ROOM).value
        return cascade_file.ROOM if isinstance(keys, dict) and "einsums" in keys else model.ROOM
    known = sorted({name for shipped in names.values() for name in shipped})
    if path.stem in known and path.suffix:
        raise ConfigError(f"no file {source} here; the shipped workload is: {path.stem}")
    raise ConfigError(f"no workload '{source}'{nearest(source, known)}")


def _of_cascade(cascade: Cascade, given: Mapping[str, Any]) -> Workload:
    """A cascade alone: rank sizes from the parameters, one head unless b and h say otherwise."""
    sizes, precision = _rank_sizes(cascade, given)
    found = {rank: sized(size) for rank, size in sizes.items()}
    dense = {"m", "n", "k"} == set(cascade.ranks)
    return Workload(
        name=cascade.name,
        title=cascade.title or cascade.name,
        family=cascade.family,
        cascade=cascade.name,
        scope="attention",
        causal=False,
        sizes={} if dense else {rank: found.get(rank, sized(1)) for rank in RANKS},
        value_bytes=sized(VALUE_BYTES[precision]),
        linear=(Gemm(cascade.name, found["m"], found["n"], found["k"]),) if dense else (),
        layers=sized(1),
        provenance=f"cascade {cascade.name}",
        parameters=sizes | {"precision": precision},
        precision=precision,
    )


def _rank_sizes(cascade: Cascade, given: Mapping[str, Any]) -> tuple[dict[str, int], str]:
    """Sizes of whole ranks, and the precision."""
    parts = {part for split in cascade.partition.values() for part in split}
    needed = [rank for rank in (*cascade.ranks, *cascade.partition) if rank not in parts]
    allowed = [
        *needed,
        *(rank for rank in ("b", "h", "g") if rank not in needed and "e" in needed),
        "precision",
    ]
    problems, sizes = [], dict[str, int]()
    for name, value in given.items():
        if name not in allowed:
            problems.append(
                Problem(f"{cascade.name} has no rank '{name}'{nearest(name, allowed)}", path=f"-p {name}")
            )
        elif name != "precision":
            try:
                sizes[name] = parse_count(str(value))
            except ConfigError as error:
                problems.append(Problem(str(error), path=f"-p {name}"))
    problems += [
        Problem(f"is missing: {cascade.ranks.get(rank, 'keys')}", path=f"-p {rank}")
        for rank in needed
        if rank not in given
    ]
    precision = str(given.get("precision", "fp16"))
    if precision not in VALUE_BYTES:
        problems.append(Problem(f"'{precision}' is not one of {', '.join(VALUE_BYTES)}", path="-p precision"))
    if problems:
        raise WorkloadError(*problems)
    return sizes, precision


def _traced(source: str, given: Mapping[str, Any]) -> Workload:
    """A traced kernel: its own sizes; nothing to set but the cascade."""
    from dse.workloads.traced import load_traced

    unknown = [name for name in given if name != "cascade"]
    if unknown:
        raise WorkloadError(
            *(
                Problem("a trace's sizes are those it ran with; only cascade can be set", path=f"-p {n}")
                for n in unknown
            )
        )
    return load_traced(spec.find(source, TRACES, ".parquet"), str(given.get("cascade", "")))
