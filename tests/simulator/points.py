"""Design points for tests of lowerings: names in, a lowered program and its evaluation out."""

from __future__ import annotations

from typing import Any

from dse.arch.machine import load_machine
from dse.mappers.choose import choose
from dse.simulator.evaluate import Evaluation, evaluate
from dse.simulator.lowering import Lowered, lower
from dse.simulator.mapping import load_mapping
from dse.workloads.load import load_workload


def point(
    machine: str,
    accounting: str,
    workload: str = "attention",
    changes: dict[str, str] | None = None,
    mapper: str = "paper",
    **parameters: Any,  # noqa: ANN401
) -> tuple[Lowered, Evaluation]:
    """One design point."""
    found = load_machine(machine, changes)
    work = load_workload(workload, parameters)
    mapping = choose(mapper, work, found, load_mapping(found.mapping), accounting, 1)[0]
    lowered = lower(work, found, mapping, accounting)
    return lowered, evaluate(lowered.program)


def cycles_per_tile(
    machine: str, accounting: str, depth: tuple[int, int] = (64, 64), sequence: int = 4096
) -> float:
    """Cycles of one 256 × 256 tile of scores of a long problem."""
    sizes: dict[str, Any] = {"score_dim": depth[0], "value_dim": depth[1], "sequence": sequence}
    _, evaluation = point(machine, accounting, **sizes)
    return float(evaluation.cycles[0] / (sequence / 256) ** 2)
