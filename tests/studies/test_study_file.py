"""Study files: what they hold, what is wrong with them, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dse.errors import ConfigError
from dse.studies import study_file
from dse.studies.study_file import Metric, StudyFile, folder_of, load_study, parts_of, resolved
from tests.studies.study_samples import STUDY, write

if TYPE_CHECKING:
    from pathlib import Path


def load(folder: Path, old: str = "", new: str = "") -> StudyFile:
    assert old in STUDY
    return load_study(write(folder, STUDY.replace(old, new) if old else STUDY))


def test_axes_keep_the_order_of_the_file(tmp_path: Path) -> None:
    (part,) = parts_of(load(tmp_path))["attention"]
    assert part.names == ("machine", "workload", "sequence")
    turned = "    sequence: [1K]\n    machine: [flat, fusemax]\n"
    file = load(tmp_path, "    machine: [flat, fusemax]\n", turned.replace("sequence", "batch"))
    assert parts_of(file)["attention"][0].names == ("batch", "machine", "workload", "sequence")


def test_a_sweep_may_have_further_parts(tmp_path: Path) -> None:
    also = "    also: {large: {workload: [xlm], machine: [fusemax], sequence: [1M]}}\nmetrics:\n"
    first, second = parts_of(load(tmp_path, "metrics:\n", also))["attention"]
    assert (first.name, second.name) == ("", "large")
    assert second.names == ("workload", "machine", "sequence")
    with pytest.raises(ConfigError, match=r"sweeps.attention.also.large: needs the axis machine"):
        load(tmp_path, "metrics:\n", also.replace("machine: [fusemax], ", ""))


def test_a_metric_refines_another(tmp_path: Path) -> None:
    file = load(tmp_path)
    found = resolved(file, "mean_speedup")
    assert found.column == "latency_s"
    assert found.against == {"machine": "flat"}
    assert found.compare == "speedup"
    assert found.reduce == "mean"
    assert resolved(file, "latency") == Metric(column="latency_s")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{column: latency_s}", "{column: latency_s, ledger: bytes}", "metrics.latency: .*exactly one of"),
        ("{column: energy_j}", "{reduce: mean}", "exactly one of: of, column, ledger"),
        ("{column: energy_j}", "{column: energy_j, where: {einsum: QK}}", "where selects rows of the ledger"),
        (", compare: speedup", "", "against and compare need each other"),
        (
            "{of: speedup,",
            "{of: sped,",
            "metrics.mean_speedup.of: there is no 'sped'; did you mean 'speedup'",
        ),
        ("{of: speedup,", "{of: mean_speedup,", "refine each other in a cycle"),
        ("{component: array_2d}", "{unit: array_2d}", "metrics.active.where: there is no 'unit'"),
        ("    machine: [flat, fusemax]\n", "", "sweeps.attention: needs the axis machine"),
        ("metrics: [speedup]", "metrics: [sped]", "figures.speedups.metrics: there is no 'sped'"),
        ("kind: utilization, sweeps: [attention]", "kind: utilization, sweeps: [x]", "figures.roof.sweeps"),
        ("kind: utilization", "kind: utilisation", "did you mean 'utilization'"),
        ("kind: utilization", "kind: bars", "bars needs metrics"),
        ("parts: einsum, ", "", "stack needs parts"),
        ("x: latency, ", "", "curve needs x"),
        ("kind: bars,", "kind: bars, x: latency,", "bars takes no x"),
        ("parts: einsum", "parts: unit", "figures.shares.parts: there is no 'unit'"),
        ("units: {energy: mJ}", "units: {power: W}", "figures.line.units: there is no 'power'"),
        ("licence: none\n", "", "licence"),
    ],
)
def test_errors_name_the_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, old, new)
    assert "study.yaml:" in str(caught.value)


def test_studies_are_found_by_name_and_by_path(tmp_path: Path) -> None:
    assert "fusemax" in study_file.names()
    assert (folder_of("fusemax") / study_file.CLAIMS).is_file()
    mine = write(tmp_path / "mine")
    assert folder_of(str(mine)) == mine
    assert folder_of(str(mine / "study.yaml")) == mine
    with pytest.raises(ConfigError, match="no study 'fusemx'; did you mean 'fusemax'"):
        folder_of("fusemx")
    with pytest.raises(ConfigError, match="no study"):
        folder_of(str(tmp_path))
