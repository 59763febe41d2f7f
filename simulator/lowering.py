"""From a mapped workload to a Program: finds the lowering of a mapping's kind by its package's name.

A lowering is a package of this room called like the kind of the mapping, with
``lower(workload, machine, mapping, accounting)``. Its ``EXTRAS`` names what it models of ``Workload.extras``; what it
does not is refused.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dse.errors import ConfigError, MappingError, Problem, WorkloadError, nearest

if TYPE_CHECKING:
    from collections.abc import Hashable
    from collections.abc import Mapping as Dict

    from dse.arch.machine import Machine
    from dse.simulator.arrays import Array
    from dse.simulator.mapping import Mapping
    from dse.simulator.program import Program
    from dse.workloads.workload import Workload

ACCOUNTINGS = ("physical", "paper")
_EXTRAS = {
    "experts": "experts",
    "requests": "requests of different lengths",
    "window": "a window of several queries",
    "steps": "tokens generated one after another",
    "pruning": "a pruning schedule",
    "scores": "recorded scores",
}


@dataclass(frozen=True)
class Facts:
    """What is known of the work and the machine, over design points, whatever the schedule.

    ``flops`` are useful multiply-adds × 2; ``executed_flops`` include padding and masked halves of tiles.
    ``vector_ops`` counts every other operation by operator. ``occupied`` holds busy element-cycles for each
    compute unit and ``elements`` its number of elements. ``cycles_each`` holds the cycles that one count of a
    (component, Einsum, action) keeps its component busy, ``cycles_per_byte`` those of one byte. ``window`` is the tiles
    in flight and ``block_queries`` the queries in a block, NaN where the schedule has none. ``more`` are result columns
    that only this kind of machine has. Without ``one_clock`` cycles mean nothing to the user and are not reported.
    ``parts`` gives nodes of the tree a part of the work whose time is reported.
    """

    flops: Array
    executed_flops: Array
    vector_ops: Dict[str, Array]
    onchip_bytes: Array
    occupied: Dict[str, Array]
    elements: Dict[str, Array]
    peak_flop_per_s: Array
    area_m2: Array
    memory_byte_per_s: Dict[str, Array]
    cycles_each: Dict[tuple[str, str, str], Array]
    cycles_per_byte: Dict[str, Array]
    window: Array
    block_queries: Array
    more: Dict[str, Array] = field(default_factory=dict)
    one_clock: bool = True
    parts: Dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lowered:
    """A Program and the facts its results are reported against."""

    program: Program
    facts: Facts


def check_fits(machine: Machine, mapping: Mapping) -> None:
    """Refuse a mapping for another kind of machine.

    Raises
    ------
    MappingError
        Naming both kinds.
    """
    if not mapping.file.takes(machine.kind):
        raise MappingError(
            f"mapping {mapping.name} is for a {mapping.file.kind}, {machine.name} is a {machine.kind}"
        )


def check_taken(workload: Workload, mapping: Mapping) -> None:
    """Refuse a trace that only a machine which runs kernels as they are can take.

    Raises
    ------
    WorkloadError
        With what other machines cannot tell from its sizes.
    """
    if workload.refusal and not mapping.file.runs_launches:
        raise WorkloadError(workload.refusal)


def lower(workload: Workload, machine: Machine, mapping: Mapping, accounting: str) -> Lowered:
    """The Program of a workload on a machine under a mapping.

    Raises
    ------
    ConfigError, MappingError
        Unknown accounting or one the mapping does not state, a mapping for another kind of machine or cascade.
    WorkloadError
        The workload has what this kind of machine does not model, or is a trace that it cannot take.
    """
    if accounting not in ACCOUNTINGS:
        raise ConfigError(
            Problem(
                f"'{accounting}' is not one of {', '.join(ACCOUNTINGS)}{nearest(accounting, ACCOUNTINGS)}",
                path="accounting",
            )
        )
    check_fits(machine, mapping)
    if accounting == "paper" and mapping.file.paper is None:
        raise MappingError(
            f"mapping {mapping.name} states no published accounting; use accounting physical, the default"
        )
    check_taken(workload, mapping)
    lowering = importlib.import_module(f"dse.simulator.{mapping.file.kind}")
    strange = [name for name in workload.extras if name not in getattr(lowering, "EXTRAS", ())]
    if strange:
        raise WorkloadError(
            f"{workload.name} has {' and '.join(_EXTRAS[name] for name in strange)}, which a {machine.kind} "
            "does not model"
        )
    found: Lowered = lowering.lower(workload, machine, mapping, accounting)
    return found


def apart(mapping: Mapping, size: int) -> list[Hashable]:
    """For each of ``size`` design points what it must share with others to be lowered together with them.

    Lowerings whose trees follow the sizes of workload or machine say so with a function ``apart(size)``.
    """
    module = importlib.import_module(f"dse.simulator.{mapping.file.kind}")
    found: list[Hashable] = module.apart(size) if hasattr(module, "apart") else [()] * size
    return found
