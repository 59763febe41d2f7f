"""Ledgers of many design points as one table: the rows of a point after another, made by whole columns.

A row is one action of one point; actions that a point does not take, and infeasible points, have no rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dse.studies.columns import COMPONENT_COLUMNS, POINT
from dse.studies.rows import busy_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from dse.simulator.arrays import Array
    from dse.studies.batch import Group
    from dse.studies.grid import Codes

TEXTS = ("component", "einsum", "tensor", "action")
NUMBERS = ("count", "bytes", "energy_j", "busy_cycles")


class _Rows(NamedTuple):
    """Ledger rows of some points: the position of each row's point, codes of its texts, and its numbers."""

    positions: Codes
    texts: list[Codes]
    numbers: list[Array]


class Ledgers:
    """Gathers the ledgers of the points of a batch, called by their positions in it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._names: list[dict[str, int]] = [{} for _ in TEXTS]
        self._found: list[_Rows] = []

    def add(self, groups: Sequence[Group], rows: Codes, positions: Codes) -> None:
        """Take the ledgers of points: ``rows`` are their indices in the groups."""
        group_of = np.full(1 + max(index for group in groups for index in group.indices), -1, dtype=np.int64)
        place_of = group_of.copy()
        for number, group in enumerate(groups):
            indices = np.array(group.indices, dtype=np.int64)
            group_of[indices], place_of[indices] = number, np.arange(len(indices))
        for number, group in enumerate(groups):
            here = group_of[rows] == number
            if here.any():
                self._found.append(self._flat(group, place_of[rows[here]], positions[here]))

    def _flat(self, group: Group, places: Codes, positions: Codes) -> _Rows:
        """Rows of one group's points, those of a point together."""
        ledger = group.evaluation.ledger
        columns = places if group.evaluation.program.size > 1 else np.zeros_like(places)
        busy = busy_table(group, ledger)
        count = ledger.count[:, columns].T
        taken = (count != 0) & (group.evaluation.feasible[columns] == 0)[:, None]
        numbers = [count[taken]]
        numbers += [table[:, columns].T[taken] for table in (ledger.bytes, ledger.joules)]
        numbers.append((busy[:, places] if busy.shape[1] > 1 else busy[:, np.zeros_like(places)]).T[taken])
        point, action = np.nonzero(taken)
        texts = [
            np.array([names.setdefault(getattr(each, key), len(names)) for each in ledger.actions])[action]
            for key, names in zip(TEXTS, self._names, strict=True)
        ]
        return _Rows(positions[point], texts, numbers)

    def table(self, keys: Sequence[str]) -> pa.Table:
        """All rows, sorted by position; texts are dictionary-encoded."""
        import pyarrow as pa

        positions = np.concatenate([np.zeros(0, dtype=np.int64), *(rows.positions for rows in self._found)])
        order = None if _rising(positions) else np.argsort(positions, kind="stable")
        columns = {POINT: _encoded(positions if order is None else positions[order], keys)}
        for number, name in enumerate(TEXTS):
            codes = [np.zeros(0, dtype=np.int64), *(rows.texts[number] for rows in self._found)]
            columns[name] = _encoded(_joined(codes, order), list(self._names[number]))
        for number, name in enumerate(NUMBERS):
            values = [np.zeros(0), *(rows.numbers[number] for rows in self._found)]
            columns[name] = pa.array(_joined(values, order), pa.float64(), from_pandas=True)
        return pa.table({name: columns[name] for name in (POINT, *COMPONENT_COLUMNS)})


def _joined(parts: list[np.ndarray], order: Codes | None) -> np.ndarray:
    whole = np.concatenate(parts)
    return whole if order is None else whole[order]


def _rising(positions: Codes) -> bool:
    return bool((positions[1:] >= positions[:-1]).all())


def _encoded(codes: Codes, names: Sequence[str]) -> pa.DictionaryArray:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names, pa.string()))
