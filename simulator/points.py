"""A range of design points of one program: what every evaluation on arrays reads through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dse.errors import DseError
from dse.simulator.program import Sub, nodes_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from dse.simulator.arrays import Array, Mask
    from dse.simulator.program import Program, Unit

CHUNK = 8192


class Points:
    """Design points ``start`` to ``stop`` of a program, and what was already worked out at them.

    Ranges of ``CHUNK`` points keep the arrays in cache. Every operation is elementwise, so that the ranges
    change no bit of a result.
    """

    __slots__ = ("_memo", "_subs", "excused", "program", "start", "stop")

    def __init__(self, program: Program, start: int, stop: int, excused: Mask | None = None) -> None:
        self.program = program
        self.start = start
        self.stop = stop
        self.excused = excused
        self._memo: dict[tuple[str, int], Any] = {}
        self._subs: dict[int, Points] = {}

    def at(self, values: Array) -> Array:
        """Values at these points: shape (1,) as it is, otherwise a view."""
        return values if len(values) == 1 else values[self.start : self.stop]

    def checked(self, values: Array, what: str, name: str, *, unknown: bool = False) -> Array:
        """Values at these points, none negative (points that are infeasible anyway may hold anything).

        With ``unknown``, NaN is allowed: it stands for an amount that no source gives.

        Raises
        ------
        DseError
            Naming the first point with a negative value or NaN.
        """
        here = self.at(values)
        if not np.minimum.reduce(here) >= 0:
            wrong = (here < 0) if unknown else ~(here >= 0)
            if self.excused is not None:
                wrong = wrong & ~self.excused
            if wrong.any():
                point = int(wrong.argmax())
                place = self.start + point if len(values) > 1 else 0
                raise DseError(
                    f"{what} of {name} is {here[min(point, len(here) - 1)]} at design point {place}"
                )
        return here

    def once(self, what: str, node: object, work: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Result of ``work``, done at most once for a node at these points."""
        key = (what, id(node))
        if key not in self._memo:
            self._memo[key] = work()
        return self._memo[key]

    def inside(self, sub: Sub) -> Points:
        """The same points of the program inside a clock domain."""
        if id(sub) not in self._subs:
            self._subs[id(sub)] = Points(sub.program, self.start, self.stop, self.excused)
        return self._subs[id(sub)]

    def ratio(self, sub: Sub) -> Array:
        """Cycles of this program's clock in one cycle of the clock domain inside it."""
        return self.at(self.program.clock_hz) / self.at(sub.program.clock_hz)


def ranges(size: int, chunk: int = CHUNK) -> list[tuple[int, int]]:
    """Consecutive (start, stop) pairs that cover ``size`` points."""
    return [(start, min(start + chunk, size)) for start in range(0, size, chunk)]


def all_units(program: Program, prefix: str = "") -> dict[str, Unit]:
    """Units of a program and of the clock domains inside it, these as ``domain/unit``."""
    units = {prefix + name: unit for name, unit in program.units.items()}
    for node in nodes_of(program.root):
        if isinstance(node, Sub):
            units |= all_units(node.program, f"{prefix}{node.name}/")
    return units
