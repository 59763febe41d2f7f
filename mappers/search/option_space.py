"""Candidates from a mapping file: its options, the cascades it may run, and its numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import DseError
from dse.mappers.search.candidates import Axis, Measures, joined, rejected
from dse.simulator.evaluate import evaluate
from dse.simulator.lowering import lower
from dse.simulator.mapping import Mapping, load_mapping

if TYPE_CHECKING:
    from dse.arch.machine import Machine
    from dse.mappers.search.candidates import Codes
    from dse.simulator.arrays import Array
    from dse.simulator.evaluate import Evaluation
    from dse.workloads.workload import Workload

CASCADE = "cascade"


@dataclass(frozen=True, eq=False)
class OptionPart:
    """Every combination of options, cascades and numbers of one mapping file, for one design point."""

    name: str
    axes: tuple[Axis, ...]
    structural: int
    workload: Workload
    machine: Machine
    accounting: str

    @cached_property
    def _known(self) -> dict[tuple[int, ...], tuple[Mapping, Workload]]:
        return {}

    def measure(self, codes: Codes) -> Measures:
        """Costs of candidates, those of one structure at once."""
        structures, inverse = np.unique(codes[:, : self.structural], axis=0, return_inverse=True)
        parts, places = [], []
        for number, structure in enumerate(structures):
            mine = np.flatnonzero(inverse.reshape(-1) == number)
            parts.append(self._measured(tuple(structure.tolist()), codes[mine]))
            places.append(mine)
        return joined(parts, places)

    def point(self, code: Codes) -> tuple[Workload, Machine, Mapping]:
        """The design point of one candidate."""
        mapping, work = self._built(tuple(code[: self.structural].tolist()))
        return work, self.machine, mapping.with_numbers(**self._numbers(code[None, :]))

    def _built(self, structure: tuple[int, ...]) -> tuple[Mapping, Workload]:
        """Mapping and workload of one combination of structural choices."""
        if structure not in self._known:
            chosen = {
                axis.name: str(axis.choices[index]) for axis, index in zip(self.axes, structure, strict=False)
            }
            cascade = chosen.pop(CASCADE, self.workload.cascade)
            work = replace(self.workload, cascade=cascade)
            self._known[structure] = load_mapping(self.name, chosen), work
        return self._known[structure]

    def _numbers(self, codes: Codes) -> dict[str, Array]:
        """Numbers of each candidate."""
        return {
            axis.name: np.array(axis.choices, dtype=np.float64)[codes[:, self.structural + place]]
            for place, axis in enumerate(self.axes[self.structural :])
        }

    def _measured(self, structure: tuple[int, ...], codes: Codes) -> Measures:
        """Costs of candidates of one structure; one the machine cannot run is rejected with the reason."""
        try:
            mapping, work = self._built(structure)
            chosen = mapping.with_numbers(**self._numbers(codes))
            lowered = lower(work, self.machine, chosen, self.accounting)
        except DseError as error:
            return rejected(len(codes), error.problems[0].message)
        facts, evaluation = lowered.facts, evaluate(lowered.program)
        size = len(codes)
        names = tuple(constraint.name for constraint in lowered.program.all_constraints)
        return Measures(
            seconds=_spread(evaluation.seconds, size),
            joules=_spread(evaluation.joules, size),
            onchip_bytes=_spread(facts.onchip_bytes, size),
            area_m2=_spread(facts.area_m2, size),
            reason=np.array(np.broadcast_to(evaluation.feasible, (size,)), dtype=np.int16),
            reasons=names,
            excess=_spread(_excess(evaluation), size),
        )


def _excess(evaluation: Evaluation) -> Array:
    """Demand over bound of the first violated constraint of each point; 0 where there is none."""
    found = np.zeros(len(evaluation.feasible))
    for number, constraint in enumerate(evaluation.program.all_constraints, start=1):
        here = evaluation.feasible == number
        if here.any():
            with np.errstate(all="ignore"):
                ratio = np.broadcast_to(constraint.demand / constraint.bound, found.shape)
            found[here] = ratio[here]
    return found


def _spread(array: Array, size: int) -> Array:
    found: Array = np.array(np.broadcast_to(array, (size,)), dtype=np.float64)
    return found
