"""Searches over option spaces: same optimum, limits, seeds, constraints, rejections."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse.arch.machine import load_machine
from dse.errors import ConfigError
from dse.mappers.choose import choose, explorer
from dse.mappers.search.build import space_file, space_of
from dse.mappers.search.each import run
from dse.mappers.search.objective import objective
from dse.mappers.search.search import Limits, Search
from dse.mappers.space import RangeFile
from dse.simulator.mapping import load_mapping
from dse.workloads.load import load_workload

if TYPE_CHECKING:
    from dse.mappers.search.candidates import Space
    from dse.mappers.space import SpaceFile

MAPPING = load_mapping("flat")
FILE = space_file(MAPPING)


def space(file: SpaceFile = FILE, **changes: str) -> Space:
    work = load_workload("bert", {"sequence": "4K"})
    return space_of(work, load_machine("flat", changes), "paper", file)


def searched(mapper: str, over: Space, wanted: str = "latency", limits: Limits | None = None) -> Search:
    search = Search(over, objective(wanted), limits or Limits())
    run(explorer(mapper), search)
    return search


def changed(**updates: object) -> SpaceFile:
    return FILE.model_copy(update=updates)


def test_every_search_finds_the_same_optimum_of_a_small_space() -> None:
    over = space(changed(fix={"stationarity": "output", "scores": "onchip", "queries": "onchip"}))
    best = searched("exhaustive", over).best
    assert best is not None
    for mapper in ("random", "evolutionary", "bayesian"):
        found = searched(mapper, over, limits=Limits(budget=over.size, seed=3))
        assert found.best is not None
        assert found.best.ranking[0] == best.ranking[0]
        assert found.evaluated <= over.size


def test_a_front_is_the_pareto_set_of_all_candidates() -> None:
    over = space()
    found = searched("exhaustive", over, "pareto")
    shuffled = searched("random", over, "pareto", Limits(seed=5))
    assert found.evaluated == shuffled.evaluated == over.size
    scores = sorted(tuple(c.scores.tolist()) for c in found.front)
    assert scores == sorted(tuple(c.scores.tolist()) for c in shuffled.front)
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in itertools.pairwise(scores))


@pytest.mark.parametrize("wanted", ["energy", "edp", "capacity"])
def test_objectives(wanted: str) -> None:
    found = searched("exhaustive", space(), wanted).best
    assert found is not None
    front = searched("exhaustive", space(), f"{wanted},capacity,latency").front
    assert found.scores[0] == min(candidate.scores[0] for candidate in front)


@pytest.mark.parametrize("mapper", ["random", "evolutionary", "bayesian"])
def test_budget_and_seed(mapper: str) -> None:
    over = space()
    first, again = (searched(mapper, over, limits=Limits(budget=40, seed=7)) for _ in range(2))
    assert (first.evaluated, first.stopped) == (40, "budget")
    assert first.best is not None
    assert again.best is not None
    assert first.best.ranking == again.best.ranking
    assert np.array_equal(first.best.code, again.best.code)


def test_a_search_without_time_still_has_its_first_batch() -> None:
    found = searched("exhaustive", space(), limits=Limits(seconds=0.0))
    assert found.stopped == "time"
    assert found.best is not None


def test_constraints_narrow_the_space_and_are_counted() -> None:
    whole = space().size
    assert whole == 64 * 5
    assert space(changed(fix={"queries": "onchip"})).size == whole // 2
    assert space(changed(range={"block": RangeFile(least=512, most=2048)})).size == 64 * 3
    rules = [{"queries": "onchip", "keys": "onchip"}, {"queries": "onchip", "block": "256"}]
    over = space(changed(forbid=rules))
    assert over.size == whole - whole // 4 - 32 + 16
    found = searched("exhaustive", over)
    assert found.evaluated == over.size


@pytest.mark.parametrize(
    ("updates", "said"),
    [
        ({"fix": {"querys": "onchip"}}, "there is no axis 'querys'; did you mean 'queries'?"),
        ({"fix": {"queries": "onship"}}, "leaves nothing of offchip, onchip"),
        ({"range": {"blok": RangeFile()}}, "did you mean 'block'?"),
        ({"forbid": [{"kays": "onchip"}]}, "did you mean 'keys'?"),
        ({"options": {"kays": []}}, "mapping flat has no 'kays'; did you mean 'keys'?"),
        ({"numbers": {"blok": [1]}}, "mapping flat has no 'blok'; did you mean 'block'?"),
        ({"alternatives": ["flat", "flat"]}, "'flat' is listed twice"),
    ],
)
def test_a_wrong_space_says_what_is_right(updates: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        space(changed(**updates))


def test_what_does_not_fit_is_counted_and_the_nearest_is_kept() -> None:
    mapping = load_mapping("fusemax")
    small = load_machine("fusemax", {"global_buffer.capacity": "100 KiB"})
    work = load_workload("bert", {"sequence": "4K"})
    found = searched("exhaustive", space_of(work, small, "physical", space_file(mapping)))
    assert found.best is None
    assert found.rejected == {"global_buffer capacity": found.evaluated}
    assert found.nearest is not None
    assert 1.0 < found.nearest[0] < 2.0


def test_what_has_no_space_is_not_searched() -> None:
    """Options of such a mapping may say how to count."""
    mapping = load_mapping("spatten")
    work = load_workload("gpt2_small", {"sequence": "1K", "phase": "decode"})
    over = space_of(work, load_machine("spatten"), "physical", space_file(mapping))
    assert over.size == 1
    found = searched("exhaustive", over).best
    assert found is not None
    assert found.part.point(found.code)[2].choices == mapping.choices


def test_cascades_of_one_mapping_are_searched_by_map_but_not_by_sweeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = changed(cascades=["softmax_3pass", "softmax_deferred"], fix={"scores": "onchip"})
    over = space(both)
    assert over.size == 2 * 32 * 5
    found = searched("exhaustive", over)
    assert found.best is not None
    assert found.best.part.point(found.best.code)[0].cascade in {"softmax_3pass", "softmax_deferred"}
    monkeypatch.setattr("dse.mappers.search.each.space_file", lambda _: both)
    with pytest.raises(ConfigError, match="does not choose among cascades"):
        choose("random", load_workload("bert", {"sequence": "4K"}), load_machine("flat"), MAPPING, "paper", 1)


def test_searches_serve_sweeps() -> None:
    work, machine = load_workload("bert", {"sequence": "4K"}), load_machine("flat")
    best = choose("exhaustive", work, machine, MAPPING, "paper", 1)[0]
    drawn = choose("random", work, machine, MAPPING, "paper", 1)[0]
    assert drawn.label == best.label or drawn.choices.keys() == best.choices.keys()
    with pytest.raises(ConfigError, match="dse run evaluates"):
        explorer("paper")


def test_unknown_objectives_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'energy'"):
        objective("latency,enrgy")
