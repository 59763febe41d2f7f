"""Head rows: what a pruning accelerator computes one after another, each one query of one head over its keys.

Modelled: keys and values fetched, bits of each, rows whose low-order bits are fetched again, positions of what
survives, the quantised probabilities in order of arrival. Rows of one group (a step and a layer) may overlap; groups
follow one another, as layers and tokens depend on each other. Not modelled: how the rows were chosen; builders are in
``pruning`` and ``pruned_scores``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.errors import Problem, WorkloadError

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]

_COUNTS = ("step", "layer", "head", "query", "length", "keys", "values")


@dataclass(frozen=True, slots=True)
class Bits:
    """Bits of one element; ``lsb`` more of each key where a row needs them, 0 for keys that are whole at once.

    With ``forced`` every row fetches its low-order bits and is computed twice.
    """

    key: int
    value: int
    query: int
    lsb: int = 0
    forced: bool = False


@dataclass(frozen=True, eq=False)
class Selection:
    """Keys and values that rows compute with, of those they fetch, where another rule than top-k chooses.

    By ``rule`` threshold values of small probability are skipped; by search a greedy search of so many ``iterations``
    proposes the keys whose scores are computed, and only values of probabilities near the largest are used. Arrays
    have shape (rows,).
    """

    rule: str
    scored: Ints
    weighted: Ints
    iterations: Ints


@dataclass(frozen=True, eq=False)
class HeadRows:
    """Rows in the order a machine takes them; arrays of shape (rows,).

    ``length`` is the sentence's, ``keys`` are those that survived, ``values`` those whose value is fetched: fewer
    than keys where a local top-k chooses. ``key_indices`` and ``value_indices`` are positions in the sentence,
    ascending; ``streams`` the quantised probabilities of the keys, in their order. None where only counts are known.
    """

    step: Ints
    layer: Ints
    head: Ints
    query: Ints
    length: Ints
    keys: Ints
    values: Ints
    refetch: npt.NDArray[np.bool_]
    depth: int
    bits: Bits
    provenance: str
    key_indices: tuple[Ints, ...] | None = None
    value_indices: tuple[Ints, ...] | None = None
    streams: tuple[npt.NDArray[Any], ...] | None = None
    selection: Selection | None = None
    group: Ints = field(init=False)

    def __post_init__(self) -> None:
        problems = list(_faults(self))
        if problems:
            raise WorkloadError(*problems)
        changed = (np.diff(self.step) != 0) | (np.diff(self.layer) != 0)
        object.__setattr__(self, "group", np.concatenate([[0], np.cumsum(changed)]).astype(np.int64))

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def scored(self) -> Ints:
        """Keys whose scores are computed."""
        return self.keys if self.selection is None else self.selection.scored

    @property
    def weighted(self) -> Ints:
        """Values that are multiplied by a probability."""
        return self.values if self.selection is None else self.selection.weighted

    @property
    def passes(self) -> Ints:
        """Times each row's scores are computed: twice where low-order bits are fetched."""
        return 1 + self.refetch.astype(np.int64)

    @property
    def key_bytes(self) -> Floats:
        """Bytes of the keys of each row, low-order bits not included."""
        return self.keys.astype(np.float64) * (self.depth * self.bits.key / 8.0)

    @property
    def lsb_bytes(self) -> Floats:
        """Bytes of low-order bits that each row fetches again."""
        return (self.keys * self.refetch).astype(np.float64) * (self.depth * self.bits.lsb / 8.0)

    @property
    def value_bytes(self) -> Floats:
        """Bytes of the values of each row."""
        return self.values.astype(np.float64) * (self.depth * self.bits.value / 8.0)

    @property
    def query_bytes(self) -> float:
        """Bytes of one query."""
        return self.depth * self.bits.query / 8.0

    @property
    def flops(self) -> Floats:
        """Multiply-adds x 2 of each row, those of a second pass included."""
        return (2.0 * self.depth) * (self.scored * self.passes + self.weighted).astype(np.float64)


def _faults(rows: HeadRows) -> list[Problem]:
    count = len(rows.keys)
    found = [
        Problem(f"{name} has {len(getattr(rows, name))} numbers for {count} head rows")
        for name in (*_COUNTS, "refetch")
        if len(getattr(rows, name)) != count
    ]
    if found or not count:
        return found or [Problem("there are no head rows")]
    if (rows.keys < 1).any() or (rows.values < 1).any() or (rows.values > rows.keys).any():
        found.append(Problem("each head row needs a key, and no more values than keys"))
    if (rows.keys > rows.length).any():
        found.append(Problem("a head row has more keys than its sentence has tokens"))
    if rows.refetch.any() and not rows.bits.lsb:
        found.append(Problem("rows fetch low-order bits that the keys do not have"))
    if given := rows.selection:
        parts = (given.scored, given.weighted, given.iterations)
        if any(len(part) != count for part in parts) or (given.scored > rows.keys).any():
            found.append(Problem("a selection does not fit the head rows"))
        elif (given.weighted > np.minimum(given.scored, rows.values)).any() or min(map(np.min, parts)) < 0:
            found.append(Problem("a selection uses values that are not there"))
    expected = {"key_indices": rows.keys, "value_indices": rows.values, "streams": rows.keys}
    for name, counts in expected.items():
        there = getattr(rows, name)
        if there is not None and [len(one) for one in there] != counts.tolist():
            found.append(Problem(f"{name} do not have the numbers of the head rows"))
    return found
