"""``dse schema``: valid JSON Schemas that accept every shipped file and reject wrong ones."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml

from dse.arch.machine import kinds
from dse.studies.options import SCHEMAS
from dse.studies.verbs import listing
from dse.studies.verbs import schema as verb
from tests.studies.cli_runner import dse

SHELF = {shelf.kind: name for name, shelf in listing.SHELVES.items()} | {"workload": "workloads"}


def printed(*arguments: str) -> dict[str, Any]:
    ran = dse("schema", *arguments)
    assert (ran.code, ran.err) == (0, "")
    found: dict[str, Any] = json.loads(ran.out)
    return found


def validator(*arguments: str) -> jsonschema.Draft202012Validator:
    found = printed(*arguments)
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


def test_every_kind_of_file_can_be_asked_for() -> None:
    assert set(SCHEMAS) == {*verb.BY_KIND, *verb.TOGETHER, *verb.SCHEMAS}


@pytest.mark.parametrize(
    "what", [what for what in SCHEMAS if what in SHELF and what != "workload" and verb.schemas(what)]
)
def test_shipped_files_are_accepted(what: str) -> None:
    check = validator(what)
    for path in listing.files(SHELF[what]).values():
        assert [error.message for error in check.iter_errors(yaml.safe_load(path.read_text()))] == []


def test_a_workload_is_a_model_or_a_cascade() -> None:
    check = validator("workload")
    for kind in ("models", "cascades"):
        for path in listing.files(kind).values():
            check.validate(yaml.safe_load(path.read_text()))
    assert not check.is_valid({"title": "neither"})


@pytest.mark.parametrize(
    "change",
    [
        {"clok": "1 GHz"},
        {"clock": 1},
        {"kind": "spatial"},
        {"memories": {"dram": {"bandwith": "1 GB/s"}}},
        {"sweep": {"machine": ["flat"]}},
    ],
)
def test_wrong_machines_are_rejected(change: dict[str, Any]) -> None:
    check = validator("machine", "--kind", "spatial_array")
    assert check.is_valid({"extends": "fusemax", "clock": "1 GHz"})
    assert not check.is_valid({"extends": "fusemax"} | change)


def test_machines_of_all_kinds_are_alternatives(monkeypatch: pytest.MonkeyPatch) -> None:
    one, sweep = verb.schemas("machine")["spatial_array"], verb.schemas("sweep")
    machines = {"spatial_array": one, "other": one}
    monkeypatch.setattr(verb, "schemas", lambda what: machines if what == "machine" else sweep)
    check = validator("machine")
    document = yaml.safe_load(listing.files("machines")["fusemax"].read_text())
    assert check.is_valid(document)
    assert check.is_valid(document | {"kind": "other"})
    assert not check.is_valid(document | {"kind": "third"})
    assert not check.is_valid(document | {"clok": 1})


def test_a_wrong_kind_names_those_there_are() -> None:
    ran = dse("schema", "machine", "--kind", "spatial_aray")
    assert ran.code == 2
    assert "did you mean 'spatial_array'?" in ran.err
    assert all(kind in ran.err for kind in kinds())
    assert "only machines and mappings have kinds" in dse("schema", "cascade", "--kind", "gpu").err
