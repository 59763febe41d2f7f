"""A range of design points of one program: what every evaluation on arrays reads through."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from dse.errors import DseError
from dse.simulator.program import Sub, nodes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dse.simulator.arrays import Array, Mask
    from dse.simulator.program import Program, Unit

CHUNK = 16384
T = TypeVar("T")
_LARGE_BLOCK = 1 << 24


class Points:
    """Design points ``start`` to ``stop`` of a program, and what was already worked out at them.

    Ranges of ``CHUNK`` points keep the arrays in cache. Every operation is elementwise, so that the ranges
    change no bit of a result. What does not vary between points is kept from range to range.
    """

    __slots__ = ("_kept", "_memo", "_subs", "_views", "excused", "program", "start", "stop")

    def __init__(self, program: Program, start: int, stop: int, excused: Mask | None = None) -> None:
        self.program = program
        self.start = start
        self.stop = stop
        self.excused = excused
        self._views: dict[int, Array] = {}
        self._memo: dict[tuple[str, int], Any] = {}
        self._kept: dict[tuple[str, int], Any] = {}
        self._subs: dict[int, Points] = {}

    def ranges(self, chunk: int = CHUNK) -> Iterator[Points]:
        """Consecutive ranges that cover all points of the program."""
        size = self.program.size
        if size > chunk:
            _keep_freed_memory()
        for start in range(0, size, chunk):
            here = Points(self.program, start, min(start + chunk, size))
            here._kept = self._kept
            yield here

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
        known = self._views.get(id(values))
        if known is not None:
            return known
        here = self._views[id(values)] = self.at(values)
        if not np.minimum.reduce(here) >= 0:
            wrong = (here < 0) if unknown else ~(here >= 0)
            if self.excused is not None:
                wrong = wrong & ~self.excused
            if wrong.any():
                point = int(wrong.argmax())
                place = self.start + point if len(values) > 1 else 0
                value = here[min(point, len(here) - 1)]
                raise DseError(f"{what} of {name} is {value} at design point {place}")
        return here

    def once(self, what: str, node: object, work: Callable[[], T]) -> T:
        """Result of ``work``, done at most once for a node at these points."""
        return _remembered(self._memo, what, node, work)

    def keep(self, what: str, node: object, work: Callable[[], T]) -> T:
        """Result of ``work`` that holds for all points of the program, done at most once for a node."""
        return _remembered(self._kept, what, node, work)

    def inside(self, sub: Sub) -> Points:
        """The same points of the program inside a clock domain."""
        if id(sub) not in self._subs:
            found = Points(sub.program, self.start, self.stop, self.excused)
            found._kept = self._kept
            self._subs[id(sub)] = found
        return self._subs[id(sub)]

    def ratio(self, sub: Sub) -> Array:
        """Cycles of this program's clock in one cycle of the clock domain inside it."""
        return self.at(self.program.clock_hz) / self.at(sub.program.clock_hz)


@cache
def _keep_freed_memory() -> None:
    """Let the allocator keep freed arrays: freeing one large block raises glibc's limits for all later ones.

    Otherwise every range gives its memory back to the system and faults it in again, which takes longer
    than the arithmetic on it.
    """
    np.empty(_LARGE_BLOCK, np.uint8)


def _remembered(memory: dict[tuple[str, int], Any], what: str, node: object, work: Callable[[], T]) -> T:
    key = (what, id(node))
    if key not in memory:
        memory[key] = work()
    found: T = memory[key]
    return found


def all_units(program: Program, prefix: str = "") -> dict[str, Unit]:
    """Units of a program and of the clock domains inside it, these as ``domain/unit``."""
    units = {prefix + name: unit for name, unit in program.units.items()}
    for node in nodes_of(program.root):
        if isinstance(node, Sub):
            units |= all_units(node.program, f"{prefix}{node.name}/")
    return units
