"""A nest as a Program: the same joules and cycles as its closed form, simulated between its bounds, and in files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse.arch.machine import load_machine
from dse.arch.spatial_array import SpatialArray
from dse.errors import MappingError, WorkloadError
from dse.simulator.evaluate import evaluate
from dse.simulator.loop_nest.lower import lower, plan_of
from dse.simulator.loop_nest.mapping import File, mapping_of, written
from dse.simulator.loop_nest.plan import Conventions
from dse.simulator.lowering import lower as lower_any
from dse.simulator.mapping import Mapping, load_mapping
from dse.simulator.simulate import simulate
from dse.simulator.stack import stack
from dse.workloads.load import load_workload
from tests.simulator.loop_nest.reference import fused

if TYPE_CHECKING:
    from dse.simulator.arrays import Array
    from dse.workloads.workload import Workload


def spatial(name: str) -> SpatialArray:
    found = load_machine(name)
    assert isinstance(found, SpatialArray)
    return found


def small(length: int = 512, heads: int = 2) -> Workload:
    sizes = {"h": heads, "m": length, "p": length, "e": 64, "f": 64}
    return load_workload("attention_elementwise", sizes)


def searched(window: int, *tiles: Array) -> Mapping[File]:
    return mapping_of(fused(), tiles, "attention_elementwise", [window], Conventions())


def one(*tiles: float) -> list[Array]:
    return [np.array([float(tile)]) for tile in tiles]


@pytest.mark.parametrize("window", [1, 2, 3])
def test_program_spends_what_the_closed_form_says(window: int) -> None:
    mapping, machine = searched(window, *one(1, 128, 1, 1, 100, 1, 1, 1)), spatial("reference_a128")
    plan, tiles = plan_of(small(), machine, mapping)
    costs = plan.costs(tiles, np.array([[float(window)]]))
    lowered = lower(small(), machine, mapping, "physical")
    evaluation = evaluate(lowered.program)
    assert evaluation.joules[0] == pytest.approx(costs.joules[0], rel=1e-12)
    if window == 1:
        assert evaluation.cycles[0] == pytest.approx(costs.cycles[0], rel=1e-12)
    assert evaluation.cycles[0] <= costs.cycles[0] * (1 + 1e-12) <= evaluation.cycles_upper[0]
    result = simulate(lowered.program)
    assert evaluation.cycles_lower[0] * (1 - 1e-9) <= result.cycles <= evaluation.cycles_upper[0] * (1 + 1e-9)
    moved = evaluation.bytes_by_component
    assert moved["dram"][0] == 2.0 * 4 * 2 * 512 * 64
    assert lowered.facts.flops[0] == 4.0 * 2 * 512 * 512 * 64


def test_tiles_of_many_points_are_one_batch() -> None:
    machine = spatial("reference_a128")
    tiles = [np.array([1.0, 1.0]), np.array([128.0, 64.0]), *one(1, 1, 128, 1, 1, 1)]
    both = evaluate(lower(small(), machine, searched(2, *tiles), "physical").program)
    for point in range(2):
        mapping = searched(2, *tiles).at(point)
        alone = evaluate(lower(small(), machine, mapping, "physical").program)
        assert (alone.cycles[0], alone.joules[0]) == (both.cycles[point], both.joules[point])


def test_written_mapping_reads_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    import yaml

    mapping = searched(2, *one(1, 128, 1, 1, 128, 1, 1, 1))
    path = tmp_path_factory.mktemp("mapping") / "found.yaml"
    path.write_text(yaml.safe_dump(written(mapping), sort_keys=False), encoding="utf-8")
    again, machine = load_mapping(path), spatial("reference_a128")
    ours, theirs = (evaluate(lower(small(), machine, each, "physical").program) for each in (mapping, again))
    assert (ours.cycles[0], ours.joules[0]) == (theirs.cycles[0], theirs.joules[0])


def test_shipped_mappings_are_the_reference_figures() -> None:
    product = load_workload("matmul", {"m": 1024, "n": 1024, "k": 1024})
    found = evaluate(
        lower(product, spatial("reference_a16"), load_mapping("matmul_stationary"), "physical").program
    )
    assert (found.joules[0], found.cycles[0]) == (pytest.approx(7.00784e-3, rel=1e-5), 4194304 + 16)
    long = load_workload("attention_elementwise", {"h": 16, "m": 4096, "p": 4096, "e": 64, "f": 64})
    fused_too = load_mapping("attention_stationary")
    attention = evaluate(lower(long, spatial("reference_a128"), fused_too, "physical").program)
    assert attention.joules[0] == pytest.approx(0.115454, rel=1e-5)
    assert 4194304 <= attention.cycles[0] < 4.22e6


def test_what_cannot_be_mapped_says_why() -> None:
    machine, nest = spatial("reference_a128"), load_mapping("matmul_stationary")
    with pytest.raises(WorkloadError, match="family softmax"):
        lower(load_workload("bert", {"sequence": 1024}), machine, nest, "physical")
    with pytest.raises(WorkloadError, match="computes no matmul"):
        lower(load_workload("bert", {"sequence": 1024, "scope": "linear"}), machine, nest, "physical")
    mapping = searched(1, *one(1, 128, 1, 1, 128, 1, 1, 1))
    with pytest.raises(MappingError, match=r"loop QK\.m\.columns has no tile size"):
        lower(small(), machine, Mapping("x", mapping.file, {}, {}, mapping.path), "physical")


@pytest.mark.parametrize("length", [4096, 16384])
def test_fusemax_as_a_loop_nest_is_the_binding(length: int) -> None:
    machine, workload = spatial("fusemax"), load_workload("bert", {"sequence": length, "batch": 64})
    nest = evaluate(lower(workload, machine, load_mapping("fusemax_nest"), "physical").program)
    binding = evaluate(lower_any(workload, machine, load_mapping("fusemax"), "physical").program)
    assert nest.feasible[0] == 0
    assert nest.cycles[0] == pytest.approx(binding.cycles[0], rel=1e-4)
    work = {unit: nest.units[unit].busy[0] for unit in ("array_2d", "array_1d")}
    theirs = {unit: binding.units[unit].busy[0] for unit in work}
    assert work == pytest.approx(theirs, rel=1e-12)


def test_workloads_of_many_sizes_are_one_batch() -> None:
    machine, mapping = spatial("reference_a128"), load_mapping("attention_stationary")
    workloads = [small(length, heads) for length, heads in ((512, 1), (1000, 3), (4096, 16))]
    batch = evaluate(lower(stack(workloads), machine, mapping, "physical").program)
    for point, workload in enumerate(workloads):
        alone = evaluate(lower(workload, machine, mapping, "physical").program)
        assert (alone.cycles[0], alone.joules[0]) == (batch.cycles[point], batch.joules[point])
        assert alone.cycles_upper[0] == batch.cycles_upper[point]
