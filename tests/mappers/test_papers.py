"""The search finds the papers' mappings again, or better ones, and chooses among cascades."""

from __future__ import annotations

import itertools

import pytest

from dse.arch.machine import load_machine
from dse.mappers.choose import choose, explorer
from dse.mappers.search.build import space_of
from dse.mappers.search.candidates import choices_of
from dse.mappers.search.each import run
from dse.mappers.search.objective import objective
from dse.mappers.search.search import Search
from dse.mappers.space import load_space
from dse.simulator.evaluate import evaluate
from dse.simulator.lowering import lower
from dse.simulator.mapping import load_mapping
from dse.workloads.load import load_workload

MODELS, LENGTHS = ("bert", "trxl", "t5", "xlm"), ("1K", "4K", "16K", "64K", "256K", "1M")


def searched(machine: str, model: str, length: str, accounting: str, space: str) -> Search:
    work = load_workload(model, {"sequence": length, "batch": "64"})
    search = Search(
        space_of(work, load_machine(machine), accounting, load_space(space)), objective("latency")
    )
    run(explorer("exhaustive"), search)
    return search


def check_fusemax(model: str, length: str, accounting: str) -> None:
    """No slower than the published binding; at long sequences no more than 1% faster."""
    work, machine = load_workload(model, {"sequence": length, "batch": "64"}), load_machine("fusemax")
    published = evaluate(lower(work, machine, load_mapping("fusemax"), accounting).program).seconds[0]
    best = searched("fusemax", model, length, accounting, "fusemax").best
    assert best is not None
    assert best.scores[0] <= published
    if length in {"64K", "256K", "1M"}:
        assert best.scores[0] >= 0.99 * published
        assert choices_of(best.part, best.code)["binding"] == "published"


@pytest.mark.parametrize(("model", "length"), [("bert", "1K"), ("xlm", "256K")])
@pytest.mark.parametrize("accounting", ["paper", "physical"])
def test_fusemax_binding(model: str, length: str, accounting: str) -> None:
    check_fusemax(model, length, accounting)


@pytest.mark.slow
@pytest.mark.parametrize("accounting", ["paper", "physical"])
@pytest.mark.parametrize("model", MODELS)
def test_fusemax_binding_everywhere(model: str, accounting: str) -> None:
    for length in LENGTHS:
        check_fusemax(model, length, accounting)


def test_taller_tiles_need_registers() -> None:
    """A second array height halves corrections but takes the place of a tile in flight."""
    work, machine = load_workload("bert", {"sequence": "64K"}), load_machine("fusemax")
    mapping = load_mapping("fusemax", {"heights": "9"})
    found = evaluate(lower(work, machine, mapping, "physical").program)
    why = found.infeasible(0)
    assert why is not None
    assert (why.constraint, why.demand, why.bound) == ("array_2d registers", 18.0, 16.0)


def test_the_one_pass_cascade_is_chosen_over_three_passes() -> None:
    search = searched("fusemax", "bert", "4K", "physical", "cascades")
    assert search.best is not None
    assert search.best.part.name.endswith("fusemax_free")
    assert {part.name for part in search.space.parts} == {"fusemax_free", "flat", "unfused"}


@pytest.mark.slow
def test_flat_with_three_passes_is_no_worse_than_published() -> None:
    for model, length in itertools.product(MODELS, LENGTHS):
        work, machine = load_workload(model, {"sequence": length, "batch": "64"}), load_machine("flat")
        given = choose("paper", work, machine, load_mapping("flat"), "paper", 1)[0]
        published = evaluate(lower(work, machine, given, "paper").program).seconds[0]
        best = searched("flat", model, length, "paper", "flat").best
        assert best is not None
        assert best.scores[0] <= published
