"""A GPU's time: one law for arrays and programs, monotonic in its resources, explained to the last cycle."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.arch.calibration.constants import Calibration
from dse.arch.gpu import Gpu
from dse.arch.machine import load_machine
from dse.errors import WorkloadError
from dse.simulator.gpu.law import predict
from dse.simulator.gpu.tiles import occupancy
from dse.simulator.simulate import simulate
from dse.spec import shipped
from dse.studies.batch import Group, Request, evaluate_requests
from dse.studies.record import evaluate_one, record
from dse.workloads.launch_shapes import attention, decode, gemm, linear_attention
from dse.workloads.launches import Launch, Resources

TOLERANCE = 1.0 + 1e-9
TRACES = [name for name in shipped("workloads/traces", ".parquet") if "values" not in name]
CONSTANTS = {
    "launch": 6e-6, "gap": 1e-6, "ramp": 1e-6, "prologue": 2000.0, "overlap": 0.6, "dram_overlap": 0.3, "masked": 0.2,
    "tensor_efficiency": 0.8, "dram_efficiency": 0.9, "sm_stream": 6e10,
}  # fmt: skip


def h200(**constants: float) -> Gpu:
    found = load_machine("h200", {"calibration": "none"})
    assert isinstance(found, Gpu)
    return replace(found, calibration=Calibration("test").replaced(constants))


def prefill(**changes: Any) -> Launch:  # noqa: ANN401
    shape = {"batch": 2, "heads": 32, "kv_heads": 8, "queries": 4096, "keys": 4096, "depth": 128}
    return attention(**(shape | changes))


def group(workload: str, **parameters: object) -> Group:
    return evaluate_one(Request("h200", workload, tuple(parameters.items()), (("calibration", "none"),)))


def test_uncalibrated_time_is_a_data_sheet_bound() -> None:
    """Products of long prefill at 989.4 TFLOP/s, data of long decode at 4.8 TB/s, nothing else."""
    long = gemm(m=16384, n=16384, k=16384, tile_n=256, resources=Resources(co_resident=np.ones(1)))
    times = predict([long], h200())
    assert times.seconds[0] == pytest.approx(2 * 16384**3 / 989.4e12, rel=0.02)
    data = decode(batch=64, heads=32, kv_heads=8, keys=16384, depth=128)
    moved = 2 * 64 * 8 * 16384 * 128 * 2
    assert predict(data, h200()).seconds[0] == pytest.approx(moved / 4.8e12, rel=0.01)


@pytest.mark.parametrize(
    "name", ["overlap", "tensor_efficiency", "dram_efficiency", "dram_overlap", "sm_stream"]
)
def test_better_constants_are_never_slower(name: str) -> None:
    launches = [prefill(), *decode(batch=8, heads=32, kv_heads=8, keys=8192, depth=128, splits=4)]
    worse = predict(launches, h200(**CONSTANTS)).seconds[0]
    assert predict(launches, h200(**(CONSTANTS | {name: CONSTANTS[name] * 1.2}))).seconds[0] <= worse


@pytest.mark.parametrize("name", ["launch", "gap", "ramp", "prologue", "masked"])
def test_overheads_add(name: str) -> None:
    launches = [prefill(), *decode(batch=2, heads=32, kv_heads=8, keys=8192, depth=128, splits=4)]
    here = predict(launches, h200(**CONSTANTS)).seconds[0]
    assert predict(launches, h200(**(CONSTANTS | {name: CONSTANTS[name] * 2.0}))).seconds[0] > here


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 64),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 8192),
    st.integers(0, 8192),
    st.booleans(),
)
def test_more_of_a_machine_is_never_slower(batch: int, kv: int, rows: int, more: int, causal: bool) -> None:
    launch = prefill(batch=batch, heads=8, kv_heads=kv, queries=rows, keys=rows + more, causal=causal)
    machine = h200(**(CONSTANTS | {"masked": 0.0}))
    here = predict([launch], machine).seconds[0]
    for path, better in machine.scaled_resources(2.0):
        if path not in ("sms", "memories.shared.capacity"):  # these change who runs with whom
            assert predict([launch], better).seconds[0] <= here * TOLERANCE, path
    assert predict([launch], machine, warm=True).seconds[0] <= here * TOLERANCE


def test_many_shapes_give_the_bits_of_one() -> None:
    sizes = np.array([128.0, 1000.0, 4096.0, 16384.0])
    machine = h200(**CONSTANTS)
    many = predict([prefill(queries=sizes, keys=sizes, batch=np.array([1.0, 3.0, 2.0, 8.0]))], machine)
    for number, (size, batch) in enumerate(zip(sizes, (1, 3, 2, 8), strict=True)):
        alone = predict([prefill(queries=size, keys=size, batch=batch)], machine)
        assert alone.seconds[0] == many.seconds[number]
        assert alone.cycles[0] == many.cycles[number]


def test_blocks_share_an_sm_as_far_as_it_has_room() -> None:
    machine = h200()
    r = Resources(np.array([60_000.0]), np.array([128.0]), np.array([4.0]), np.array([2.0]))
    # 228 KiB of shared memory over 60,000 B and 1 KiB.
    assert occupancy(prefill(resources=r), machine)[0] == 3
    wide = replace(r, shared_bytes=np.zeros(1))
    assert occupancy(prefill(resources=wide), machine)[0] == 4  # 64K registers over 128 threads × 128
    assert occupancy(prefill(), machine)[0] == 1
    compiled = replace(prefill(resources=wide), compiled={"sm_90": r, "sm_80": wide})
    assert occupancy(compiled, machine)[0] == 3


def test_a_recurrence_waits_for_itself() -> None:
    launch = linear_attention(batch=1, heads=16, length=8192, chunk=64, depth=128)
    here = predict([launch], h200())
    chained = predict([launch], h200(**{"linear.chain": 1000.0}))
    assert chained.cycles[0] - here.cycles[0] == pytest.approx(128 * 1000.0)


def test_a_power_limit_lowers_the_clock_and_not_the_cycles() -> None:
    known = {"idle_power": 100.0, "tensor_energy": 3e-12, "dram_energy": 5e-12}
    free, bound = predict([prefill()], h200()), predict([prefill()], h200(**known))
    assert bound.cycles[0] == free.cycles[0]
    assert bound.clock_hz[0] < free.clock_hz[0] == h200().clock_hz[0]
    assert bound.joules[0] / bound.seconds[0] == pytest.approx(700.0)
    weak = predict([prefill()], h200(**(known | {"tensor_energy": 1e-13})))
    assert weak.clock_hz[0] == free.clock_hz[0]
    assert weak.joules[0] / weak.seconds[0] < 700.0


def test_data_that_fit_the_cache_cost_nothing_when_warm() -> None:
    fits = decode(batch=4, heads=8, kv_heads=8, keys=1024, depth=128)
    not_fits = decode(batch=64, heads=8, kv_heads=8, keys=8192, depth=128)
    assert predict(fits, h200(), warm=True).dram_bytes[0] == 0.0
    assert predict(not_fits, h200(), warm=True).dram_bytes[0] == predict(not_fits, h200()).dram_bytes[0]


def test_keys_are_fetched_once_while_their_blocks_run_together() -> None:
    """A head's query tiles read the same keys: unique bytes while they fit, more where the cache is small."""
    launch, machine = prefill(batch=1, heads=64, kv_heads=64, queries=65536, keys=65536), h200()
    assert predict([launch], machine).launches[0].dram_bytes["K"][0] == launch.tensors["K"].unique[0]
    small = replace(machine, l2_bytes=np.array([2.0**20]))
    again = predict([launch], small).launches[0].dram_bytes["K"][0] / launch.tensors["K"].unique[0]
    assert 1.0 < again <= 512 / 132


