"""Attention on a spatial array: published cycles per tile, both accountings, masks, decode, capacity, properties."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.arch.machine import load_machine
from dse.errors import ConfigError, DseError, MappingError, WorkloadError
from dse.simulator.evaluate import evaluate
from dse.simulator.lowering import lower
from dse.simulator.mapping import load_mapping
from dse.simulator.stack import stack
from dse.workloads.load import load_workload
from tests.simulator.points import cycles_per_tile, point

LONG = 1 << 20
MACHINES = ("unfused", "flat", "fusemax_cascade", "fusemax_architecture", "fusemax")


@pytest.mark.parametrize(
    ("machine", "depth", "cycles"),
    [
        ("flat", 64, 1024.0),
        ("flat", 128, 1024.0),
        ("fusemax_cascade", 64, 1024 + 5 + 2 * 64),
        ("fusemax_cascade", 128, 1024 + 5 + 2 * 128),
        ("fusemax_architecture", 64, 65 + 256 + 1 + 8 + 2 * 64),
        ("fusemax_architecture", 128, 129 + 256 + 1 + 8 + 2 * 128),
        ("fusemax", 64, 2 * 64 + 10),
        ("fusemax", 128, 2 * 128 + 10),
    ],
)
def test_published_cycles_per_tile(machine: str, depth: int, cycles: float) -> None:
    """The per-tile table behind every bar of the paper; the final division adds depth / key tiles."""
    sequence = 65536
    division = (
        depth * 256 / sequence if machine.startswith("fusemax") and machine != "fusemax_architecture" else 0.0
    )
    assert cycles_per_tile(machine, "paper", (depth, depth), sequence) == pytest.approx(
        cycles + division, rel=1e-12
    )


@pytest.mark.parametrize(
    ("depth", "paper", "physical"), [((576, 512), 1098, 1097), ((192, 128), 330, 329), ((128, 64), 202, 201)]
)
def test_accountings_differ_where_depths_differ(depth: tuple[int, int], paper: int, physical: int) -> None:
    """Stages take the longer array one by one; the loop over tiles only needs the longer sum."""
    division = depth[1] * 256 / LONG
    assert cycles_per_tile("fusemax", "paper", depth, LONG) == pytest.approx(paper, abs=division + 0.01)
    assert cycles_per_tile("fusemax", "physical", depth, LONG) == pytest.approx(physical, abs=division + 0.01)


def test_accountings_agree_on_balanced_depths() -> None:
    paper, physical = (cycles_per_tile("fusemax", kind, (64, 64), LONG) for kind in ("paper", "physical"))
    assert physical == pytest.approx(paper, rel=1e-4)


def test_physical_energy_counts_register_files() -> None:
    """About six register accesses of 2 pJ for each 17 pJ multiply-add."""
    _, paper = point("fusemax", "paper", "bert", sequence=4096)
    _, physical = point("fusemax", "physical", "bert", sequence=4096)
    by_component = physical.ledger.by("component", "joules")
    registers = by_component["array_2d.registers"][0] + by_component["array_1d.registers"][0]
    staging = paper.ledger.by("component", "joules")["array_1d.registers"][0]
    assert physical.joules[0] - registers == pytest.approx(paper.joules[0] - staging, rel=1e-12)
    assert 1.5 < physical.joules[0] / paper.joules[0] < 2.0


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("accounting", ["paper", "physical"])
def test_causal_skips_whole_tiles(machine: str, accounting: str) -> None:
    """A causal mask leaves n (n+1) / 2 of n² tiles, and the useful work of its triangle."""
    n, sequence = 16, 4096
    dense, _ = point(machine, accounting, sequence=sequence)
    masked, _ = point(machine, accounting, sequence=sequence, causal="true")
    assert masked.facts.executed_flops[0] / dense.facts.executed_flops[0] == pytest.approx((n + 1) / (2 * n))
    assert masked.facts.flops[0] / dense.facts.flops[0] == pytest.approx((sequence + 1) / (2 * sequence))


@pytest.mark.parametrize(("queries", "keys"), [(256, 4096), (300, 1000), (1, 777), (512, 512), (1000, 1000)])
def test_visited_tiles_by_brute_force(queries: int, keys: int) -> None:
    """Every tile pair with at least one key a query may see, the last query aligned with the last key."""
    lowered, _ = point("fusemax", "physical", sequence=keys, queries=queries, causal="true")
    count = 0
    for first in range(0, queries, 256):
        last = min(first + 256, queries) - 1
        count += math.ceil((keys - queries + last + 1) / 256)
    macs = 2.0 * count * 256 * 256 * (64 + 64)
    assert lowered.facts.executed_flops[0] == pytest.approx(macs)


def test_decode_uses_one_column() -> None:
    lowered, evaluation = point("fusemax", "physical", phase="decode", sequence=65536)
    busy = lowered.facts.occupied["array_2d"][0] / lowered.facts.elements["array_2d"][0]
    assert busy / evaluation.cycles[0] < 1 / 256
    assert lowered.facts.executed_flops[0] == 256 * lowered.facts.flops[0]


def test_query_groups_share_tiles_in_decode() -> None:
    """Eight query heads on one key head fill eight columns in the time of one."""
    one, alone = point("fusemax", "physical", phase="decode", sequence=65536)
    many, packed = point("fusemax", "physical", phase="decode", sequence=65536, heads=8, kv_heads=1)
    assert many.facts.flops[0] == 8 * one.facts.flops[0]
    assert packed.cycles[0] == pytest.approx(alone.cycles[0], rel=1e-3)
    assert packed.bytes_by_component["dram"][0] < 1.01 * alone.bytes_by_component["dram"][0]


def test_narrow_values_move_fewer_bytes() -> None:
    _, wide = point("fusemax", "paper", sequence=4096)
    _, narrow = point("fusemax", "paper", sequence=4096, precision="fp8")
    assert narrow.bytes_by_component["dram"][0] == wide.bytes_by_component["dram"][0] / 2


def test_model_scope_repeats_layers() -> None:
    """A 24-layer model of a million tokens: no overflow, every layer the same."""
    shape: dict[str, Any] = {"sequence": "1M", "batch": 64, "heads": 16, "score_dim": 128}
    _, layer = point("fusemax", "physical", "bert", scope="layer", **shape)
    lowered, model = point("fusemax", "physical", "bert", scope="model", layers=24, **shape)
    assert model.cycles[0] == pytest.approx(24 * layer.cycles[0], rel=1e-12)
    assert lowered.facts.flops[0] > 2.0**63
    assert np.isfinite(model.joules[0])


@pytest.mark.parametrize("capacity", ["100 KiB", "200 KiB"])
def test_tile_that_does_not_fit_is_infeasible(capacity: str) -> None:
    """Key and value tiles and one query tile of depth 128 need about 390 KiB."""
    _, evaluation = point(
        "fusemax", "physical", sequence=4096, score_dim=128, changes={"global_buffer.capacity": capacity}
    )
    why = evaluation.infeasible(0)
    assert why is not None
    assert why.constraint == "global_buffer capacity"
    assert why.demand > why.bound
    assert any("capacity" in lever for lever in why.levers)
    assert np.isnan(evaluation.cycles[0])


def test_too_few_registers_are_infeasible() -> None:
    _, evaluation = point("fusemax", "physical", sequence=4096, changes={"array_2d.registers.entries": "1"})
    why = evaluation.infeasible(0)
    assert why is not None
    assert why.constraint == "array_2d registers"


def test_mapping_without_published_accounting_is_refused() -> None:
    mapping = load_mapping("fusemax")
    file = mapping.file.model_copy(update={"paper": None})
    machine, work = load_machine("fusemax"), load_workload("attention", {"sequence": 512})
    with pytest.raises(MappingError, match="no published accounting"):
        lower(work, machine, replace(mapping, file=file), "paper")


def test_unknown_accounting_names_the_nearest() -> None:
    machine, work = load_machine("fusemax"), load_workload("attention", {"sequence": 512})
    with pytest.raises(ConfigError, match="did you mean 'physical'"):
        lower(work, machine, load_mapping("fusemax"), "fysical")


def test_cascade_of_another_family_is_refused() -> None:
    with pytest.raises(WorkloadError, match="family"):
        point("fusemax", "physical", sequence=512, cascade="linear_attention")


def test_cascade_the_mapping_does_not_bind_is_refused() -> None:
    with pytest.raises(MappingError, match="is bound to no unit"):
        point("fusemax", "physical", sequence=512, cascade="softmax_3pass")


sizes = st.fixed_dictionaries(
    {
        "sequence": st.integers(1, 5000),
        "batch": st.integers(1, 4),
        "heads": st.sampled_from([1, 2, 8]),
        "score_dim": st.integers(1, 300),
        "value_dim": st.integers(1, 300),
        "phase": st.sampled_from(["prefill", "decode"]),
        "causal": st.sampled_from(["true", "false"]),
    }
)


@given(machine=st.sampled_from(MACHINES), accounting=st.sampled_from(["paper", "physical"]), shape=sizes)
@settings(max_examples=40)
def test_ledger_and_times_add_up(machine: str, accounting: str, shape: dict[str, object]) -> None:
    found = load_machine(machine)
    work = load_workload("attention", shape)
    lowered = lower(work, found, load_mapping(found.mapping), accounting)
    evaluation = evaluate(lowered.program)
    assert evaluation.cycles_lower[0] <= evaluation.cycles_upper[0]
    joules = 0.0
    for row in evaluation.ledger.joules:
        joules += row[0]
    assert joules == evaluation.joules[0]
    for time in evaluation.units.values():
        total = time.busy[0] + time.stalled[0] + time.idle[0]
        assert total == pytest.approx(time.servers[0] * evaluation.cycles[0], rel=1e-9)
    assert sum(part[0] for _, part in evaluation.critical_path) == pytest.approx(
        evaluation.cycles[0], rel=1e-9
    )
    for name, occupied in lowered.facts.occupied.items():
        assert occupied[0] <= lowered.facts.elements[name][0] * evaluation.cycles[0] * (1 + 1e-12)


@given(
    machine=st.sampled_from(MACHINES),
    accounting=st.sampled_from(["paper", "physical"]),
    shapes=st.lists(sizes, min_size=2, max_size=4),
)
@settings(max_examples=15)
def test_points_together_equal_points_alone(
    machine: str, accounting: str, shapes: list[dict[str, object]]
) -> None:
    """Bit for bit, whatever other points are in the batch."""
    shapes = [shape | {"causal": shapes[0]["causal"]} for shape in shapes]
    found = load_machine(machine)
    works = [load_workload("attention", shape) for shape in shapes]
    mapping = load_mapping(found.mapping)
    together = evaluate(lower(stack(works), found, mapping, accounting).program)
    for place, work in enumerate(works):
        alone = evaluate(lower(work, found, mapping, accounting).program)
        for key in ("cycles", "joules", "cycles_upper", "bound"):
            mine = getattr(together, key)
            assert mine[place if len(mine) > 1 else 0] == getattr(alone, key)[0]


@given(
    shape=sizes,
    resource=st.sampled_from(["dram.bandwidth", "global_buffer.capacity", "array_2d.registers.entries"]),
)
@settings(max_examples=30)
def test_more_never_raises_the_bounds(shape: dict[str, object], resource: str) -> None:
    values = {
        "dram.bandwidth": ("100 GiB/s", "900 GiB/s"),
        "global_buffer.capacity": ("4 MiB", "64 MiB"),
        "array_2d.registers.entries": ("4", "32"),
    }[resource]
    work, mapping = load_workload("attention", shape), load_mapping("fusemax")
    results = []
    for value in values:
        try:
            results.append(
                evaluate(lower(work, load_machine("fusemax", {resource: value}), mapping, "physical").program)
            )
        except DseError as error:  # pragma: no cover - shown by pytest
            pytest.fail(str(error))
    less, more = results
    assert more.cycles_lower[0] <= less.cycles_lower[0]
    assert more.cycles_upper[0] <= less.cycles_upper[0]
