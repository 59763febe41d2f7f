"""Batches of requests: grouping does not show in the results, and problems come all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse.errors import ConfigError
from dse.simulator.technology import area_factor, energy_factor
from dse.studies.batch import Request, Resolver, evaluate_requests
from dse.studies.record import evaluate_one, record

if TYPE_CHECKING:
    from pathlib import Path

MIXED = [
    Request(machine, workload, (("sequence", sequence), ("batch", "64")), accounting=accounting)
    for machine in ("flat", "fusemax")
    for workload in ("bert", "xlm")
    for sequence in ("1K", "256K")
    for accounting in ("paper", "physical")
]


def test_a_request_among_others_equals_the_request_alone() -> None:
    """Bit for bit: machines, models, lengths, accountings and published mappings mixed."""
    groups = evaluate_requests(MIXED)
    assert sorted(index for group in groups for index in group.indices) == list(range(len(MIXED)))
    for group in groups:
        for place, index in enumerate(group.indices):
            alone = evaluate_one(MIXED[index]).evaluation
            assert group.evaluation.cycles[place] == alone.cycles[0]
            assert group.evaluation.joules[place] == alone.joules[0]
            assert group.evaluation.bound_by(place) == alone.bound_by(0)


def test_points_of_one_structure_share_a_group() -> None:
    requests = [Request("fusemax", "bert", (("sequence", str(n)),)) for n in (512, 1000, 4096)]
    assert len(evaluate_requests(requests)) == 1


def test_files_are_read_once() -> None:
    resolver = Resolver()
    evaluate_requests(MIXED, resolver)
    assert len(resolver.machines) == 2
    assert len(resolver.workloads) == 4


def test_problems_of_all_requests_come_together() -> None:
    wrong = [
        Request("fusemaxx", "bert", (("sequence", "1K"),)),
        Request("fusemax", "brt", (("sequence", "1K"),)),
    ]
    with pytest.raises(ConfigError) as caught:
        evaluate_requests(wrong)
    text = str(caught.value)
    assert "did you mean 'fusemax'" in text
    assert "did you mean 'bert'" in text


def test_record_has_the_documented_keys() -> None:
    asked = Request("fusemax", "bert", (("sequence", "4K"),))
    base = evaluate_one(Request("flat", "bert", (("sequence", "4K"),)))
    found = record(asked, evaluate_one(asked), base)
    keys = """machine workload parameters accounting mapping cycles cycles_lower cycles_upper latency_s energy_j flops
        vector_ops executed_flops dram_bytes onchip_bytes operational_intensity_flop_per_byte achieved_flop_per_s
        utilization bandwidth_byte_per_s bound_by error_bar baseline speedup energy_ratio components versions"""
    assert set(keys.split()) <= set(found)
    assert found["baseline"] == "flat"
    assert found["speedup"] > 1 > found["energy_ratio"]
    assert found["operational_intensity_flop_per_byte"] == found["flops"] / found["dram_bytes"]
    assert set(found["components"][0]) == {
        "component", "einsum", "tensor", "action", "count", "bytes", "energy_j", "busy_cycles",
    }  # fmt: skip


def test_components_add_up_and_keep_units_busy() -> None:
    asked = Request("fusemax", "bert", (("sequence", "4K"),))
    found = record(asked, evaluate_one(asked))
    rows = found["components"]
    assert sum(row["energy_j"] for row in rows) == pytest.approx(found["energy_j"], rel=1e-12)
    assert sum(row["bytes"] for row in rows if row["component"] == "dram") == found["dram_bytes"]
    busy = sum(row["busy_cycles"] for row in rows if row["component"] == "array_2d")
    assert busy == pytest.approx(found["utilization"]["array_2d"] * found["cycles"], rel=1e-12)


def test_infeasible_record_says_why() -> None:
    asked = Request(
        "fusemax",
        "attention",
        (("sequence", "4K"), ("score_dim", "512")),
        (("global_buffer.capacity", "64 KiB"),),
    )
    found = record(asked, evaluate_one(asked))
    assert set(found["infeasible"]) == {"constraint", "demand", "bound", "unit", "levers"}
    assert "cycles" not in found


def test_machines_of_two_nodes_are_compared_raw_and_scaled(tmp_path: Path) -> None:
    """Energy of the chip and area follow the rule, DRAM energy stays; at one node nothing is scaled."""
    small = tmp_path / "small.yaml"
    buffer = "memories: {global_buffer: {table: null, area: 0.1 mm2}}\n"
    small.write_text(f"extends: fusemax_pe64\ntitle: small\ntechnology: 16 nm\nsource: test\n{buffer}")
    asked = (("sequence", "4K"),)
    area = [evaluate_one(Request(name, "bert", asked)) for name in (str(small), "fusemax_pe64")]
    ratios = record(Request(str(small), "bert", asked), area[0], area[1])
    factor = float(area_factor(np.array([45e-9]), np.array([16e-9]))[0])
    assert ratios["area_ratio"] == area[0].lowered.facts.area_m2[0] / area[1].lowered.facts.area_m2[0]
    assert ratios["area_ratio_scaled"] == pytest.approx(ratios["area_ratio"] / factor)
    small.write_text("extends: fusemax\ntitle: small\ntechnology: 16 nm\nsource: test\n")
    mine, base = (evaluate_one(Request(name, "bert", asked)) for name in (str(small), "fusemax"))
    ratios = record(Request(str(small), "bert", asked), mine, base)
    joules = base.evaluation.ledger.by("component", "joules")
    scaled = sum(
        each[0] * (1.0 if name == "dram" else float(energy_factor(np.array([45e-9]), np.array([16e-9]))[0]))
        for name, each in joules.items()
    )
    assert ratios["energy_ratio"] == 1.0
    assert ratios["energy_ratio_scaled"] == pytest.approx(mine.evaluation.joules[0] / scaled)
