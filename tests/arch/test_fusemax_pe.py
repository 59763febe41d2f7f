"""FuseMax's area sweep (figure 12): areas, latency and traffic against the results stored in its artifact.

``fusemax_area_sweep.csv`` holds the artifact's pareto.csv (FPSG-UIUC/micro24-fusemax-artifact, MIT licence,
copyright 2024 FPSG-UIUC) for BERT and XLM at 256K tokens, with the sizes its rules give.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse.arch.machine import load_machine
from dse.arch.spatial_array import SpatialArray
from tests.simulator.points import point

if TYPE_CHECKING:
    from dse.simulator.evaluate import Evaluation

Row = dict[str, str]
ROWS = list(csv.DictReader(Path(__file__).with_name("fusemax_area_sweep.csv").open(encoding="utf-8")))
LABELS = [f"{row['workload']}-{row['size']}" for row in ROWS]
# Placeholders of 1 um2 for each column, and two more, that the artifact adds and the machines leave out.
AREA_TOLERANCE = 4e-6


def changes(row: Row) -> dict[str, str]:
    """What a head depth of 128 changes; nothing where the machine file has these sizes already."""
    if row["workload"] == "bert":
        return {}
    return {
        "global_buffer.capacity": row["capacity"],
        "array_2d.registers.entries": row["registers_2d"],
        "array_1d.registers.entries": row["registers_1d"],
    }


def machine(row: Row) -> SpatialArray:
    found = load_machine(f"fusemax_pe{row['size']}", changes(row))
    assert isinstance(found, SpatialArray)
    return found


def evaluated(row: Row, overrides: dict[str, str]) -> Evaluation:
    return point(
        f"fusemax_pe{row['size']}", "paper", row["workload"], overrides, sequence="256K", batch="64"
    )[1]


@pytest.mark.parametrize("row", ROWS, ids=LABELS)
def test_latency_and_traffic_are_those_stored(row: Row) -> None:
    found = evaluated(row, changes(row))
    assert found.seconds[0] == pytest.approx(float(row["latency_s"]), rel=1e-9)
    assert found.bytes_by_component["dram"][0] == pytest.approx(float(row["dram_bytes"]), rel=1e-9)
    clock_hz = machine(row).clock_hz[0]
    for unit in ("dram", "array_2d", "array_1d"):
        assert found.units[unit].busy[0] / clock_hz == pytest.approx(float(row[f"{unit}_s"]), rel=1e-9)


@pytest.mark.parametrize("row", ROWS, ids=LABELS)
def test_areas_are_those_stored(row: Row) -> None:
    """The buffers' areas were recovered from these totals; those of the arrays were not."""
    found = machine(row)
    array_um2 = found.units["array_2d"].area_m2[0] * 1e12
    assert array_um2 == pytest.approx(float(row["array_2d_um2"]), rel=AREA_TOLERANCE)
    assert found.area_m2[0] * 1e12 == pytest.approx(float(row["total_um2"]), rel=AREA_TOLERANCE)


@pytest.mark.parametrize("row", ROWS, ids=LABELS)
def test_sizes_follow_the_rules_of_the_sweep(row: Row) -> None:
    """Registers 2t and 8t with t = 2 max(1, d/E); d words to a row; 16 d E bytes, doubled while memory bounds."""
    found, size, depth = machine(row), int(row["size"]), {"bert": 64, "xlm": 128}[row["workload"]]
    tiles = 2 * max(1, size // depth)
    buffer = found.memories["global_buffer"]
    assert [found.units[name].registers[0] for name in ("array_2d", "array_1d")] == [2 * tiles, 8 * tiles]
    assert [found.units[name].elements[0] for name in ("array_2d", "array_1d")] == [size**2, size]
    assert buffer.row_bytes[0] == 2 * size
    smallest = 16 * size * depth
    multiple = buffer.capacity_bytes[0] / smallest
    for k in [2**i for i in range(int(np.log2(multiple)) + 1)]:
        units = evaluated(row, changes(row) | {"global_buffer.capacity": f"{k * smallest} B"}).units
        assert (units["dram"].busy[0] <= units["array_1d"].busy[0]) == (k == multiple)


def test_energy_of_the_small_buffers_is_not_known() -> None:
    found = evaluated(ROWS[0], {})
    joules = found.ledger.by("component", "joules")
    assert np.isnan(found.joules[0])
    assert np.isnan(joules["global_buffer"][0])
    assert joules["dram"][0] == pytest.approx(found.bytes_by_component["dram"][0] * 8 * 3.9e-12)


def test_registers_scaled_to_their_entries_give_the_artifacts_older_area() -> None:
    """245085811.9168 um2 for the 256 × 256 array in data/pregenerated/pareto.csv of the artifact."""
    scaled = {"array_2d.registers.area.entry": "131.18 um2", "array_2d.registers.area.least": "1"}
    found = load_machine("fusemax", scaled)
    assert isinstance(found, SpatialArray)
    assert found.units["array_2d"].area_m2[0] * 1e12 == pytest.approx(245085811.9168, rel=2e-6)
