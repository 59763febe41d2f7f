"""The ledger: what every action of every step costs, summing to the totals bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import Array, total
from dse.simulator.bounds import rows
from dse.simulator.points import Points

if TYPE_CHECKING:
    from dse.simulator.arrays import Mask
    from dse.simulator.program import Action, Program


@dataclass(frozen=True, eq=False)
class Ledger:
    """Actions in tree order (axis 0) at every design point (axis 1); infeasible points hold NaN.

    Added left to right, the rows of ``joules`` and ``bytes`` are the totals of the evaluation bit for bit.
    Steps of a child that a Choose did not take hold zero.
    """

    paths: tuple[str, ...]
    actions: tuple[Action, ...]
    count: Array
    bytes: Array
    joules: Array

    def __len__(self) -> int:
        return len(self.actions)

    def by(self, field: str, quantity: str = "bytes") -> dict[str, Array]:
        """One of count, bytes and joules, summed by ``component``, ``einsum``, ``tensor`` or ``action``."""
        groups: dict[str, list[int]] = {}
        for number, action in enumerate(self.actions):
            groups.setdefault(getattr(action, field), []).append(number)
        values = getattr(self, quantity)
        return {name: total(values[number] for number in numbers) for name, numbers in groups.items()}

    def at(self, point: int) -> list[dict[str, str | float]]:
        """Rows of one design point: path, component, einsum, tensor, action, count, bytes, joules."""
        return [
            {
                "path": path,
                "component": action.component,
                "einsum": action.einsum,
                "tensor": action.tensor,
                "action": action.action,
                "count": float(self.count[number, point]),
                "bytes": float(self.bytes[number, point]),
                "joules": float(self.joules[number, point]),
            }
            for number, (path, action) in enumerate(zip(self.paths, self.actions, strict=True))
        ]


def ledger_of(program: Program, infeasible: Mask) -> Ledger:
    """Ledger of a program at all of its design points, made range by range."""
    first = list(rows(program.root, Points(program, 0, 1, infeasible[:1])))
    tables = [np.empty((len(first), program.size)) for _ in range(3)]
    for points in Points(program, 0, 0).ranges():
        here = slice(points.start, points.stop)
        points.excused = infeasible[here]
        for number, row in enumerate(rows(program.root, points)):
            for table, values in zip(
                tables, (row.action.count, row.action.bytes, row.action.joules), strict=True
            ):
                each = points.checked(values, "an action", row.path, unknown=values is row.action.joules)
                np.multiply(row.runs, each, out=table[number, here])
    if infeasible.any():
        for table in tables:
            table[:, infeasible] = np.nan
    return Ledger(tuple(r.path for r in first), tuple(r.action for r in first), *tables)
