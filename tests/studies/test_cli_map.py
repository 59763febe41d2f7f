"""``dse map``: the object it prints, counting, fronts, what does not fit, wrong words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.studies.cli_runner import dse

if TYPE_CHECKING:
    from pathlib import Path

FLAT = ("flat", "bert", "-p", "sequence=4K")


def test_the_object_is_that_of_run_with_what_the_search_did() -> None:
    ran = dse("map", *FLAT, "--format", "json")
    assert ran.code == 0
    found = json.loads(ran.out)
    assert found["evaluated"] == found["space"] == 320
    assert found["seconds"] > 0.0
    assert found["stopped"] is None
    assert [row["mapping"] for row in found["front"]] == [found["mapping"]]
    options = [
        word
        for key, value in found["chosen"].items()
        for word in ("--option", f"{key}={int(value) if key == 'block' else value}")
    ]
    again = json.loads(dse("run", *FLAT, *options, "--format", "json").out)
    for key in ("cycles", "energy_j", "bound_by", "components", "mapping"):
        assert again[key] == found[key]


def test_count_evaluates_nothing() -> None:
    ran = dse("map", *FLAT, "--count", "--format", "json")
    found = json.loads(ran.out)
    assert found["space"] == 320
    assert found["parts"][0]["axes"]["block"] == 5


def test_a_front_is_written_and_shown(tmp_path: Path) -> None:
    file = tmp_path / "front.json"
    ran = dse("map", *FLAT, "--objective", "pareto", "-o", file)
    assert ran.code == 0
    front = json.loads(file.read_text())["front"]
    assert len(front) > 1
    assert all(row["mapping"] in ran.out for row in front)
    assert [row["latency_s"] for row in front] == sorted(row["latency_s"] for row in front)
    assert [row["energy_j"] for row in front] == sorted((row["energy_j"] for row in front), reverse=True)


def test_a_space_file_narrows_the_search(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "extends: flat\nsource: mine\nfix: {queries: onchip}\nforbid:\n  - {keys: onchip, values: onchip}\n"
        "range: {block: {least: 1K}}\n"
    )
    assert dse("check", file).code == 0
    found = json.loads(dse("map", *FLAT, "--space", file, "--format", "json").out)
    assert found["space"] == found["evaluated"] == 24 * 3
    assert found["chosen"]["queries"] == "onchip"


def test_a_loop_nest_is_saved_and_runs_again(tmp_path: Path) -> None:
    file = tmp_path / "found.yaml"
    size = ("-p", "m=64", "-p", "n=48", "-p", "k=40")
    words = ("reference_a16", "matmul", *size, "--space", "reference_matmul", "--objective", "energy")
    found = json.loads(dse("map", *words, "--save", file, "--format", "json").out)
    assert dse("check", file).code == 0
    again = json.loads(
        dse("run", "reference_a16", "matmul", *size, "--mapping", file, "--format", "json").out
    )
    for key in ("cycles", "energy_j", "components"):
        assert again[key] == found[key]
    ran = dse("map", *FLAT, "--save", file)
    assert ran.code == 2
    assert "--mapping flat --option" in ran.err


def test_nothing_fits() -> None:
    ran = dse(
        "map", "fusemax", "bert", "-p", "sequence=4K", "-m", "global_buffer.capacity=1KiB", "--format", "json"
    )
    assert ran.code == 3
    found = json.loads(ran.out)
    assert found["rejected"] == {"global_buffer capacity": found["evaluated"]}
    assert "larger memories.global_buffer.capacity" in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--objective", "latncy"], "did you mean 'latency'?"),
        (["--mapper", "exhaustve"], "did you mean 'exhaustive'?"),
        (["--mapper", "paper"], "dse run evaluates"),
        (["--space", "flt"], "did you mean 'flat'?"),
        (["--budget", "0"], "--budget"),
        (["--objective", "area_delay"], "objective area_delay: not known of flat"),
    ],
)
def test_wrong_words_say_what_is_right(words: list[str], said: str) -> None:
    ran = dse("map", *FLAT, *words)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert "Traceback" not in ran.err
