"""Pruning schedules: shares of tokens, heads and values that layers keep, bits, and the head rows they lead to.

Modelled: cascade pruning of tokens and heads, local pruning of values, keys in two parts whose low-order bits some
rows fetch again (SpAtten, HPCA 2021, section III), for one token after another or for whole sentences. Which tokens
survive is not known here, only how many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from dse import spec
from dse.errors import Problem, WorkloadError
from dse.units import Count, PositiveCount
from dse.workloads.head_rows import Bits, HeadRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

ROOM = "workloads/pruning"
Share = Annotated[float, Field(gt=0.0, le=1.0)]
# What the released hardware does with values that are not quantised (mit-han-lab/spatten).
WHOLE = Bits(key=8, value=8, query=16, lsb=4, forced=True)


class TokensFile(spec.Spec):
    """Consecutive layers that keep one share of the tokens."""

    share: Share
    layers: PositiveCount


class HeadsFile(spec.Spec):
    """Consecutive layers that keep so many heads."""

    heads: PositiveCount
    layers: PositiveCount


class BitsFile(spec.Spec):
    """Bits of one element of each tensor."""

    key: PositiveCount
    value: PositiveCount
    query: PositiveCount
    lsb: Count = Field(default=0, description="bits of a key that are fetched only where they are needed")
    forced: bool = Field(default=False, description="they are always needed")


class RefetchFile(spec.Spec):
    """Head rows that fetched low-order bits in a recorded run, for each layer; the earliest ones are taken."""

    first: list[Count] = Field(description="in the first step")
    later: list[Count] = Field(description="in all later steps together")
    source: str


class File(spec.Spec):
    """A pruning schedule."""

    title: str
    source: str
    tokens: list[TokensFile] = Field(min_length=1)
    heads: list[HeadsFile] = Field(default_factory=list, description="all heads in every layer if not given")
    values: Share = Field(default=1.0, description="share of the tokens kept whose values are fetched")
    bits: BitsFile
    threshold: Share | None = Field(
        default=None, description="low-order bits are fetched where the largest probability is below"
    )
    refetch: RefetchFile | None = None
    notes: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class Schedule:
    """A schedule for a number of layers; ``heads`` is empty where all are kept."""

    name: str
    tokens: tuple[float, ...]
    heads: tuple[int, ...]
    values: float
    bits: Bits
    threshold: float | None = None
    refetch_first: tuple[int, ...] = ()
    refetch_later: tuple[int, ...] = ()


def load_schedule(source: str | Path) -> Schedule:
    """The schedule of a path or shipped name.

    Raises
    ------
    ConfigError, WorkloadError
        The file is wrong, or its lists are not of the same layers.
    """
    file = spec.load(source, File, ROOM)
    tokens = tuple(part.share for part in file.tokens for _ in range(part.layers))
    heads = tuple(part.heads for part in file.heads for _ in range(part.layers))
    refetch = file.refetch
    lists = {"heads": heads}
    if refetch is not None:
        lists |= {"refetch.first": tuple(refetch.first), "refetch.later": tuple(refetch.later)}
    problems = [
        Problem(f"{len(found)} layers, {len(tokens)} under tokens", spec.place_of(file, path), path)
        for path, found in lists.items()
        if found and len(found) != len(tokens)
    ]
    if problems:
        raise WorkloadError(*problems)
    return Schedule(
        name=spec.origin(file).stem,
        tokens=tokens,
        heads=heads,
        values=file.values,
        bits=Bits(**file.bits.model_dump()),
        threshold=file.threshold,
        refetch_first=() if refetch is None else tuple(refetch.first),
        refetch_later=() if refetch is None else tuple(refetch.later),
    )


def dense(layers: int, bits: Bits = WHOLE) -> Schedule:
    """The schedule that prunes nothing."""
    return Schedule("none", (1.0,) * layers, (), 1.0, bits)


def kept(share: float, tokens: int) -> int:
    """Tokens that a share leaves: rounded down, at least one."""
    # A share such as 0.7 of 10 must not round down to 6.
    return max(1, int(np.floor(round(share * tokens, 9))))


def generated_rows(
    schedule: Schedule, layers: int, heads: int, depth: int, length: int, steps: int
) -> HeadRows:
    """Head rows of ``steps`` tokens generated one after another, one query each; the first one has ``length`` keys.

    Shares are of the longest sentence; the first step sees all tokens, as nothing is known of their importance yet,
    but already fetches its share of the values.

    Raises
    ------
    WorkloadError
        The schedule is for other layers, or keeps more heads than there are.
    """
    _check(schedule, layers, heads)
    longest = length + steps - 1
    table = []
    for step in range(steps):
        now = length + step
        for layer in range(layers):
            room = kept(schedule.tokens[layer], longest) if step else longest
            keys = min(now, room)
            values = min(keys, kept(schedule.values, room))
            table += [(step, layer, head, 0, now, keys, values) for head in _heads(schedule, layer, heads)]
    return _rows(schedule, np.array(table), depth, f"{schedule.name}, {steps} tokens generated")


def encoded_rows(
    schedule: Schedule, layers: int, heads: int, depth: int, length: int, queries: int, causal: bool
) -> HeadRows:
    """Head rows of whole sentences: every surviving token is a query of every surviving head.

    Raises
    ------
    WorkloadError
        The schedule is for other layers, keeps more heads than there are, or prunes behind a causal mask.
    """
    _check(schedule, layers, heads)
    if causal and min(schedule.tokens) < 1.0:
        raise WorkloadError("tokens of a causal sentence are pruned in generation only; -p causal=false")
    parts = []
    for layer in range(layers):
        alive = kept(schedule.tokens[layer], length)
        rows = np.arange(min(queries, alive), dtype=np.int64)
        keys = np.minimum(alive, length - queries + 1 + rows) if causal else np.full(len(rows), alive)
        values = np.maximum(1, np.floor(np.round(schedule.values * keys, 9)).astype(np.int64))
        for head in _heads(schedule, layer, heads):
            same = np.ones_like(rows)
            parts.append(np.stack([0 * rows, layer * same, head * same, rows, length * same, keys, values]))
    return _rows(
        schedule, np.concatenate(parts, axis=1).T, depth, f"{schedule.name}, {length} tokens at once"
    )


def _heads(schedule: Schedule, layer: int, heads: int) -> Iterator[int]:
    return iter(range(schedule.heads[layer] if schedule.heads else heads))


def _check(schedule: Schedule, layers: int, heads: int) -> None:
    if len(schedule.tokens) != layers:
        text = f"schedule {schedule.name} is for {len(schedule.tokens)} layers, there are {layers}"
        raise WorkloadError(Problem(text, path="-p pruning"))
    if schedule.heads and max(schedule.heads) > heads:
        raise WorkloadError(
            Problem(
                f"schedule {schedule.name} keeps {max(schedule.heads)} of {heads} heads", path="-p pruning"
            )
        )


def _rows(schedule: Schedule, table: npt.NDArray[np.int64], depth: int, provenance: str) -> HeadRows:
    columns = [np.ascontiguousarray(column) for column in table.T]
    step, layer, head, query, length, keys, values = columns
    refetch = np.full(len(table), schedule.bits.forced)
    for later, taken in enumerate((schedule.refetch_first, schedule.refetch_later)):
        _take_first(refetch, (step > 0) == bool(later), layer, taken)
    counts = (step, layer, head, query, length, keys, values)
    return HeadRows(*counts, refetch, depth, schedule.bits, provenance)


def _take_first(
    refetch: npt.NDArray[np.bool_],
    among: npt.NDArray[np.bool_],
    layer: npt.NDArray[np.int64],
    counts: Sequence[int],
) -> None:
    """Mark the first ``counts[l]`` rows of each layer l."""
    for number, count in enumerate(counts):
        refetch[np.flatnonzero(among & (layer == number))[:count]] = True
