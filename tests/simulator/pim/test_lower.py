"""Lowering of attention to units in memory: the tree, its ledger and facts agree with the closed form."""

from __future__ import annotations

from typing import Any

import pytest

from dse.arch.machine import load_machine
from dse.arch.pim import Pim
from dse.errors import MappingError, WorkloadError
from dse.simulator.evaluate import evaluate
from dse.simulator.lowering import lower
from dse.simulator.mapping import load_mapping
from dse.simulator.pim.attention import Attention, cost
from dse.simulator.simulate import simulate
from dse.workloads.load import load_workload
from tests.simulator.pim.attacc import machine
from tests.simulator.points import point

DECODE: dict[str, Any] = {
    "sequence": "2048",
    "heads": "64",
    "kv_heads": "8",
    "score_dim": "128",
    "phase": "decode",
}


@pytest.mark.parametrize(
    "name", ["attacc_bank", "attacc_bg", "attacc_buffer", "bank_pim", "duplex_pim", "hbm_pim", "neupims"]
)
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
    return "false" if name in ("bank_pim", "duplex_pim", "hbm_pim", "neupims") else "true"


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


def test_latents_and_windows_come_with_the_workload() -> None:
    mla: dict[str, Any] = {"sequence": "4096", "phase": "decode", "scope": "attention", "batch": "8"}
    lowered, found = point("duplex_pim", "physical", "deepseek_v3", **mla)
    work = Attention.of(8, 4096, 576, value_dim=512, queries=128, word_bytes=1.0, shared=True)
    assert found.cycles[0] == pytest.approx(cost(machine("duplex_pim", "false", stacks="5"), work).cycles[0])
    assert lowered.facts.flops[0] == work.flops[0]
    short = point("attacc_bank", "physical", **{**DECODE, "sequence": "4096"})[1]
    cut = point(
        "attacc_bank", "physical", **{**DECODE, "sequence": "64K", "window": "4096", "causal": "true"}
    )[1]
    assert cut.cycles[0] == short.cycles[0]


def test_splitting_is_a_number_of_the_mapping() -> None:
    few = {**DECODE, "heads": "2", "kv_heads": "2", "sequence": "16K"}
    found = load_machine("attacc_bank")
    work = load_workload("attention", few)
    cycles = [
        evaluate(lower(work, found, load_mapping("pim_heads", choices), "physical").program).cycles[0]
        for choices in ({}, {"split": "16"})
    ]
    assert cycles[0] > 8.0 * cycles[1]


def test_commands_can_be_scheduled_instead() -> None:
    few = {**DECODE, "sequence": "512", "heads": "16", "kv_heads": "16"}
    found = load_machine("attacc_bank", {"stacks": "1"})
    cycles = {}
    for timing in ("closed", "commands"):
        mapping = load_mapping("pim_heads", {"timing": timing})
        program = lower(load_workload("attention", few), found, mapping, "paper").program
        cycles[timing] = evaluate(program).cycles[0]
    assert cycles["commands"] == 930
    assert cycles["closed"] == pytest.approx(930, rel=0.01)
    long = load_workload("attention", {**few, "sequence": "1M", "heads": "4096", "kv_heads": "4096"})
    mapping = load_mapping("pim_heads", {"timing": "commands"})
    with pytest.raises(MappingError, match="timing=closed"):
        lower(long, found, mapping, "physical")


def test_softmax_of_the_host_crosses_the_pins() -> None:
    found = cost(machine("hbm_pim", "false"), Attention.of(16, 1024, 128))
    assert found.host_bytes[0] == 16 * (2 * 128 * 2 + 2 * 1024 * 2)
    assert "softmax" not in found.parts


def test_requests_of_unlike_lengths_share_the_channels() -> None:
    shape: dict[str, Any] = {
        "heads": "64",
        "kv_heads": "8",
        "score_dim": "128",
        "phase": "decode",
        "causal": "true",
    }
    lowered, found = point("attacc_bank", "physical", **shape, lengths="4K*8,2K*4,512*20,8K")
    apart = [(8, 4096), (4, 2048), (20, 512), (1, 8192)]
    groups = [Attention.of(8 * count, keys, 128, queries=8) for count, keys in apart]
    closed = [cost(load_stacks(), group) for group in groups]
    assert found.cycles[0] < sum(one.cycles[0] for one in closed)
    assert found.cycles[0] >= max(one.cycles[0] for one in closed)
    assert found.joules[0] == pytest.approx(sum(one.joules[0] for one in closed), rel=1e-12)
    assert lowered.facts.flops[0] == sum(one.flops[0] for one in closed)


def load_stacks() -> Pim:
    found = load_machine("attacc_bank")
    assert isinstance(found, Pim)
    return found


def test_commands_are_in_the_ledger() -> None:
    sizes: dict[str, Any] = {"sequence": "2048", "heads": "130", "score_dim": "128", "phase": "decode"}
    _, found = point("attacc_bank", "paper", changes={"stacks": "1"}, **sizes)
    rows = {row["action"]: row["count"] for row in found.ledger.at(0) if row["component"] == "commands"}
    assert rows == {"mac": 66576, "wrgb": 1040, "mvgb": 8320, "mvsb": 10400, "sfm": 130, "act": 130 * 16}


def test_a_slower_softmax_unit_is_waited_for() -> None:
    """The peer's pipeline counts none of its softmax unit's time."""
    work = Attention.of(32, 4096, 128)
    fast, slow = (
        cost(machine("attacc_bank", "true", **{"softmax.values_per_cycle": n}), work) for n in ("16", "1")
    )
    assert slow.cycles[0] > fast.cycles[0] + 4096
    assert cost(machine("attacc_bank"), Attention.of(16, 4096, 128)).cycles[0] > fast.cycles[0] / 2 + 256


def test_a_search_cuts_few_heads_over_the_channels() -> None:
    few: dict[str, Any] = {"heads": "2", "score_dim": "128", "sequence": "16K", "phase": "decode"}
    found = {
        name: point("attacc_bank", "physical", mapper=name, **few)[1] for name in ("paper", "exhaustive")
    }
    assert found["exhaustive"].cycles[0] * 8.0 < found["paper"].cycles[0]
    assert found["exhaustive"].joules[0] < 1.1 * found["paper"].joules[0]
