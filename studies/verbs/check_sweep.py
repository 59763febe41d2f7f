"""What ``dse check`` looks for in a ``sweep:`` section: axes that exist, and the files and mappers they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse import spec
from dse.errors import ConfigError, DseError, Problem, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dse.studies.sweep_file import Part

MACHINES = "arch"
NAMED = ("machine", "workload", "mapper")  # axes whose values are names


def sweep_problems(file: spec.Spec, path: Path) -> Iterator[Problem]:
    """What is wrong with the ``sweep:`` of a file: axes, and the machines, workloads and mappers they name."""
    from dse.studies.sweep_file import load_sweep

    for part in load_sweep(path)[0]:
        where = f"sweep.also.{part.name}" if part.name else "sweep"
        for one in _part_problems(part, where):
            yield Problem(one.message, one.place or spec.place_of(file, one.path), one.path)


def _part_problems(part: Part, where: str) -> list[Problem]:
    """What is wrong with the axes at a dotted path."""
    from dse.studies.sweep_file import check_axes

    axes = part.axes
    missing: list[Problem] = []
    for key in NAMED:
        uses = [
            (f"{name}.{key}", values[key])
            for name, values in (("set", axes.set), ("baseline", axes.baseline))
            if key in values
        ]
        uses += [(f"{key}[{i}]", name) for i, name in enumerate(getattr(axes, key))]
        for at, name in uses:
            missing += [Problem(message, path=f"{where}.{at}") for message in _not_there(key, name)]
    if not missing:
        try:
            check_axes(axes, part.names)
        except DseError as error:
            missing += error.problems
    return missing


def _not_there(key: str, name: str) -> list[str]:
    """Why a machine, workload or mapper of a sweep cannot be found."""
    from dse.mappers.choose import mappers
    from dse.workloads.load import room_of

    try:
        if key == "machine":
            spec.find(name, MACHINES)
        elif key == "workload":
            room_of(name)
        elif name not in mappers():
            return [f"no mapper '{name}'{nearest(name, mappers())}"]
    except ConfigError as error:
        return [one.message for one in error.problems]
    return []
