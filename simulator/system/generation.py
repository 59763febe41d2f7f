"""Generation in closed form: the time of every decode step of a batch whose keys grow by one a step, all at once.

Modelled: requests that start together with prompts of one length and end together. Not modelled: arrivals and ends in
between, which `serving` does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.errors import InfeasibleError
from dse.simulator.evaluate import Evaluation, evaluate
from dse.simulator.lowering import lower
from dse.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Mapping as Dict

    from dse.arch.machine import Machine
    from dse.simulator.arrays import Array
    from dse.simulator.mapping import Mapping


@dataclass(frozen=True)
class Steps:
    """A model on a machine under a policy: asks the closed form for decode steps and prefills.

    ``parameters`` are those of the model, without phase, batch and lengths; scope is the whole model.
    """

    machine: Machine
    mapping: Mapping[Any]
    accounting: str
    model: str
    parameters: Dict[str, Any]

    def decode(self, batch: int, keys: Array) -> Evaluation:
        """Steps of ``batch`` requests with ``keys`` keys each, one design point for each number of keys.

        Raises
        ------
        InfeasibleError
            Some of them does not fit the memories.
        """
        given = {"phase": "decode", "scope": "model", "sequence": int(keys.max()), "batch": batch}
        work = load_workload(self.model, {**self.parameters, **given})
        window = self.parameters.get("window")
        seen = keys if window is None else np.minimum(keys, float(window))
        return self._evaluated(replace(work, sizes={**work.sizes, "m": seen}))

    def prefill(self, prompt: int, batch: int = 1) -> Evaluation:
        """Prefill of ``batch`` prompts of one length.

        Raises
        ------
        InfeasibleError
            They do not fit the memories.
        """
        given = {"phase": "prefill", "scope": "model", "sequence": prompt, "batch": batch}
        return self._evaluated(load_workload(self.model, {**self.parameters, **given}))

    def mixed(self, batch: int, keys: int, prompt: int) -> Evaluation:
        """One step of ``batch`` requests in decode beside the prefill of one prompt.

        Raises
        ------
        InfeasibleError
            They do not fit the memories.
        """
        given = {"phase": "decode", "scope": "model", "lengths": f"{keys}*{batch},{prompt}/{prompt}"}
        return self._evaluated(load_workload(self.model, {**self.parameters, **given}))

    def _evaluated(self, work: Any) -> Evaluation:  # noqa: ANN401
        found = evaluate(lower(work, self.machine, self.mapping, self.accounting).program)
        if found.feasible.any():
            why = found.infeasible(int(np.argmax(found.feasible != 0)))
            assert why is not None
            raise InfeasibleError(
                f"{self.machine.name} cannot run {self.model}: {why.constraint} needs {why.demand:.6g} {why.unit}, "
                f"there is {why.bound:.6g}; try {', or '.join(why.levers)}"
            )
        return found


def generate(steps: Steps, batch: int, prompt: int, tokens: int) -> Evaluation:
    """The decode steps that follow a prompt until ``tokens`` tokens are out, the first of which prefill gave.

    Raises
    ------
    InfeasibleError
        The last step does not fit the memories.
    """
    return steps.decode(batch, prompt + np.arange(1.0, max(tokens, 2)))
