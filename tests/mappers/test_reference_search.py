"""The search finds the reference problem's best mappings, of all tile sizes, and front where Einsums overlap."""

from __future__ import annotations

import numpy as np
import pytest

from dse.arch.machine import load_machine
from dse.mappers.choose import explorer
from dse.mappers.search.build import space_of
from dse.mappers.search.candidates import choices_of
from dse.mappers.search.each import run
from dse.mappers.search.objective import objective
from dse.mappers.search.search import Limits, Search
from dse.mappers.space import NestsFile, SpaceFile, load_space
from dse.simulator.evaluate import evaluate
from dse.simulator.lowering import lower
from dse.workloads.load import load_workload

SQUARE = {"m": "1K", "n": "1K", "k": "1K"}
HEADS = {"h": "16", "m": "4K", "p": "4K", "e": "64", "f": "64"}


def searched(
    machine: str, workload: str, sizes: dict[str, str], file: SpaceFile, wanted: str, **limits: int
) -> Search:
    work, found = load_workload(workload, sizes), load_machine(machine)
    search = Search(space_of(work, found, "physical", file), objective(wanted), Limits(**limits))
    run(explorer("exhaustive"), search)
    return search


def changed(name: str, **updates: object) -> SpaceFile:
    file = load_space(name)
    assert isinstance(file.nests, NestsFile)
    return file.model_copy(update={"nests": file.nests.model_copy(update=updates)})


@pytest.mark.parametrize(("tiles", "joules"), [("perfect", 5.57004e-3), ("all", 5.28483e-3)])
def test_matmul_on_the_small_array(tiles: str, joules: float) -> None:
    search = searched("reference_a16", "matmul", SQUARE, changed("reference_matmul", tiles=tiles), "energy")
    assert search.best is not None
    _, latency, energy, _ = search.best.ranking
    fetched = 4 if tiles == "perfect" else 3
    assert energy - (2**30 + fetched * 2**20) * 1.6e-12 == pytest.approx(joules, rel=1e-5)
    assert latency == pytest.approx(4.194304e-3, rel=1e-12)


def test_matmul_on_the_large_array() -> None:
    search = searched("reference_a128", "matmul", SQUARE, load_space("reference_matmul"), "energy")
    assert search.best is not None
    assert list(search.best.ranking[1:3]) == pytest.approx([65.536e-6, 3.61549e-3], rel=1e-5)


def test_fused_attention_with_times_added_up() -> None:
    file = changed("reference_attention_summed", fusion="full")
    search = searched("reference_a128", "attention_elementwise", HEADS, file, "pareto")
    assert [c.scores.tolist() for c in search.front] == [
        [pytest.approx(6.291456e-3), pytest.approx(0.115454, rel=1e-5)]
    ]


def test_fused_attention_with_overlap_and_what_is_lowered_from_it() -> None:
    file = changed("reference_attention", fusion="full")
    search = searched("reference_a128", "attention_elementwise", HEADS, file, "pareto")
    assert any(c.scores[0] <= 4.22e-3 and c.scores[1] <= 0.1156 for c in search.front)
    for candidate in search.front[:3]:
        found = evaluate(lower(*candidate.part.point(candidate.code), "physical").program)
        assert found.seconds[0] <= candidate.scores[0] * (1 + 1e-9)
        assert found.joules[0] == pytest.approx(candidate.scores[1], rel=1e-9)


@pytest.mark.slow
def test_fusing_everything_is_best_of_all_ways_to_fuse() -> None:
    file = load_space("reference_attention_summed")
    search = searched("reference_a128", "attention_elementwise", HEADS, file, "energy")
    assert search.best is not None
    assert search.best.part.name == "QK+SM+AV"
    assert search.best.ranking[0] == pytest.approx(0.115454, rel=1e-5)


@pytest.mark.slow
def test_another_stationary_operand_is_faster() -> None:
    file = load_space("reference_attention_free")
    search = searched("reference_a128", "attention_elementwise", HEADS, file, "latency")
    assert search.best is not None
    assert search.best.scores[0] <= 3.35e-3
    assert "SM" in str(choices_of(search.best.part, search.best.code)["array.AV"])


def test_a_budget_stops_the_pruned_search_with_something() -> None:
    search = searched(
        "reference_a16", "matmul", SQUARE, load_space("reference_matmul"), "energy", budget=2000
    )
    assert search.stopped == "budget"
    assert search.best is not None


def test_nothing_fits_a_tiny_buffer() -> None:
    work = load_workload("matmul", {"m": "8", "n": "8", "k": "8"})
    machine = load_machine("reference_a16", {"global_buffer.capacity": "1 B"})
    file = load_space("reference_matmul").model_copy(
        update={"fix": {"keep.A": "m", "keep.Z": "m", "array.Z": "array_2d W rows=k columns=n"}}
    )
    search = Search(space_of(work, machine, "physical", file), objective("energy"))
    run(explorer("exhaustive"), search)
    assert search.best is None
    assert search.nearest is not None
    assert np.isfinite(search.nearest[0])
    assert "global_buffer capacity" in search.rejected


def test_random_candidates_are_measured_like_those_of_the_exhaustive_search() -> None:
    work, machine = load_workload("matmul", {"m": "12", "n": "9", "k": "7"}), load_machine("reference_a16")
    space = space_of(work, machine, "physical", load_space("reference_matmul"))
    best = Search(space, objective("energy"))
    run(explorer("exhaustive"), best)
    drawn = Search(space, objective("energy"), Limits(budget=300, seed=1))
    run(explorer("random"), drawn)
    assert best.best is not None
    assert drawn.best is not None
    assert best.best.scores[0] <= drawn.best.scores[0]


@pytest.mark.parametrize("limits", [{"budget": 1}, {"seconds": 0}])
def test_the_shortest_search_has_a_candidate(limits: dict[str, int]) -> None:
    search = searched("reference_a16", "matmul", SQUARE, load_space("reference_matmul"), "energy", **limits)
    assert search.stopped == next(iter(limits)).replace("seconds", "time")
    assert search.best is not None
