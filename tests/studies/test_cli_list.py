"""``dse list``: everything shipped is found by its place, and a broken file is only one row."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from dse import spec
from dse.studies.options import LISTS
from dse.studies.verbs import listing
from tests.studies.cli_runner import ROOT, dse


def listed(*arguments: str) -> list[dict[str, str]]:
    ran = dse("list", *arguments, "--format", "json")
    assert ran.code == 0
    found: list[dict[str, str]] = json.loads(ran.out)
    return found


def test_every_list_can_be_asked_for() -> None:
    assert set(LISTS) == {*listing.SHELVES, *listing.TOGETHER}


@pytest.mark.parametrize("kind", LISTS)
def test_json_holds_name_kind_path_and_summary(kind: str) -> None:
    for row in listed(kind):
        assert list(row) == ["name", "kind", "path", "summary"]
        assert all(row.values())
        assert (Path.cwd() / row["path"]).is_file()
        assert not row["summary"].startswith("cannot be read")


def test_lists_hold_what_is_shipped() -> None:
    machines = {row["name"] for row in listed("machines")}
    assert {"fusemax", "flat", "unfused"} <= machines
    assert machines == {path.stem for path in (ROOT / "arch").glob("*.yaml")}
    assert {row["name"] for row in listed("cascades")} == set(spec.shipped("workloads/cascades"))
    assert {row["name"] for row in listed("mappers")} >= {"paper", "exhaustive"}
    assert [row["kind"] for row in listed("kernels") if row["name"] == "flash_forward"] == ["kernel"]


def test_all_lists_together_hold_each_thing_once() -> None:
    together = listed()
    assert together == [row for kind in listing.SHELVES for row in listed(kind)]
    workloads = listed("workloads")
    assert {row["kind"] for row in workloads} >= {"model", "cascade"}
    assert workloads == [row for kind in listing.TOGETHER["workloads"] for row in listed(kind)]


def test_csv_and_table_show_the_same_names() -> None:
    names = [row["name"] for row in listed("models")]
    rows = csv.DictReader(io.StringIO(dse("list", "models", "--format", "csv").out))
    assert [row["name"] for row in rows] == names
    table = dse("list", "models").out
    assert all(f" {name} " in table for name in names)


def test_a_derived_file_is_summarised_by_what_it_extends() -> None:
    found = {row["name"]: row["summary"] for row in listed("models")}
    assert found["bert_base"] == found["bert"]


def test_a_broken_file_is_one_row_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, broken, bare = (tmp_path / f"{name}.yaml" for name in ("good", "broken", "bare"))
    good.write_text("title: fine\n")
    broken.write_text("title: [\n")
    bare.write_text("layers: 1\n")
    shipped = {path.stem: path for path in (good, broken, bare)}
    monkeypatch.setattr(listing, "files", lambda _: shipped)
    summaries = {row["name"]: row["summary"] for row in listed("models")}
    assert summaries["good"] == "fine"
    assert summaries["bare"] == "no title"
    assert summaries["broken"].startswith("cannot be read: ")
    assert "broken.yaml:2" in summaries["broken"]


def test_an_empty_list_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "files", lambda _: {})
    assert dse("list", "sweeps").out == "no sweeps are shipped\n"
    assert listed("sweeps") == []
