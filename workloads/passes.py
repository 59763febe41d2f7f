"""Pass analysis: how often a cascade must traverse the fibers of a rank group, and what stays live.

A rank group is a rank or the parts of a partitioned one, outermost first (``m``, or ``(m1, m0)``; ``(m0,)``
is the tile level). An Einsum that iterates over the whole group is an *element* Einsum, over a part of it a
*summary*, over none of it *free*. A *barrier* lies between an operand that needs a whole fiber and the Einsum
that reads it: the number of passes is one more than the barriers on the longest chain of element Einsums. It
bounds every mapping of this cascade; rewriting the algebra gives another cascade. Modelled: dependencies and
carried ranks. Not modelled: whether the live tensors fit on chip, which decides between keeping, reading
again and recomputing them.

Source: the taxonomy of attention by passes of FuseMax (MICRO 2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING, Literal, TypeAlias

from dse.errors import WorkloadError, nearest
from dse.workloads.cascade import points

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.workloads.cascade import Access, Cascade, Einsum
    from dse.workloads.operators import Array

Kind: TypeAlias = Literal["element", "summary", "free"]
_HALF = Fraction(1, 2)


@dataclass(frozen=True, slots=True)
class EinsumPass:
    """One Einsum and the pass it belongs to; a half means between two passes, 0 before the first."""

    einsum: str
    kind: Kind
    level: float


@dataclass(frozen=True, slots=True)
class Live:
    """A tensor needed on both sides of a barrier: kept or recomputed, or an input read again.

    ``ranks`` are those of one instance of the group: at the tile level the outer tiles are left out.
    """

    tensor: str
    ranks: tuple[str, ...]
    reread: bool

    def elements(self, sizes: Mapping[str, Array]) -> Array:
        """Values to keep, or to read again, float64, one per design point."""
        return points(self.ranks, sizes)


@dataclass(frozen=True, slots=True)
class Barrier:
    """What is live after pass ``after``; ``summaries`` are the Einsums between this pass and the next."""

    after: int
    live: tuple[Live, ...]
    summaries: tuple[str, ...]

    def live_bytes(self, sizes: Mapping[str, Array], bytes_per_value: Mapping[str, float] | float) -> Array:
        """Bytes of the kept tensors (inputs read again are not kept); precision per tensor or one for all."""
        return _bytes([live for live in self.live if not live.reread], sizes, bytes_per_value)

    def reread_bytes(self, sizes: Mapping[str, Array], bytes_per_value: Mapping[str, float] | float) -> Array:
        """Bytes of the inputs read once more after this barrier."""
        return _bytes([live for live in self.live if live.reread], sizes, bytes_per_value)


@dataclass(frozen=True, slots=True)
class PassAnalysis:
    """Passes of a cascade over one rank group; ``dataclasses.asdict`` gives plain values for JSON."""

    cascade: str
    group: tuple[str, ...]
    passes: int
    einsums: tuple[EinsumPass, ...]
    barriers: tuple[Barrier, ...]

    @property
    def summaries(self) -> tuple[str, ...]:
        """Einsums over a part of the group that run between or after passes, in program order."""
        return tuple(row.einsum for row in self.einsums if row.kind == "summary" and row.level % 1)


def analyse_passes(cascade: Cascade, group: str | tuple[str, ...]) -> PassAnalysis:
    """Passes over a rank, a partitioned rank (by its whole name) or a tuple of ranks, outermost first.

    The inner ranks of a partition are analysed inside one pass of the level above: what waits for that
    level's barrier is its business, so ``live`` names only what one tile needs while it is being visited.
    ``barriers`` holds one entry per barrier between passes, and one after the last pass if summaries follow
    it.

    Raises
    ------
    WorkloadError
        A rank the cascade does not have, no rank at all, or a recurrence that crosses a barrier of the group.
    """
    ranks = _group(cascade, group)
    view = _view(cascade, ranks)
    passes = max(
        (floor(view.levels[name]) for name, kind in view.kinds.items() if kind == "element"), default=0
    )
    rows = tuple(EinsumPass(name, kind, float(view.levels[name])) for name, kind in view.kinds.items())
    barriers = tuple(_barrier(cascade, view, after) for after in range(1, passes + 1))
    if barriers and not barriers[-1].summaries:
        barriers = barriers[:-1]
    return PassAnalysis(cascade.name, ranks, passes, rows, barriers)


def rank_groups(cascade: Cascade) -> tuple[tuple[str, ...], ...]:
    """Groups worth analysing: each partitioned rank, its inner tile levels, then the other ranks."""
    groups: list[tuple[str, ...]] = []
    for parts in cascade.partition.values():
        groups += [parts[start:] for start in range(len(parts))]
    split = {part for parts in cascade.partition.values() for part in parts}
    return (*groups, *((rank,) for rank in cascade.ranks if rank not in split))


def _group(cascade: Cascade, group: str | tuple[str, ...]) -> tuple[str, ...]:
    ranks = cascade.partition.get(group, (group,)) if isinstance(group, str) else group
    if not ranks:
        raise WorkloadError("a rank group needs at least one rank")
    for rank in ranks:
        if rank not in cascade.ranks:
            known = [*cascade.ranks, *cascade.partition]
            raise WorkloadError(f"cascade '{cascade.name}' has no rank '{rank}'{nearest(rank, known)}")
    return ranks


def _kind(einsum: Einsum, group: tuple[str, ...]) -> Kind:
    covered = [rank in einsum.ranks for rank in group]
    if all(covered):
        return "element"
    return "summary" if any(covered) else "free"


@dataclass(frozen=True, slots=True)
class _View:
    """Levels of all Einsums for one group; ``visits`` are their levels at the partition level above, or 0."""

    group: tuple[str, ...]
    kinds: Mapping[str, Kind]
    visits: Mapping[str, Fraction]
    levels: Mapping[str, Fraction]


def _view(cascade: Cascade, group: tuple[str, ...]) -> _View:
    kinds = {einsum.name: _kind(einsum, group) for einsum in cascade.einsums}
    above = next((p[p.index(group[0]) - 1 :] for p in cascade.partition.values() if group[0] in p[1:]), None)
    visits: Mapping[str, Fraction] = dict.fromkeys(kinds, Fraction(0))
    if above and group == above[1:]:
        visits = _view(cascade, above).levels
    levels: dict[str, Fraction] = {}
    for visit in sorted(set(visits.values())):
        base = max(levels.values(), default=Fraction(0))
        levels |= _levels(
            cascade, [e for e in cascade.einsums if visits[e.name] == visit], kinds, group, base
        )
    return _View(group, kinds, visits, levels)


def _levels(
    cascade: Cascade, einsums: list[Einsum], kinds: Mapping[str, Kind], group: tuple[str, ...], base: Fraction
) -> dict[str, Fraction]:
    """Smallest level of Einsums that start after ``base``; a fixpoint, as carried tensors are read early."""
    least = {e.name: Fraction(floor(base) + 1) if kinds[e.name] == "element" else base for e in einsums}
    levels = dict(least)
    changed = True
    while changed:
        changed = False
        for einsum in einsums:
            found = [_after(cascade, group, kinds[einsum.name], access, levels) for access in einsum.operands]
            level = max([levels[einsum.name], *found])
            if level > base + len(einsums) + 1:
                raise WorkloadError(
                    f"'{einsum.name}' carries a rank through a barrier of ({', '.join(group)}): "
                    "it is not the outermost rank there, so the passes grow with its size"
                )
            changed = changed or level > levels[einsum.name]
            levels[einsum.name] = level
    return levels


def _after(
    cascade: Cascade, group: tuple[str, ...], kind: Kind, access: Access, levels: Mapping[str, Fraction]
) -> Fraction:
    """Earliest level of an Einsum of this kind that reads ``access``."""
    carried = cascade.carried.get(access.tensor)
    # An earlier iteration of a rank outside the group is another fiber, finished before this one starts.
    earlier = carried is not None and carried.rank not in group and cascade.distance(access) > 0
    if earlier or access.tensor not in levels:
        return Fraction(0)
    level = levels[access.tensor]
    # A tensor with the outermost rank of the group is available tile by tile; without it, only as a whole.
    streams = group[0] in access.ranks
    if kind == "element":
        return Fraction(ceil(level)) if streams else Fraction(floor(level) + 1)
    return floor(level) + _HALF if kind == "summary" and not streams else level


def _barrier(cascade: Cascade, view: _View, after: int) -> Barrier:
    outer = {rank for parts in cascade.partition.values() for rank in parts[: _start(parts, view.group)]}
    live = []
    for tensor, ranks in cascade.tensors.items():
        if set(ranks) & set(view.group) and _crosses(cascade, view, tensor, after):
            kept = tuple(rank for rank in ranks if rank not in outer)
            live.append(Live(tensor, kept, reread=tensor in cascade.inputs))
    between = [
        name for name, kind in view.kinds.items() if kind == "summary" and view.levels[name] == after + _HALF
    ]
    return Barrier(after, tuple(live), tuple(between))


def _crosses(cascade: Cascade, view: _View, tensor: str, after: int) -> bool:
    """Whether a tensor is there by pass ``after`` and read later, in the same visit of the level above."""
    readers = [e.name for e in cascade.einsums for o in e.operands if o.tensor == tensor and not o.last]
    later = {view.visits[name] for name in readers if view.levels[name] > after}
    makers = readers if tensor in cascade.inputs else [tensor]
    return any(view.visits[name] in later for name in makers if view.levels[name] <= after)


def _start(parts: tuple[str, ...], group: tuple[str, ...]) -> int:
    return parts.index(group[0]) if group[0] in parts else 0


def _bytes(
    live: list[Live], sizes: Mapping[str, Array], bytes_per_value: Mapping[str, float] | float
) -> Array:
    total = points((), sizes) * 0.0
    for item in live:
        width = bytes_per_value if isinstance(bytes_per_value, (int, float)) else bytes_per_value[item.tensor]
        total = total + item.elements(sizes) * width
    return total
