"""A search as a mapper of sweeps: one search for each design point of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.errors import ConfigError, Problem
from dse.mappers.search.build import space_file, space_of
from dse.mappers.search.objective import Objective
from dse.mappers.search.option_space import CASCADE
from dse.mappers.search.search import Limits, Search, StopSearch
from dse.simulator.stack import take

if TYPE_CHECKING:
    from collections.abc import Callable

    from dse.arch.machine import Machine
    from dse.mappers.search.candidates import Space
    from dse.simulator.mapping import Mapping
    from dse.workloads.workload import Workload


def chooser(
    explore: Callable[[Search], None], budget: int | None
) -> Callable[[Workload, Machine, Mapping, str, int], list[Mapping]]:
    """``choose`` of a mapper that explores each point's space for latency, with a budget of candidates."""

    def choose(
        workload: Workload, machine: Machine, mapping: Mapping, accounting: str, size: int
    ) -> list[Mapping]:
        found = []
        for point in range(size):
            here = take(workload, [point]), take(machine, [point])
            space = space_of(*here, accounting, space_file(mapping))
            _refuse_cascades(space)
            search = Search(space, Objective(("latency",)), Limits(budget))
            run(explore, search)
            best = search.best
            found.append(mapping if best is None else best.part.point(best.code)[2])
        return found

    return choose


def _refuse_cascades(space: Space) -> None:
    """Raise if candidates run different cascades under one mapping: a sweep's points keep theirs.

    Raises
    ------
    ConfigError
        Names the axis.
    """
    if any(axis.name == CASCADE for part in space.parts for axis in part.axes):
        raise ConfigError(Problem("a sweep does not choose among cascades of one mapping", path="cascades"))


def run(explore: Callable[[Search], None], search: Search) -> None:
    """Explore until the space or a limit is exhausted; an interrupted search keeps what it has."""
    try:
        explore(search)
    except StopSearch:
        pass
    except KeyboardInterrupt:
        search.stopped = "interrupt"
