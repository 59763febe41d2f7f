"""Design points by the batch: machines, workloads and mappings resolved once each, and evaluated on arrays.

A request names a machine, a workload and how to map and count; a row holds everything `docs/formats.md` lists for one
design point. Rows come back in the order of the requests and do not depend on how they were grouped.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.arch.machine import Machine, load_machine
from dse.errors import WRONG_INPUT, ConfigError, Problem
from dse.mappers.choose import DEFAULT, choose
from dse.simulator.evaluate import Evaluation, evaluate
from dse.simulator.lowering import Lowered, apart, lower
from dse.simulator.mapping import Mapping, load_mapping
from dse.simulator.stack import stack, structure, take
from dse.studies.grid import Listed
from dse.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dse.studies.grid import Codes, Table
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
        """How far results of this kind are known to be from published or measured ones; None if nothing is known.

        A machine with a calibration speaks for itself, else the mapping does.
        """
        file = self.mappings[0].file
        if self.accounting == "paper" and file.paper is not None:
            return str(file.paper.error)
        own: str | None = getattr(self.machine, "error_bar", None)
        return own if own is not None else file.error


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

    def mapping(self, request: Request, machine: Machine | None = None) -> Mapping:
        """Mapping a request names, or its machine's default, options applied."""
        name = request.mapping or (machine or self.machine(request)).mapping
        key = (name, request.options)
        if key not in self.mappings:
            self.mappings[key] = load_mapping(name, dict(request.options))
        return self.mappings[key]


def evaluate_requests(requests: Sequence[Request], resolver: Resolver | None = None) -> list[Group]:
    """Evaluation of every request, in groups of one structure.

    Raises
    ------
    DseError
        A file or parameter is wrong, or a mapping does not fit; all requests with such problems together.
    """
    resolver = resolver or Resolver()
    by_head: dict[Request, list[int]] = {}
    problems: dict[Problem, None] = {}
    for index, request in enumerate(requests):
        try:
            resolver.machine(request), resolver.workload(request), resolver.mapping(request)
        except WRONG_INPUT as error:
            problems |= dict.fromkeys(error.problems)
        else:
            by_head.setdefault(replace(request, parameters=(), overrides=()), []).append(index)
    if problems:
        raise ConfigError(*problems)
    found = []
    for head, indices in by_head.items():
        mine = [requests[index] for index in indices]
        machines = _numbered([request.overrides for request in mine])
        workloads = _numbered([request.parameters for request in mine])
        groups = evaluate_columns(
            head,
            (Listed({at: resolver.machine(mine[i]) for i, at in _firsts(machines)}), machines),
            (Listed({at: resolver.workload(mine[i]) for i, at in _firsts(workloads)}), workloads),
            resolver,
        )
        found += [replace(group, indices=tuple(indices[i] for i in group.indices)) for group in groups]
    return found


def evaluate_columns(
    head: Request,
    machines: tuple[Table[Machine], Codes],
    workloads: tuple[Table[Workload], Codes],
    resolver: Resolver,
) -> Iterator[Group]:
    """Evaluation of requests that differ in machine and workload only: two tables, and the places in them.

    Raises
    ------
    DseError
        The mapping does not fit.
    """
    for outer, machine in machines[0].pieces(machines[1]):
        mapping = resolver.mapping(head, machine)
        for inner, workload in workloads[0].pieces(workloads[1][outer]):
            whole = len(inner) == len(outer)
            yield from _groups(
                head, outer[inner], workload, machine if whole else take(machine, inner), mapping
            )


def _groups(
    head: Request, indices: Codes, workload: Workload, machine: Machine, mapping: Mapping
) -> Iterator[Group]:
    """One group for each structure of the mappings chosen."""
    if head.options:
        chosen = [mapping] * len(indices)
    else:
        chosen = choose(head.mapper, workload, machine, mapping, head.accounting, len(indices))
    by_mapping: dict[Any, list[int]] = {}
    known: dict[Any, Any] = {}
    sorts = apart(mapping, len(indices))
    for position, found in enumerate(chosen):
        same = (id(found.file), id(found.choices), *found.numbers)  # mappings that differ in numbers alone
        if same not in known:
            known[same] = structure(found)
        by_mapping.setdefault((known[same], sorts[position]), []).append(position)
    for positions in by_mapping.values():
        mine = tuple(chosen[position] for position in positions)
        here = (workload, machine)
        if len(by_mapping) > 1:
            here = (take(workload, positions), take(machine, positions))
        one = mine[0] if all(found is mine[0] for found in mine) else stack(mine)
        lowered = lower(*here, one, head.accounting)
        yield Group(
            tuple(int(index) for index in indices[positions]),
            head.accounting,
            *here,
            mine,
            lowered,
            evaluate(lowered.program),
        )


def _numbered(values: Sequence[Any]) -> Codes:
    """The same number for equal values, in the order in which they first occur."""
    known: dict[Any, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values], dtype=np.int64)


def _firsts(numbers: Codes) -> list[tuple[int, int]]:
    """Position of the first of each number, and the number."""
    unique, first = np.unique(numbers, return_index=True)
    return [(int(i), int(at)) for i, at in zip(first, unique, strict=True)]
