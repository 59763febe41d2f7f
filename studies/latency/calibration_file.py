"""A fit as a calibration file: constants with unit, meaning and interval, and the rows they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dse import spec, yaml_tree
from dse.arch.calibration.constants import CONSTANTS, File
from dse.errors import ConfigError, Place
from dse.studies.frames import write_atomic
from dse.studies.latency.rules import parse
from dse.yaml_tree import Node

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dse.arch.gpu import Gpu
    from dse.simulator.calibrate import Fit, Fitted
    from dse.studies.latency.table import LatencyTable


def write_calibration(
    path: Path, fit: Fit, gpu: Gpu, tables: Sequence[LatencyTable], split: str, filters: Sequence[str]
) -> None:
    """Write a fit where ``dse compare --calibration`` and machine files find it.

    Raises
    ------
    ConfigError
        The place cannot be written.
    """
    values = contents(fit, gpu, tables, split, filters)
    spec.checked(values, File, str(path))
    try:
        write_atomic(path, yaml_tree.to_text(_node(values)).encode())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error


def contents(
    fit: Fit, gpu: Gpu, tables: Sequence[LatencyTable], split: str, filters: Sequence[str]
) -> dict[str, Any]:
    """What a calibration file says of a fit; every value as text."""
    names = ", ".join(table.name for table in tables)
    rows = sum(len(table.rows) for table in tables)
    fitted = f"split {split} of {names}"
    extra = [str(parse(text)) for text in filters]
    loose = [name for name, one in fit.constants.items() if one.at_bound]
    found: dict[str, Any] = {
        "title": f"{gpu.title}, {len(fit.constants)} constants from {rows} rows of {names}",
        "source": f"dse calibrate {gpu.name} {' '.join(t.path.name for t in tables)} --rows {split}",
        "machine": gpu.name,
        "notes": [
            f"mean error of the {rows} rows of the fit: {np.abs(fit.errors).mean():.3f}",
            *(f"{name} ended at a bound: these rows do not determine it" for name in loose),
        ],
        "rows": {
            table.name: [[*map(str, rules), *extra] for rules in table.split_rules(split)] for table in tables
        },
        "constants": {},
    }
    for name, one in fit.constants.items():
        family, _, constant = name.rpartition(".")
        place = found.setdefault("families", {}).setdefault(family, {}) if family else found["constants"]
        place[constant] = _constant(constant, one, fitted)
    return found


def _constant(name: str, one: Fitted, fitted: str) -> dict[str, str]:
    known = CONSTANTS[name]
    unit = f" {known.unit}" if known.unit else ""
    low, value, high = (f"{number:.7g}{unit}" for number in (one.low, one.value, one.high))
    return {"meaning": known.meaning, "value": value, "low": low, "high": high, "fitted": fitted}


def _node(value: Any) -> Node:  # noqa: ANN401
    """A tree of values that were in no file."""
    place = Place("")
    if isinstance(value, dict):
        return Node({key: _node(child) for key, child in value.items()}, place)
    return Node([_node(child) for child in value] if isinstance(value, list) else value, place)
