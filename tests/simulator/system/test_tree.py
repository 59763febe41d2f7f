"""Systems as Programs: one point and many give the same bits, bounds hold the simulation, the ledger sums up."""

from __future__ import annotations

import numpy as np
import pytest

from dse.simulator.arrays import total
from dse.simulator.evaluate import evaluate
from dse.simulator.lowering import lower
from dse.simulator.simulate import simulate
from dse.studies.batch import Request, evaluate_requests
from dse.studies.record import evaluate_one

CASES = {
    "duplex_coprocessing": "mixtral_8x7b",
    "duplex_bank_timed": "glam_143b",
    "dgx_attacc": "llama3_70b",
    "hgx_h200": "mixtral_8x7b",
}


def request(machine: str, batch: int, keys: int) -> Request:
    given = {"sequence": keys, "batch": batch, "phase": "decode", "scope": "model"}
    return Request(machine, CASES[machine], tuple(given.items()))


@pytest.mark.parametrize("machine", CASES)
def test_one_point_and_many_give_the_same_bits(machine: str) -> None:
    asked = [request(machine, batch, keys) for batch in (4, 33, 100) for keys in (300, 2000)]
    for group in evaluate_requests(asked):
        for point, index in enumerate(group.indices):
            alone = evaluate_one(asked[index]).evaluation
            for ours, theirs in (
                (group.evaluation.seconds, alone.seconds),
                (group.evaluation.joules, alone.joules),
            ):
                assert np.array_equal(ours[group.column(point)], theirs[0], equal_nan=True)


@pytest.mark.parametrize("machine", CASES)
def test_bounds_hold_the_simulation_and_the_ledger_sums_up(machine: str) -> None:
    group = evaluate_one(request(machine, 32, 700))
    found = group.evaluation
    cycles = simulate(group.lowered.program).cycles
    assert found.cycles_lower[0] <= cycles * (1 + 1e-9)
    assert cycles <= found.cycles_upper[0] * (1 + 1e-9)
    assert total(list(found.ledger.joules))[0] == found.joules[0]
    path = sum(float(part[0]) for _, part in found.critical_path)
    assert path == pytest.approx(found.cycles[0], rel=1e-12)


def test_more_bandwidth_is_never_slower() -> None:
    group = evaluate_one(request("duplex_coprocessing", 64, 700))
    for _, machine in group.machine.scaled_resources(2.0):
        faster = lower(group.workload, machine, group.mappings[0], "physical")
        assert evaluate(faster.program).seconds[0] <= group.evaluation.seconds[0] * (1 + 1e-12)


MODELS = (
    "gpt3_175b", "llama_65b", "mt_nlg_530b", "opt_66b", "llama3_70b",
    "mixtral_8x7b", "glam_143b", "grok1", "deepseek_v3",
)  # fmt: skip


@pytest.mark.parametrize("machine", ["dgx_attacc", "duplex", "duplex_coprocessing_timed", "hgx_h200"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_every_model_runs_on_every_kind_of_system(model: str, machine: str, phase: str) -> None:
    given = {"sequence": 256, "batch": 8, "phase": phase, "scope": "layer"}
    if machine == "hgx_h200":
        given["precision"] = "fp16"
    found = evaluate_one(Request(machine, model, tuple(given.items()))).evaluation
    if (machine, model) == ("hgx_h200", "mt_nlg_530b"):
        why = found.infeasible(0)
        assert why is not None
        assert "shared memory of a thread block" in why.constraint
        return
    assert 0 < found.seconds[0] < 1
    assert found.joules[0] > 0
