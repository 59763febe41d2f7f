"""Mappers by name: each takes a batch of design points and returns one mapping for each point.

A mapper is a module of this folder with ``choose(workload, machine, mapping, accounting, size) -> list[Mapping]``;
``size`` is the number of design points. One that searches a single problem for any objective has
``explore(search)``, too.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from dse.errors import ConfigError, Problem, nearest
from dse.simulator.lowering import check_taken

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from dse.arch.machine import Machine
    from dse.mappers.search.search import Search
    from dse.simulator.mapping import Mapping
    from dse.workloads.workload import Workload

DEFAULT = "paper"
_PARTS = {"__init__", "choose", "points", "space"}


def mappers() -> tuple[str, ...]:
    """Names of the mappers there are."""
    return tuple(sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem not in _PARTS))


def choose(
    mapper: str, workload: Workload, machine: Machine, mapping: Mapping, accounting: str, size: int
) -> list[Mapping]:
    """One mapping for each design point of the workload and machine.

    Raises
    ------
    ConfigError
        No such mapper.
    """
    check_taken(workload, mapping)
    found: list[Mapping] = _module(mapper).choose(workload, machine, mapping, accounting, size)
    return found


def explorer(mapper: str) -> Callable[[Search], None]:
    """The search of a mapper.

    Raises
    ------
    ConfigError
        No such mapper, or one that takes its mapping as given.
    """
    module = _module(mapper)
    if not hasattr(module, "explore"):
        raise ConfigError(
            Problem(f"'{mapper}' searches nothing: dse run evaluates its choice", path="mapper")
        )
    found: Callable[[Search], None] = module.explore
    return found


def _module(mapper: str) -> ModuleType:
    if mapper not in mappers():
        raise ConfigError(Problem(f"no mapper '{mapper}'{nearest(mapper, mappers())}", path="mapper"))
    return importlib.import_module(f"dse.mappers.{mapper}")
