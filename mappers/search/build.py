"""The space of one problem: what a space file allows, narrowed by its constraints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse import spec
from dse.errors import ConfigError, Problem, nearest
from dse.mappers.nests.build import nest_parts
from dse.mappers.search.candidates import Axis, Space
from dse.mappers.search.option_space import CASCADE, OptionPart
from dse.mappers.space import NestsFile, SpaceFile, blocks, has_space, load_space, numbers_of, options_of
from dse.simulator.arrays import product
from dse.simulator.loop_nest.mapping import KIND, ConventionsFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.arch.machine import Machine
    from dse.mappers.nests.part import NestPart
    from dse.simulator.mapping import Mapping
    from dse.workloads.workload import Workload


def space_file(mapping: Mapping) -> SpaceFile:
    """The space shipped under a mapping's name; else all loop nests, or the mapping alone.

    Options without a space are left as they are: some say how to count, not what the machine does.
    """
    if has_space(mapping):
        return load_space(mapping.name)
    if mapping.file.kind == KIND:
        conventions = ConventionsFile(**mapping.file.conventions.model_dump())
        return SpaceFile(
            title="loop nests", source="the mapping itself", nests=NestsFile(conventions=conventions)
        )
    return SpaceFile(
        title=mapping.name,
        source="the mapping itself",
        mapping=str(mapping.path),
        options={name: [choice] for name, choice in mapping.choices.items()},
    )


def space_of(workload: Workload, machine: Machine, accounting: str, file: SpaceFile) -> Space:
    """All candidates a space file allows for one problem.

    Raises
    ------
    ConfigError
        The file names a mapping, option, choice or axis there is not, or leaves nothing.
    """
    files = list(_with_alternatives(file, set()))
    parts = tuple(part for each in files for part in _parts(each, workload, machine, accounting))
    problems = [problem for each in files for problem in _misnamed(each, parts)]
    if problems:
        raise ConfigError(*problems)
    rules = [dict(_typed(rule, parts)) for each in files for rule in each.forbid]
    return Space(parts, tuple(rules))


def _with_alternatives(file: SpaceFile, seen: set[str]) -> Iterator[SpaceFile]:
    """A space and those searched beside it, each once."""
    yield file
    for name in file.alternatives:
        if name in seen:
            raise ConfigError(
                Problem(f"'{name}' is listed twice", spec.place_of(file, "alternatives"), "alternatives")
            )
        seen.add(name)
        yield from _with_alternatives(load_space(name), seen)


def _parts(
    file: SpaceFile, workload: Workload, machine: Machine, accounting: str
) -> Iterator[OptionPart | NestPart]:
    """The candidates of one file."""
    if file.nests is None:
        yield _option_part(file, workload, machine, accounting)
        return
    for part in nest_parts(file.nests, workload, machine):
        yield part.narrowed(tuple(_narrowed(file, axis) for axis in part.axes))


def _option_part(file: SpaceFile, workload: Workload, machine: Machine, accounting: str) -> OptionPart:
    """Options and numbers of the mapping a file names."""
    axes = [Axis(name, tuple(choices)) for name, choices in options_of(file).items()]
    if file.cascades:
        axes.append(Axis(CASCADE, tuple(file.cascades)))
    structural = len(axes)
    axes += [Axis(name, tuple(map(float, values))) for name, values in numbers_of(file).items()]
    if file.blocks == "doubling" and workload.sizes:
        tile = machine.units["array_1d"].axes["lanes"] if hasattr(machine, "units") else np.ones(1)
        queries = product(workload.sizes["p"], workload.sizes["g"])
        axes.append(Axis("block", tuple(blocks(file, float(tile[0]), float(queries[0])).tolist())))
    return OptionPart(
        name=file.mapping,
        axes=tuple(_narrowed(file, axis) for axis in axes),
        structural=structural,
        workload=workload,
        machine=machine,
        accounting=accounting,
    )


def _narrowed(file: SpaceFile, axis: Axis) -> Axis:
    """An axis with what is fixed or out of range left out."""
    choices = axis.choices
    if axis.name in file.fix:
        kept = file.fix[axis.name]
        texts = [kept] if isinstance(kept, str) else kept
        choices = tuple(choice for choice in choices if any(_matches(choice, text) for text in texts))
    bounds = file.range.get(axis.name)
    if bounds is not None:
        most = np.inf if bounds.most is None else bounds.most
        choices = tuple(choice for choice in choices if bounds.least <= float(choice) <= most)
    if not choices:
        rule = f"fix.{axis.name}" if axis.name in file.fix else f"range.{axis.name}"
        allowed = ", ".join(f"{choice:g}" if isinstance(choice, float) else choice for choice in axis.choices)
        raise ConfigError(Problem(f"leaves nothing of {allowed}", spec.place_of(file, rule), rule))
    return Axis(axis.name, choices)


def _matches(choice: str | float, text: str) -> bool:
    return choice == text or (isinstance(choice, float) and f"{choice:.0f}" == text)


def _misnamed(file: SpaceFile, parts: tuple[OptionPart | NestPart, ...]) -> list[Problem]:
    """Constraints on axes that no part has, and forbidden choices nobody offers."""
    names = {axis.name: axis for part in parts for axis in part.axes}
    numeric = {axis.name for axis in names.values() if isinstance(axis.choices[0], float)}
    found = [(f"fix.{name}", name) for name in file.fix if name not in names]
    found += [(f"range.{name}", name) for name in file.range if name not in numeric]
    found += [("forbid", name) for rule in file.forbid for name in rule if name not in names]
    return [
        Problem(f"there is no axis '{name}'{nearest(name, names)}", spec.place_of(file, path), path)
        for path, name in found
    ]


def _typed(
    rule: dict[str, str], parts: tuple[OptionPart | NestPart, ...]
) -> Iterator[tuple[str, str | float]]:
    """A forbidden combination with its choices as the axes hold them."""
    for name, text in rule.items():
        offered = [
            choice for part in parts for axis in part.axes if axis.name == name for choice in axis.choices
        ]
        yield name, next((choice for choice in offered if _matches(choice, text)), text)
