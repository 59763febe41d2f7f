"""FLAT's search: no published choice is better than what the exhaustive search finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse import spec
from dse.arch.machine import load_machine
from dse.errors import ConfigError
from dse.mappers.choose import choose, mappers
from dse.mappers.points import mapping_of, rows
from dse.simulator.evaluate import evaluate
from dse.simulator.lowering import lower
from dse.simulator.mapping import ROOM, load_mapping
from dse.simulator.stack import stack, take
from dse.workloads.load import load_workload

if TYPE_CHECKING:
    from dse.workloads.workload import Workload

POINTS = rows(spec.find("flat", ROOM).parent / "flat_points.csv")


def problem(row: dict[str, str]) -> Workload:
    shape = {
        "sequence": row["keys"],
        "queries": row["queries"],
        "score_dim": row["score_depth"],
        "value_dim": row["value_depth"],
        "batch": "64",
        "heads": "16",
    }
    return load_workload("attention", shape)


@pytest.mark.parametrize("accounting", ["paper", "physical"])
@pytest.mark.parametrize(("machine", "array"), [("flat", "256"), ("flat_edge", "32")])
def test_no_published_point_is_better(machine: str, array: str, accounting: str) -> None:
    """All 24 published choices of each platform, searched in one batch."""
    listed = [row for row in POINTS if row["rows"] == array]
    assert len(listed) == 24
    found, mapping = load_machine(machine), load_mapping("flat")
    works = [problem(row) for row in listed]
    best = choose("exhaustive", stack(works), found, mapping, accounting, len(works))
    for row, work, chosen in zip(listed, works, best, strict=True):
        given = evaluate(lower(work, found, mapping_of(row, mapping), accounting).program)
        ours = evaluate(lower(work, found, chosen, accounting).program)
        assert ours.cycles[0] <= given.cycles[0]
        if ours.cycles[0] == given.cycles[0] and machine == "flat":
            assert ours.joules[0] <= given.joules[0]


def test_search_does_not_depend_on_the_batch() -> None:
    listed = [row for row in POINTS if row["rows"] == "256"][:6]
    found, mapping = load_machine("flat"), load_mapping("flat")
    works = stack([problem(row) for row in listed])
    together = choose("exhaustive", works, found, mapping, "paper", len(listed))
    for place, chosen in enumerate(together):
        alone = choose("exhaustive", take(works, [place]), found, mapping, "paper", 1)[0]
        assert (alone.choices, alone.numbers["block"].tolist()) == (
            chosen.choices,
            chosen.numbers["block"].tolist(),
        )


def test_paper_mapper_uses_the_published_choice_and_searches_elsewhere() -> None:
    found, mapping = load_machine("flat"), load_mapping("flat")
    listed = load_workload("bert", {"sequence": "256K"})
    other = load_workload("bert", {"sequence": "48K"})
    published = choose("paper", listed, found, mapping, "paper", 1)[0]
    assert published.choices["stationarity"] == "weight"
    assert published.numbers["block"].tolist() == [1024.0]
    searched = choose("paper", other, found, mapping, "paper", 1)[0]
    exhaustive = choose("exhaustive", other, found, mapping, "paper", 1)[0]
    assert searched.label == exhaustive.label
    assert np.isfinite(evaluate(lower(other, found, searched, "paper").program).cycles[0])


def test_unknown_mapper_names_the_nearest() -> None:
    found, mapping = load_machine("flat"), load_mapping("flat")
    with pytest.raises(ConfigError, match="did you mean 'exhaustive'"):
        choose("exhaustiv", load_workload("bert", {"sequence": "1K"}), found, mapping, "paper", 1)
    assert set(mappers()) == {"bayesian", "evolutionary", "exhaustive", "paper", "random"}
