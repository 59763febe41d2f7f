"""Published mapping choices: a table beside a mapping file, one row for each problem its authors report."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.mapping import Mapping, load_mapping

if TYPE_CHECKING:
    from pathlib import Path

    from dse.arch.spatial_array import SpatialArray
    from dse.workloads.workload import Workload

_KEYS = ("rows", "queries", "keys", "score_depth", "value_depth")
_KEPT = {"queries_kept": "queries", "keys_kept": "keys", "values_kept": "values", "outputs_kept": "outputs"}


def published(workload: Workload, machine: SpatialArray, mapping: Mapping) -> Mapping | None:
    """The mapping published for one design point, if its table lists that problem."""
    if mapping.points is None or not workload.sizes:
        return None
    sizes = workload.sizes
    wanted = (
        machine.units["array_2d"].axes["rows"][0],
        sizes["p"][0] * sizes["g"][0],
        *(sizes[rank][0] for rank in "mef"),
    )
    for row in rows(mapping.points):
        if tuple(float(row[key]) for key in _KEYS) == wanted:
            return mapping_of(row, mapping)
    return None


def rows(table: Path) -> list[dict[str, str]]:
    """Rows of a table of published choices."""
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def mapping_of(row: dict[str, str], mapping: Mapping) -> Mapping:
    """The mapping a row describes."""
    choices = {option: row[column] for column, option in _KEPT.items()}
    choices |= {"stationarity": row["stationarity"], "scores": row["scores"]}
    return load_mapping(mapping.path, choices).with_numbers(block=np.array([float(row["block"])]))
