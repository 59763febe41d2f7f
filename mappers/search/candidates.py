"""Spaces of candidates: parts with named axes, what a candidate measures, constraints, and how many there are.

A candidate is a row of indices, one for each axis of its part. Leading ``structural`` axes decide what is built (which
loops, which unit, what is kept where); those after them are numbers, evaluated together as arrays. Parts hold what has
different axes: another mapping, another cascade.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping as Dict

    from dse.arch.machine import Machine
    from dse.simulator.arrays import Array, Mask
    from dse.simulator.mapping import Mapping
    from dse.workloads.workload import Workload

Codes: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True)
class Axis:
    """One decision of a space and what it may be, in the order in which an exhaustive search tries it."""

    name: str
    choices: tuple[str | float, ...]


@dataclass(frozen=True)
class Measures:
    """What candidates cost: arrays of shape (n,), infinite where infeasible.

    ``reason`` is 0 where a candidate is feasible, else 1 + an index of ``reasons``; ``excess`` is then demand over
    bound of the constraint, infinite where it is no matter of size.
    """

    seconds: Array
    joules: Array
    onchip_bytes: Array
    area_m2: Array
    reason: NDArray[np.int16]
    reasons: tuple[str, ...]
    excess: Array


class Part(Protocol):
    """Candidates that share their axes."""

    @property
    def name(self) -> str:
        """What tells this part from others."""

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Decisions, structural ones first."""

    @property
    def structural(self) -> int:
        """How many leading axes decide what is built."""

    def measure(self, codes: Codes) -> Measures:
        """Costs of candidates, one for each row of ``codes``."""

    def point(self, code: Codes) -> tuple[Workload, Machine, Mapping]:
        """The design point of one candidate."""


@dataclass(frozen=True)
class Space:
    """All candidates of a search: parts, and combinations of choices that are forbidden."""

    parts: tuple[Part, ...]
    forbid: tuple[Dict[str, str | float], ...] = ()

    def allowed(self, part: Part, codes: Codes) -> Mask:
        """Which candidates no forbidden combination matches."""
        found = np.ones(len(codes), dtype=bool)
        for rule in self.forbid:
            columns = _columns(part, rule)
            if columns is not None:
                found &= ~np.logical_and.reduce([codes[:, axis] == choice for axis, choice in columns])
        return found

    def sizes(self) -> tuple[int, ...]:
        """Candidates of each part, forbidden ones left out."""
        return tuple(_count(part, [_columns(part, rule) for rule in self.forbid]) for part in self.parts)

    @property
    def size(self) -> int:
        """Candidates there are."""
        return sum(self.sizes())


def rejected(size: int, why: str) -> Measures:
    """Candidates that cannot be built."""
    never = np.full(size, np.inf)
    return Measures(never, never, never, never, np.ones(size, dtype=np.int16), (why,), never)


def joined(parts: list[Measures], places: list[Codes]) -> Measures:
    """Measures of several structures in the order of the candidates."""
    order = np.argsort(np.concatenate(places), kind="stable")
    reasons = tuple(dict.fromkeys(reason for part in parts for reason in part.reasons))

    def column(name: str) -> Array:
        found: Array = np.concatenate([getattr(part, name) for part in parts])[order]
        return found

    codes = []
    for part in parts:
        table = np.array([0, *(1 + reasons.index(reason) for reason in part.reasons)], dtype=np.int16)
        codes.append(table[part.reason])
    return Measures(
        seconds=column("seconds"),
        joules=column("joules"),
        onchip_bytes=column("onchip_bytes"),
        area_m2=column("area_m2"),
        reason=np.concatenate(codes)[order],
        reasons=reasons,
        excess=column("excess"),
    )


def choices_of(part: Part, code: Codes) -> dict[str, str | float]:
    """What a candidate chose on each axis."""
    return {axis.name: axis.choices[index] for axis, index in zip(part.axes, code, strict=True)}


def grid(lengths: tuple[int, ...], start: int, stop: int) -> Codes:
    """Rows ``start`` to ``stop`` of all combinations of indices below ``lengths``; the last column varies fastest."""
    flat = np.arange(start, stop, dtype=np.intp)
    columns = np.unravel_index(flat, lengths) if lengths else ()
    return np.stack(columns, axis=1) if lengths else np.zeros((stop - start, 0), dtype=np.intp)


def _columns(part: Part, rule: Dict[str, str | float]) -> list[tuple[int, int]] | None:
    """A forbidden combination as (axis, choice) indices; None if this part has no such choice."""
    names = [axis.name for axis in part.axes]
    found = []
    for name, choice in rule.items():
        if name not in names or choice not in part.axes[names.index(name)].choices:
            return None
        axis = names.index(name)
        found.append((axis, part.axes[axis].choices.index(choice)))
    return found


def _count(part: Part, rules: list[list[tuple[int, int]] | None]) -> int:
    """All combinations less the forbidden ones, by inclusion and exclusion."""
    lengths = [len(axis.choices) for axis in part.axes]
    held = [rule for rule in rules if rule]
    total = 0
    for taken in range(len(held) + 1):
        for some in itertools.combinations(held, taken):
            fixed: dict[int, set[int]] = {}
            for axis, choice in itertools.chain.from_iterable(some):
                fixed.setdefault(axis, set()).add(choice)
            free = [0 if len(fixed.get(a, ())) > 1 else 1 if a in fixed else n for a, n in enumerate(lengths)]
            total += (-1) ** taken * math.prod(free)
    return total
