"""Lowering of attention to units in memory: the tree, its ledger and facts agree with the closed form."""

from __future__ import annotations

from typing import Any

import pytest

from dse.errors import MappingError, WorkloadError
from dse.simulator.pim.attention import Attention, cost
from dse.simulator.simulate import simulate
from tests.simulator.pim.attacc import machine
from tests.simulator.points import point

DECODE: dict[str, Any] = {
    "sequence": "2048",
    "heads": "64",
    "kv_heads": "8",
    "score_dim": "128",
    "phase": "decode",
}


@pytest.mark.parametrize("name", ["attacc_bank", "attacc_bg", "attacc_buffer", "bank_pim", "duplex_pim"])
@pytest.mark.parametrize("accounting", ["physical", "paper"])
def test_tree_is_the_closed_form(name: str, accounting: str) -> None:
    lowered, found = point(name, accounting, changes={"stacks": "1"}, **DECODE)
    work = Attention.of(8, 2048, 128, queries=8)
    closed = cost(machine(name, _limit(name)), work, accounting=accounting)
    assert found.cycles[0] == pytest.approx(closed.cycles[0], rel=1e-12)
    assert found.joules[0] == pytest.approx(closed.joules[0], rel=1e-12)
    assert found.cycles_lower[0] <= simulate(lowered.program, 0).cycles <= found.cycles_upper[0]
    assert found.bytes_by_component["dram"][0] == closed.host_bytes[0]
    assert found.bytes_by_component["banks"][0] == closed.bank_bytes[0]
    assert lowered.facts.flops[0] == closed.flops[0] <= lowered.facts.executed_flops[0]


def _limit(name: str) -> str:
    return "false" if name in ("bank_pim", "duplex_pim") else "true"


def test_what_the_stacks_cannot_hold_is_infeasible() -> None:
    _, found = point("attacc_bank", "physical", **{**DECODE, "sequence": "1M", "batch": "100"})
    why = found.infeasible(0)
    assert why is not None
    assert why.constraint == "capacity"
    assert why.demand == 100.0 * 8 * 2**20 * 256 * 2


def test_linear_layers_and_other_families_are_refused() -> None:
    with pytest.raises(WorkloadError, match="processor beside the stacks"):
        point("attacc_bank", "physical", **DECODE, scope="layer")
    with pytest.raises(MappingError, match="family linear"):
        point("attacc_bank", "physical", "linear_step", e="64", f="64")
