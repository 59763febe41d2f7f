"""Design points by the batch: requests are resolved once each, grouped by structure, and evaluated on arrays.

A request names a machine, a workload and how to map and count; a row holds everything `docs/formats.md` lists for one
design point. Rows come back in the order of the requests and do not depend on how they were grouped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dse.arch.machine import Machine, load_machine
from dse.errors import ConfigError, Problem
from dse.mappers.choose import DEFAULT, choose
from dse.simulator.evaluate import Evaluation, evaluate
from dse.simulator.lowering import Lowered, lower
from dse.simulator.mapping import Mapping, load_mapping
from dse.simulator.stack import stack, structure, take
from dse.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dse.workloads.workload import Workload

Pairs = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Request:
    """One design point as asked for: names and text, nothing resolved."""

    machine: str
    workload: str
    parameters: Pairs = ()
    overrides: Pairs = ()
    accounting: str = "physical"
    mapper: str = DEFAULT
    mapping: str | None = None
    options: Pairs = ()


@dataclass(frozen=True)
class Group:
    """Requests evaluated together: their indices, what they share, and their evaluation."""

    indices: tuple[int, ...]
    accounting: str
    workload: Workload
    machine: Machine
    mappings: tuple[Mapping, ...]
    lowered: Lowered
    evaluation: Evaluation

    def column(self, point: int) -> int:
        """Index of one of the group's points in its evaluation, which has one point where all are alike."""
        return point if self.evaluation.program.size > 1 else 0

    @property
    def error_bar(self) -> str | None:
        """How far results of this kind are known to be from published ones; None if nothing is known."""
        paper = self.mappings[0].file.paper
        return paper.error if self.accounting == "paper" and paper is not None else None


@dataclass
class Resolver:
    """Files and parameters resolved once each, however many requests name them."""

    machines: dict[Any, Machine] = field(default_factory=dict)
    workloads: dict[Any, Workload] = field(default_factory=dict)
    mappings: dict[Any, Mapping] = field(default_factory=dict)

    def machine(self, request: Request) -> Machine:
        """Machine of a request, overrides applied."""
        key = (request.machine, request.overrides)
        if key not in self.machines:
            self.machines[key] = load_machine(request.machine, dict(request.overrides))
        return self.machines[key]

    def workload(self, request: Request) -> Workload:
        """Workload of a request at its parameters."""
        key = (request.workload, request.parameters)
        if key not in self.workloads:
            self.workloads[key] = load_workload(request.workload, dict(request.parameters))
        return self.workloads[key]

    def mapping(self, request: Request) -> Mapping:
        """Mapping a request names, or its machine's default, options applied."""
        key = (request.mapping or self.machine(request).mapping, request.options)
        if key not in self.mappings:
            self.mappings[key] = load_mapping(key[0], dict(request.options))
        return self.mappings[key]


def evaluate_requests(requests: Sequence[Request], resolver: Resolver | None = None) -> list[Group]:
    """Evaluation of every request, in groups of one structure.

    Raises
    ------
    DseError
        A file or parameter is wrong, or a mapping does not fit; all requests with such problems together.
    """
    resolver = resolver or Resolver()
    by_structure: dict[Any, list[int]] = {}
    problems: dict[Problem, type] = {}
    for index, request in enumerate(requests):
        try:
            key = (
                structure(resolver.machine(request)),
                structure(resolver.workload(request)),
                resolver.mapping(request).name,
                request.options,
                request.mapper,
                request.accounting,
            )
        except ConfigError as error:
            problems.update(dict.fromkeys(error.problems, type(error)))
        else:
            by_structure.setdefault(key, []).append(index)
    if problems:
        raise ConfigError(*problems)
    return [group for indices in by_structure.values() for group in _groups(requests, indices, resolver)]


def _groups(requests: Sequence[Request], indices: list[int], resolver: Resolver) -> Iterator[Group]:
    """One group for each structure of the mappings chosen."""
    first = requests[indices[0]]
    workload = stack([resolver.workload(requests[i]) for i in indices])
    machine = stack([resolver.machine(requests[i]) for i in indices])
    mapping = resolver.mapping(first)
    if first.options:
        chosen = [mapping] * len(indices)
    else:
        chosen = choose(first.mapper, workload, machine, mapping, first.accounting, len(indices))
    by_mapping: dict[Any, list[int]] = {}
    for position, found in enumerate(chosen):
        by_mapping.setdefault(structure(found), []).append(position)
    for positions in by_mapping.values():
        mine = tuple(chosen[position] for position in positions)
        here = take(workload, positions), take(machine, positions)
        lowered = lower(*here, stack(mine), first.accounting)
        yield Group(
            tuple(indices[p] for p in positions),
            first.accounting,
            *here,
            mine,
            lowered,
            evaluate(lowered.program),
        )
