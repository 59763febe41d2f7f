"""What a pass analysis is of: a cascade at the sizes known, or those that compute a model's attention.

Sizes may be missing: what needs them is then not known. Not modelled: masks, which leave fewer operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse import spec
from dse.errors import ConfigError, Problem, WorkloadError, nearest
from dse.units import parse_count
from dse.workloads.cascade_file import ROOM, load_cascade
from dse.workloads.load import load_workload, plain_name, room_of
from dse.workloads.sizes import complete_sizes
from dse.workloads.workload import VALUE_BYTES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from dse.workloads.cascade import Cascade
    from dse.workloads.operators import Array
    from dse.workloads.workload import Workload

OUTER = ("b", "h", "g")  # ranks outside a cascade of attention: batch, key heads, query heads that share one


@dataclass(frozen=True)
class Subject:
    """What is analysed: cascades at the rank sizes known, ``instances`` times."""

    title: str
    cascades: tuple[Cascade, ...]
    sizes: Mapping[str, Mapping[str, Array]]
    instances: float
    value_bytes: float
    notes: tuple[str, ...] = ()


def subject_of(workload: str, given: Mapping[str, str]) -> Subject:
    """Cascade, model or trace of a path or shipped name, at parameters given as text.

    Raises
    ------
    DseError
        No such workload, or parameters that are unknown, missing or wrong.
    """
    plain = plain_name(workload, ROOM)
    if plain in spec.shipped(ROOM) or room_of(workload) == ROOM:
        return _of_cascade(plain, given)
    return _of_model(workload, given)


def _of_cascade(name: str, given: Mapping[str, str]) -> Subject:
    """A cascade at the sizes given, if any; heads and batch repeat it, a query group adds queries."""
    cascade = load_cascade(name)
    outer = [rank for rank in OUTER if rank not in cascade.ranks and "p" in cascade.ranks]
    known = [*cascade.ranks, *cascade.partition, *outer, "precision"]
    counts = _counts({key: text for key, text in given.items() if key != "precision"}, known, cascade.name)
    precision = given.get("precision", "fp16")
    if precision not in VALUE_BYTES:
        message = f"'{precision}' is not one of {', '.join(VALUE_BYTES)}{nearest(precision, VALUE_BYTES)}"
        raise WorkloadError(Problem(message, path="-p precision"))
    repeats = {rank: counts.pop(rank) for rank in outer if rank in counts}
    if "p" in counts:
        counts["p"] *= repeats.get("g", 1)
    instances = float(repeats.get("b", 1) * repeats.get("h", 1))
    sizes = {cascade.name: _sizes(cascade, counts)}
    return Subject(f"{cascade.name}: {cascade.title}", (cascade,), sizes, instances, VALUE_BYTES[precision])


def _of_model(name: str, given: Mapping[str, str]) -> Subject:
    """A model or trace: its own cascade or the one asked for, else all shipped cascades of its family."""
    shipped = [load_cascade(path) for path in spec.shipped(ROOM).values()]
    parts = {part for cascade in shipped for split in cascade.partition.values() for part in split}
    loaded = load_workload(name, {key: text for key, text in given.items() if key not in parts})
    cascades = _chosen(name, loaded, shipped)
    used = {rank for cascade in cascades for rank in cascade.ranks}
    tiles = _counts({key: text for key, text in given.items() if key in parts}, used, name)
    whole = {rank: float(size[0]) for rank, size in loaded.sizes.items()}
    base = {"e": whole["e"], "f": whole["f"], "m": whole["m"], "p": whole["g"] * whole["p"], **tiles}
    sizes = {
        cascade.name: _sizes(
            cascade, {r: n for r, n in base.items() if r in {*cascade.ranks, *cascade.partition}}
        )
        for cascade in cascades
    }
    notes = ("the causal mask is not counted: all keys of all queries",) if loaded.causal else ()
    instances = whole["b"] * whole["h"] * float(loaded.layers[0])
    return Subject(loaded.title, tuple(cascades), sizes, instances, float(loaded.value_bytes[0]), notes)


def _chosen(name: str, loaded: Workload, shipped: list[Cascade]) -> list[Cascade]:
    """The cascade a workload asks for, else all shipped ones of its family."""
    if loaded.cascade:
        cascade = load_cascade(loaded.cascade)
        if cascade.family != loaded.family:
            message = f"{name} is of family {loaded.family}, cascade {cascade.name} of {cascade.family}"
            raise WorkloadError(Problem(message, path="-p cascade"))
        return [cascade]
    found = [cascade for cascade in shipped if cascade.family == loaded.family]
    if not found:
        message = f"{name} is of family {loaded.family}, of which no cascade is shipped"
        raise WorkloadError(Problem(message, path="-p cascade"))
    return found


def _counts(given: Mapping[str, str], known: Collection[str], name: str) -> dict[str, float]:
    """Sizes from text; all that are unknown or no positive numbers together."""
    found: dict[str, float] = {}
    problems = []
    for rank, text in given.items():
        if rank not in known:
            problems.append(Problem(f"{name} has no rank '{rank}'{nearest(rank, known)}", path=f"-p {rank}"))
            continue
        try:
            found[rank] = float(parse_count(text))
        except ConfigError as error:
            problems.append(Problem(str(error), path=f"-p {rank}"))
    if problems:
        raise WorkloadError(*problems)
    return found


def _sizes(cascade: Cascade, given: Mapping[str, float]) -> dict[str, Array]:
    """Sizes given and those that follow from them, checked against each other.

    Raises
    ------
    WorkloadError
        A size that is not positive, or parts that do not multiply to the whole.
    """
    parts = {part for split in cascade.partition.values() for part in split}
    unknown = {rank for rank in cascade.ranks if rank not in given and rank not in parts}
    assumed = set(unknown)
    for whole, split in cascade.partition.items():
        # One size of a partition follows from the others; of more, all but one are tried as 1.
        missing = [rank for rank in (whole, *split) if rank not in given]
        assumed |= set(missing[1:])
        unknown |= set(missing) if len(missing) > 1 else set()
    full = complete_sizes(cascade, {**given, **dict.fromkeys(assumed, 1.0)})
    return {rank: found for rank, found in full.items() if rank not in unknown}
