"""How much storage a loop needs: the fewest iterations in flight that keep its busiest unit busy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dse.errors import DseError, nearest
from dse.simulator.bounds import costs
from dse.simulator.points import Points
from dse.simulator.program import Loop, Program, Sub, nodes_of
from dse.simulator.simulate import simulate

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class WindowSearch:
    """Simulated cycles per iteration by window, the resource bound, the smallest window near enough to it.

    ``window`` is None if no window up to the limit is.
    """

    window: int | None
    resource_cycles: float
    cycles: dict[int, float]


def smallest_window(
    program: Program, hold: str, point: int = 0, fraction: float = 0.95, limit: int = 64
) -> WindowSearch:
    """Smallest capacity of a hold at which its loop, simulated alone, is near enough to the resource bound.

    The resource bound is the work of the busiest unit divided by its servers; cycles per iteration include
    filling and draining over all iterations of the loop.

    Raises
    ------
    DseError
        If no loop has the hold, or the loop cannot be simulated.
    """
    loop, owner = _find(program, hold)
    points = Points(owner, point, point + 1)
    loop_costs = costs(loop, points)
    count = float(loop_costs.count[0])
    if not count > 0:
        raise DseError(f"the loop of hold {hold!r} has no iterations at design point {point}")
    terms = (loop_costs.unit_term(unit).middle for unit in loop_costs.plan.units)
    resource = max((float(term[0]) for term in terms), default=0.0) / count
    found: dict[int, float] = {}
    for window in range(1, limit + 1):
        holds = tuple(replace(h, capacity=float(window)) if h.name == hold else h for h in loop.holds)
        alone = Program(replace(loop, holds=holds), owner.units, owner.clock_hz)
        found[window] = simulate(alone, min(point, alone.size - 1)).cycles / count
        if resource >= fraction * found[window]:
            return WindowSearch(window, resource, found)
        if window >= count:
            break
    return WindowSearch(None, resource, found)


def _find(program: Program, hold: str) -> tuple[Loop, Program]:
    known = {h.name: (loop, owner) for loop, owner in _loops(program) for h in loop.holds}
    if hold not in known:
        raise DseError(f"no loop has a hold {hold!r}{nearest(hold, known)}")
    return known[hold]


def _loops(program: Program) -> Iterator[tuple[Loop, Program]]:
    for node in nodes_of(program.root):
        if isinstance(node, Sub):
            yield from _loops(node.program)
        elif isinstance(node, Loop):
            yield node, program
