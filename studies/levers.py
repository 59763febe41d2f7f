"""Levers: how much faster a design point becomes when one resource of its machine is doubled alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dse.simulator.evaluate import evaluate
from dse.simulator.lowering import lower

if TYPE_CHECKING:
    from dse.studies.batch import Group

FACTOR = 2.0


def levers(group: Group) -> list[dict[str, Any]]:
    """Each resource doubled with its speed-up, best first; the mapping is chosen again only in its block size."""
    before = group.evaluation.cycles[0]
    found = []
    for name, machine in group.machine.scaled_resources(FACTOR):
        lowered = lower(group.workload, machine, group.mappings[0], group.accounting)
        after = evaluate(lowered.program).cycles[0]
        found.append({"lever": name, "speedup": float(before / after)})
    return sorted(found, key=lambda row: (-float(row["speedup"]), str(row["lever"])))