@pytest.mark.parametrize(
    ("workload", "parameters"),
    [
        ("deepseek_v3", {"sequence": 3000, "phase": "decode", "batch": 7}),
        ("attention", {"sequence": 2000, "causal": True, "heads": 32}),
        ("attention", {"sequence": 8192, "phase": "decode", "heads": 32, "kv_heads": 8, "batch": 4}),
        ("bert", {"sequence": 1024, "scope": "model"}),
    ],
)
def test_program_and_law_are_one(workload: str, parameters: dict[str, object]) -> None:
    from dse.simulator.gpu.kernels import launches_of

    found = group(workload, **parameters)
    machine = found.machine
    assert isinstance(machine, Gpu)
    launches = launches_of(found.workload, machine, found.mappings[0])
    law = predict(launches, machine, layers=found.workload.layers)
    assert found.evaluation.cycles[0] == pytest.approx(law.cycles[0], rel=1e-12)
    assert found.evaluation.seconds[0] == pytest.approx(law.seconds[0], rel=1e-12)
    assert found.evaluation.bytes_by_component["dram"][0] == pytest.approx(
        found.workload.layers[0] * law.dram_bytes[0]
    )
    parts = sum(float(part[0]) for _, part in found.evaluation.critical_path)
    assert parts == pytest.approx(found.evaluation.cycles[0])


