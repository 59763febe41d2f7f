"""Attention in memory in closed form: published runs, exact identities, and mistakes of others that are not ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.errors import DseError
from dse.simulator.pim.attention import Attention, cost
from tests.simulator.pim.attacc import KINDS, RUNS, STORED, Run, machine

SIZES = st.fixed_dictionaries(
    {
        "heads": st.integers(1, 300),
        "keys": st.integers(1, 9000),
        "key_dim": st.sampled_from([64, 80, 96, 128, 160, 256, 576]),
        "queries": st.sampled_from([1, 2, 4, 8, 16, 128]),
        "word_bytes": st.sampled_from([1.0, 2.0, 4.0]),
    }
)
NAMES = st.sampled_from(
    ["attacc_bank", "attacc_bg", "attacc_buffer", "bank_pim", "duplex_pim", "hbm_pim", "neupims"]
)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.label)
def test_cycles_and_commands_of_published_runs(run: Run) -> None:
    found = cost(run.machine, run.work, accounting="paper")
    assert found.cycles[0] == pytest.approx(run.cycles, rel=0.01)
    assert {kind: float(getattr(found.counts, kind)[0]) for kind in KINDS} == run.counts


def test_mean_error_of_published_runs() -> None:
    errors = [abs(cost(r.machine, r.work, accounting="paper").cycles[0] / r.cycles - 1.0) for r in RUNS]
    assert float(np.mean(errors)) < 0.002


def test_stored_table_of_older_versions() -> None:
    """Its rows mix generations of the command streams; those of today's are closer."""
    errors = [abs(cost(r.machine, r.work, accounting="paper").cycles[0] / r.cycles - 1.0) for r in STORED]
    assert float(np.median(errors)) <= 0.015
    assert float(np.percentile(errors, 95)) <= 0.08
    same = [
        error for error, run in zip(errors, STORED, strict=True) if run.counts["sfm"] == run.work.heads[0]
    ]
    assert len(same) > 50
    assert float(np.percentile(same, 95)) <= 0.025


@pytest.mark.parametrize(
    ("name", "limited", "low", "high"),
    [
        ("attacc_bank", "true", 7.2, 8.9),
        ("attacc_bank", "false", 9.8, 12.5),
        ("attacc_bg", "true", 2.3, 2.67),
        ("attacc_bg", "false", 3.6, 4.0),
        ("attacc_buffer", "true", 0.9, 1.0),
    ],
)
def test_bandwidth_multiple_is_that_of_the_runs(name: str, limited: str, low: float, high: float) -> None:
    for keys in (512, 2048, 4096):
        found = cost(machine(name, limited), Attention.of(128, keys, 128), accounting="paper")
        assert low <= found.bandwidth_multiple[0] <= high


def test_grouped_queries_cost_a_bank_unit_each_and_a_logic_unit_nothing() -> None:
    """Peak rates alone: attention on bank units against logic units takes 1/4, 1, 2 of the time for 1, 4, 8 queries."""
    bank, logic = machine("bank_pim", "false"), machine("duplex_pim", "false")
    for queries, ratio in ((1.0, 0.25), (4.0, 1.0), (8.0, 2.0)):
        work = Attention.of(64, 2048, 128, queries=queries)
        times = [m.roofline_s(work.stored_bytes, work.flops)[0] for m in (bank, logic)]
        assert times[0] / times[1] == ratio


def test_grouped_queries_in_accesses() -> None:
    bank, logic = machine("bank_pim", "false"), machine("duplex_pim", "false")
    one, eight = (Attention.of(64, 2048, 128, queries=queries) for queries in (1, 8))
    assert cost(bank, eight).counts.mac == 8.0 * cost(bank, one).counts.mac
    assert cost(logic, eight).counts.mac == cost(logic, one).counts.mac
    assert cost(bank, eight).counts.act == cost(bank, one).counts.act


