"""Other selections on SpAtten's arrays: they compute with less and go with no other machine."""

from __future__ import annotations

from typing import Any

import pytest

from dse.errors import WorkloadError
from dse.simulator.simulate import simulate
from dse.workloads.pruned_run import load_run, run_rows
from tests.simulator.spatten.test_spatten import run

ENCODER = {"scope": "attention_stack", "sequence": 64}


def on(machine: str, scores: str, accounting: str = "physical", **changes: str) -> tuple[Any, Any]:
    asked = ENCODER | {"scores": f"minilm_alice_64_{scores}"}
    return run("minilm_l6", asked, accounting, machine, changes or None)


@pytest.mark.parametrize("accounting", ["paper", "physical"])
@pytest.mark.parametrize("peer", ["a3", "mnnfast"])
def test_selections_save_operations(peer: str, accounting: str) -> None:
    dense, mine = (on(*pair, accounting) for pair in (("spatten", "dense"), (peer, peer)))
    rows = run_rows(load_run(f"minilm_alice_64_{peer}"), 32)
    assert mine[0].facts.flops[0] == 64 * float((rows.scored + rows.weighted).sum())
    assert mine[0].facts.flops[0] < dense[0].facts.flops[0]
    done = simulate(mine[0].program).cycles
    assert mine[1].cycles_lower[0] <= done * (1 + 1e-9)
    assert done <= mine[1].cycles_upper[0] * (1 + 1e-9)


def test_search_is_bound_by_its_units() -> None:
    one, many = (float(on("a3", "a3", **{"topk.engines": n})[1].cycles[0]) for n in ("1", "16"))
    rows = run_rows(load_run("minilm_alice_64_a3"), 32)
    assert rows.selection is not None
    assert one > float(rows.selection.iterations.sum()) > many


def test_rows_go_with_the_machine_that_chooses_so() -> None:
    for machine, scores in (("spatten", "a3"), ("a3", "dense"), ("mnnfast", "a3")):
        with pytest.raises(WorkloadError, match="chooses by"):
            on(machine, scores)