@pytest.mark.parametrize("name", TRACES)
def test_every_trace_runs_between_its_bounds(name: str) -> None:
    found = group(f"traces/{name}")
    ran = simulate(found.lowered.program).cycles
    evaluation = found.evaluation
    assert evaluation.cycles_lower[0] <= ran * TOLERANCE
    assert ran <= evaluation.cycles_upper[0] * TOLERANCE
    assert evaluation.cycles[0] == pytest.approx(ran, rel=0.1)
    assert evaluation.joules[0] == pytest.approx(evaluation.ledger.joules[:, 0].sum())
    for part in found.workload.launches:
        assert all(np.isfinite(tensor.unique).all() for tensor in part.tensors.values())


def test_decode_splits_until_the_sms_are_full() -> None:
    one = group("attention", sequence=65536, phase="decode", heads=8, kv_heads=1, score_dim=128)
    names = [part["einsum"] for part in record(Request("h200", "attention"), one)["components"]]
    assert "combine" in names
    assert one.evaluation.bound_by(0) == "dram"
    short = group("attention", sequence=128, phase="decode", heads=8, kv_heads=1, score_dim=128)
    assert "combine" not in [
        part["einsum"] for part in record(Request("h200", "attention"), short)["components"]
    ]


def test_prefill_and_decode_are_points_of_one_batch() -> None:
    asked = [
        Request("h200", "attention", (("sequence", size), ("phase", phase)))
        for size in (1024, 4096)
        for phase in ("prefill", "decode")
    ]
    together = evaluate_requests(asked)
    assert len(together) == 1
    for number, request in enumerate(asked):
        assert together[0].evaluation.cycles[number] == evaluate_one(request).evaluation.cycles[0]


def test_launch_parameters_are_numbers_of_the_mapping() -> None:
    def asked(*options: tuple[str, str]) -> Group:
        return evaluate_one(Request("h200", "attention", (("sequence", 4096),), options=options))

    assert "tile_queries=64" in asked(("tile_queries", "64"), ("num_stages", "2")).mappings[0].label
    infeasible = asked(("num_stages", "64")).evaluation
    why = infeasible.infeasible(0)
    assert why is not None
    assert why.constraint == "shared memory of a thread block of flash_forward"
    assert why.bound == 227 * 1024


def test_families_without_a_kernel_are_refused() -> None:
    with pytest.raises(WorkloadError, match="trace a kernel of the family and run the trace"):
        group("linear_attention", m=64, p=64, e=64, f=64)


def test_requests_of_different_lengths_are_one_launch() -> None:
    ragged = group("attention", lengths="4096*3/1,1024/256")
    assert ragged.workload.extras
    alone = [
        group("attention", sequence=4096, batch=3, phase="decode"),
        group("attention", sequence=1024, queries=256),
    ]
    for key in ("flops", "executed_flops"):
        total = sum(float(getattr(one.lowered.facts, key)[0]) for one in alone)
        assert getattr(ragged.lowered.facts, key)[0] == pytest.approx(total), key
    moved = sum(float(one.evaluation.bytes_by_component["dram"][0]) for one in alone)
    assert ragged.evaluation.bytes_by_component["dram"][0] == pytest.approx(moved)


def test_a_window_bounds_what_decode_reads() -> None:
    whole, near = (
        group("attention", sequence=65536, phase="decode", heads=8, **more) for more in ({}, {"window": 4096})
    )
    assert (
        near.evaluation.bytes_by_component["dram"][0] < 0.1 * whole.evaluation.bytes_by_component["dram"][0]
    )


def test_latent_attention_reads_its_latents_once() -> None:
    found = group("deepseek_v3", sequence=16384, phase="decode", batch=64)
    kept = found.workload.sizes["e"][0] * found.workload.value_bytes[0] * 16384 * 64
    assert found.evaluation.bytes_by_component["dram"][0] == pytest.approx(kept, rel=0.2)
    assert found.evaluation.bound_by(0) != "dram"
