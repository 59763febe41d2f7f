"""What an interpreter session reports, in program order; the base class listens to nothing.

Handles are the interpreter's own values: ``data`` is a numpy array, ``dtype`` a triton type.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

Grid = tuple[int, int, int]


class Handle(Protocol):
    """A value in the interpreter."""

    data: npt.NDArray[Any]
    dtype: Any
    attr: dict[str, Any]


LOADED = "dse_loaded"


class Observer:
    """Receives what a kernel does; methods left alone ignore it.

    With ``follows_loads``, every value computed from a loaded one carries the attribute ``LOADED``.
    """

    follows_loads = False

    def begin_launch(self, kernel: str, file: str, arguments: Mapping[str, object], grid: Grid) -> None:
        """A kernel from ``file`` is about to run; tensors among its ``arguments`` are on the host."""

    def configure(self, kernel: str, configurations: Sequence[str]) -> int:
        """An autotuned kernel is to be launched; the number of the configuration it takes, 0 by default."""
        return 0

    def programs(self, grid: Grid) -> Iterable[Grid]:
        """Programs to run, in order; all of them, the last grid dimension fastest."""
        x, y, z = (range(size) for size in grid)
        return product(x, y, z)

    def begin_program(self, place: Grid) -> None:
        """A program starts."""

    def end_program(self) -> None:
        """The program has ended."""

    def end_launch(self) -> None:
        """All programs have run."""

    def begin_loop(self, count: int) -> Iterable[int]:
        """A loop of ``count`` iterations starts; the numbers of those to run, all by default."""
        return range(count)

    def control(self, value: Handle) -> None:
        """A branch or the bound of a loop depends on ``value``."""

    def begin_trip(self, trip: int) -> None:
        """An iteration of the innermost loop starts."""

    def end_loop(self, trips: int) -> None:
        """The innermost loop has ended after ``trips`` iterations."""

    def memory(self, kind: str, pointers: Handle, mask: Handle | None) -> None:
        """A ``load``, ``store`` or ``atomic`` of the ``pointers`` that ``mask`` (None: all) leaves."""

    def dot(self, left: Handle, right: Handle, result: Handle) -> None:
        """A matrix product."""

    def select(self, condition: Handle, result: Handle) -> None:
        """A choice between two tensors, lane by lane."""

    def reduction(self, kind: str, operator: str, operand: Handle, axis: int | None) -> None:
        """A ``reduce`` or ``scan`` of ``operand`` along ``axis`` (None: over all)."""

    def operation(self, operator: str, operand: Handle, result: Handle) -> None:
        """Any other operation that computes; ``operand`` is its first."""
