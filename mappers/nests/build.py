"""Parts of a space of loop nests: one for each way to fuse a cascade's Einsums on a machine."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import ConfigError, Problem
from dse.mappers.nests.part import NestPart, Setting, axes_of
from dse.simulator.loop_nest.hierarchy import hierarchy_of
from dse.simulator.loop_nest.plan import Conventions
from dse.simulator.loop_nest.problem import problem_of_workload
from dse.workloads.cascade_file import load_cascade

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.arch.machine import Machine
    from dse.mappers.space import NestsFile
    from dse.workloads.workload import Workload


def nest_parts(file: NestsFile, workload: Workload, machine: Machine) -> Iterator[NestPart]:
    """All ways to fuse neighbouring Einsums that a space allows.

    Raises
    ------
    ConfigError
        The machine has no memories and units that loops could be mapped to, or no cascade is named.
    """
    setting = _setting(file, workload, machine)
    names = tuple(shape.name for shape in setting.problem.shapes)
    for groups in _fusions(names, file.fusion):
        axes = axes_of(setting, groups, [str(window) for window in file.windows], file.tiles)
        empty = [axis.name for axis in axes if not axis.choices]
        if empty:
            what = ", ".join(name.removeprefix("array.") for name in empty)
            raise ConfigError(
                Problem(f"no unit of {machine.name} has the operations of {what}", path="nests")
            )
        yield NestPart(setting, groups, axes)


def _setting(file: NestsFile, workload: Workload, machine: Machine) -> Setting:
    from dse.arch.spatial_array import SpatialArray

    name = workload.cascade or file.cascade
    if not name:
        message = f"{workload.name} may run several cascades: name one here, or with -p cascade="
        raise ConfigError(Problem(message, path="nests.cascade"))
    if not isinstance(machine, SpatialArray):
        raise ConfigError(
            Problem(f"{machine.name} is a {machine.kind}; loop nests need a spatial_array", path="nests")
        )
    hierarchy = hierarchy_of(machine)
    if len(hierarchy.memories) != 2:
        known = ", ".join(hierarchy.names)
        message = f"the search tiles for one memory on the chip; {machine.name} has {known}"
        raise ConfigError(Problem(message, path="nests"))
    parts = {rank: np.array([float(size)]) for rank, size in file.parts.items()}
    problem = problem_of_workload(workload, load_cascade(name), parts)
    chosen = Conventions() if file.conventions is None else Conventions(**file.conventions.model_dump())
    return Setting(workload, machine, problem, hierarchy, chosen, {r: int(s) for r, s in file.parts.items()})


def _fusions(names: tuple[str, ...], fusion: str) -> Iterator[tuple[tuple[str, ...], ...]]:
    """Groups of neighbours: all together first, each alone last."""
    if fusion == "full":
        yield (names,)
        return
    for count in range(len(names)):
        for cuts in itertools.combinations(range(1, len(names)), count):
            if fusion == "none" and count < len(names) - 1:
                continue
            ends = (0, *cuts, len(names))
            yield tuple(names[a:b] for a, b in itertools.pairwise(ends))