@given(NAMES, SIZES, st.sampled_from(["physical", "paper"]))
def test_a_point_gives_the_same_bits_alone_and_among_others(
    name: str, sizes: dict[str, Any], accounting: str
) -> None:
    """The peer's second run reads a table and gives another energy and another time."""
    own = machine(name)
    many: dict[str, Any] = {
        key: np.array([value, 7.0 if key == "heads" else value]) for key, value in sizes.items()
    }
    for _ in range(2):
        alone = cost(own, Attention.of(**sizes), accounting=accounting)
        among = cost(own, Attention.of(**many), accounting=accounting)
        assert alone.cycles[0] == among.cycles[0]
        assert alone.joules[0] == among.joules[0]
        assert np.isfinite(alone.cycles[0])


@given(NAMES, SIZES)
def test_energy_is_the_sum_of_its_parts_and_every_bit_is_charged(name: str, sizes: dict[str, Any]) -> None:
    own, found = machine(name), cost(machine(name), Attention.of(**sizes))
    assert found.joules[0] == pytest.approx(sum(part[0] for part in found.parts.values()), rel=1e-12)
    pins = found.host_bytes[0] * 8.0 * own.dram.energy.io_j_per_bit[0]
    assert found.parts["dram"][0] == pytest.approx(pins, rel=1e-12)
    banks = found.bank_bytes[0] * 8.0 * own.read_j_per_bit[0]
    assert found.parts["banks"][0] == pytest.approx(banks, rel=1e-12)
    assert found.bank_bytes[0] >= found.kv_bytes[0] * (1.0 - 1e-12)


@given(NAMES, SIZES)
def test_no_faster_than_the_peak_rates(name: str, sizes: dict[str, Any]) -> None:
    own, work = machine(name), Attention.of(**sizes)
    found = cost(own, work)
    assert found.seconds[0] >= work.stored_bytes[0] / own.internal_byte_per_s[0]
    wide = work.word_bytes[0] / 2.0
    assert found.seconds[0] >= work.flops[0] / own.peak_flop_per_s[0] * wide


@given(NAMES, SIZES, st.integers(1, 4))
def test_more_keys_are_never_faster(name: str, sizes: dict[str, Any], factor: int) -> None:
    longer = sizes | {"keys": sizes["keys"] * (1 + factor)}
    short, long = (cost(machine(name), Attention.of(**s)) for s in (sizes, longer))
    assert long.joules[0] > short.joules[0]
    assert long.counts.mac[0] >= short.counts.mac[0]


def test_splitting_a_head_fills_idle_channels() -> None:
    own = machine("attacc_bank")
    whole, cut = (cost(own, Attention.of(2, 8192, 128), split=split) for split in (1, 8))
    assert whole.cycles[0] / cut.cycles[0] > 6.0
    assert whole.flops[0] == cut.flops[0]


def test_splitting_full_channels_only_hides_the_softmax() -> None:
    own = machine("attacc_bank")
    for split in (2, 8):
        full = [cost(own, Attention.of(32, 8192, 128), split=parts) for parts in (1, split)]
        assert full[1].counts.mac == full[0].counts.mac
        assert full[1].cycles[0] == pytest.approx(full[0].cycles[0], rel=0.03)


def test_latent_attention_stores_values_once() -> None:
    own = machine("duplex_pim")
    sizes: dict[str, Any] = {"heads": 16, "keys": 4096, "key_dim": 576, "value_dim": 512, "queries": 128}
    once, apart = (cost(own, Attention.of(**sizes, shared=shared)) for shared in (True, False))
    assert once.stored_bytes[0] / apart.stored_bytes[0] == 576.0 / 1088.0
    assert once.counts.mac == apart.counts.mac


def test_window_bounds_the_keys() -> None:
    own = machine("attacc_bank")
    short, cut = Attention.of(16, 4096, 128), Attention.of(16, 65536, 128, window=4096)
    assert cost(own, short).cycles == cost(own, cut).cycles


def test_wrong_sizes_are_refused() -> None:
    own = machine("attacc_bank")
    with pytest.raises(DseError, match="heads, split must be at least 1"):
        cost(own, Attention.of(0, 128, 128), split=0)
    with pytest.raises(DseError, match="cannot be deeper"):
        cost(own, Attention.of(1, 128, 64, value_dim=128, shared=True))
    with pytest.raises(DseError, match="not one of"):
        cost(own, Attention.of(1, 128, 64), accounting="fast")
