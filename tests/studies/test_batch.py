"""Batches of requests: grouping does not show in the results, and problems come all at once."""

from __future__ import annotations

import pytest

from dse.errors import ConfigError
from dse.studies.batch import Request, Resolver, evaluate_requests
from dse.studies.record import evaluate_one, record

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
