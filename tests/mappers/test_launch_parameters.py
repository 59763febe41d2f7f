"""Launch parameters of a GPU's kernels as a space: the search finds the least time of those that fit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dse.arch.machine import load_machine
from dse.mappers.choose import choose
from dse.mappers.space import load_space
from dse.simulator.evaluate import evaluate
from dse.simulator.lowering import lower
from dse.simulator.mapping import load_mapping
from dse.workloads.load import load_workload

SHAPE = {"sequence": 4096, "heads": 32, "kv_heads": 8, "score_dim": 128, "batch": 2}


@pytest.mark.parametrize("machine", ["h200", "a100"])
def test_the_search_finds_the_least_time_of_all_that_fit(machine: str) -> None:
    gpu, mapping = load_machine(machine), load_mapping("triton")
    work = load_workload("attention", SHAPE | {"causal": True})
    space = load_space("triton").numbers
    points = np.array(list(itertools.product(*space.values())), dtype=np.float64)
    every = mapping.with_numbers(**dict(zip(space, points.T, strict=True)))
    found = evaluate(lower(work, gpu, every, "physical").program)
    assert 0 < np.isnan(found.cycles).sum() < len(points)
    (chosen,) = choose("exhaustive", work, gpu, mapping, "physical", 1)
    ours = evaluate(lower(work, gpu, chosen, "physical").program)
    assert ours.cycles[0] == np.nanmin(found.cycles)


def test_a_batch_of_launch_parameters_gives_the_bits_of_each() -> None:
    gpu, mapping = load_machine("h200"), load_mapping("triton")
    work = load_workload("attention", SHAPE | {"phase": "decode"})
    space = load_space("triton_decode").numbers
    points = np.array(list(itertools.product(*space.values())), dtype=np.float64)[::17]
    every = mapping.with_numbers(**dict(zip(space, points.T, strict=True)))
    together = evaluate(lower(work, gpu, every, "physical").program)
    for number, point in enumerate(points):
        one = mapping.with_numbers(**{name: np.array([v]) for name, v in zip(space, point, strict=True)})
        alone = evaluate(lower(work, gpu, one, "physical").program)
        np.testing.assert_equal(alone.cycles[0], together.cycles[number])
        np.testing.assert_equal(alone.joules[0], together.joules[number])
