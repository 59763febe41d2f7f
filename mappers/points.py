"""Published mapping choices: a table beside a mapping file, one row for each problem its authors report."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np

from dse.arch.spatial_array import SpatialArray
from dse.errors import ConfigError, Place, Problem
from dse.simulator.mapping import Mapping, load_mapping

if TYPE_CHECKING:
    from pathlib import Path

    from dse.arch.machine import Machine
    from dse.workloads.workload import Workload

_KEYS = ("rows", "queries", "keys", "score_depth", "value_depth")
_KEPT = {"queries_kept": "queries", "keys_kept": "keys", "values_kept": "values", "outputs_kept": "outputs"}


def published(workload: Workload, machine: Machine, mapping: Mapping, size: int) -> list[Mapping | None]:
    """The mapping published for each design point, None where its table does not list that problem."""
    if mapping.points is None or not workload.sizes or not isinstance(machine, SpatialArray):
        return [None] * size
    sizes = workload.sizes
    wanted = np.broadcast_arrays(
        machine.units["array_2d"].axes["rows"],
        sizes["p"] * sizes["g"],
        *(sizes[rank] for rank in "mef"),
        np.zeros(size),
    )
    known: dict[tuple[float, ...], dict[str, str]] = {}
    for row in rows(mapping.points):
        known.setdefault(tuple(float(row[key]) for key in _KEYS), row)
    found: dict[tuple[float, ...], Mapping | None] = {}
    for problem in zip(*(column.tolist() for column in wanted[:-1]), strict=True):
        if problem not in found:
            found[problem] = mapping_of(known[problem], mapping) if problem in known else None
    return [found[problem] for problem in zip(*(column.tolist() for column in wanted[:-1]), strict=True)]


def rows(table: Path) -> list[dict[str, str]]:
    """Rows of a table of published choices.

    Raises
    ------
    ConfigError
        The table cannot be read.
    """
    try:
        with table.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(line for line in file if not line.startswith("#")))
    except OSError as error:
        raise ConfigError(Problem(f"cannot read this table: {error.strerror}", Place(str(table)))) from None


def mapping_of(row: dict[str, str], mapping: Mapping) -> Mapping:
    """The mapping a row describes."""
    choices = {option: row[column] for column, option in _KEPT.items()}
    choices |= {"stationarity": row["stationarity"], "scores": row["scores"]}
    return load_mapping(mapping.path, choices).with_numbers(block=np.array([float(row["block"])]))
