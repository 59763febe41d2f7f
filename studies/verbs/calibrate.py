"""``dse calibrate``: constants of a GPU from rows of measured tables, written as a calibration file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import ConfigError
from dse.studies.latency.calibration_file import write_calibration
from dse.studies.latency.predict import rows_of
from dse.studies.latency.table import CLASS, load_table
from dse.studies.tables import emit
from dse.studies.verbs.compare import load_gpu

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dse.arch.calibration.constants import Calibration
    from dse.arch.gpu import Gpu
    from dse.simulator.calibrate import Fit
    from dse.studies.latency.table import LatencyTable


def calibrate(
    machine: str, tables: list[str], rows: str, output: Path, constants: list[str], filters: list[str]
) -> int:
    """Fit constants to the rows of a split, print them, write them.

    Raises
    ------
    ConfigError
        Machine, table, split, filter or constant are wrong, or rows are too few.
    """
    from dse.simulator.calibrate import SIX, fit

    if output.suffix != ".yaml":
        raise ConfigError(f"{output}: a calibration is a .yaml file")
    gpu = load_gpu(machine)
    used = [_fitted(load_table(source), gpu, rows, filters) for source in tables]
    parts = [rows_of(table, gpu) for table in used]
    measured = np.concatenate([table.measured_s for table in used])

    def predict(known: Calibration) -> NDArray[np.float64]:
        return np.concatenate([part.seconds(known) for part in parts])

    from dse.arch.calibration.constants import Calibration

    found = fit(predict, measured, Calibration(), tuple(constants) or SIX)
    write_calibration(output, found, gpu, used, rows, filters)
    _print(found, len(measured), output)
    return 0


def _fitted(table: LatencyTable, gpu: Gpu, split: str, filters: Sequence[str]) -> LatencyTable:
    """Rows of a table to fit on: of the machine, the split and the filters, of a known class."""
    mine = table.of_machine(gpu.name).filtered(filters)
    mine = mine.where(mine.in_split(split) & np.asarray(mine.rows[CLASS] != ""))
    if not len(mine.rows):
        raise ConfigError(f"{table.name}: no row of split {split} has a known kernel")
    return mine


def _print(fit: Fit, rows: int, output: Path) -> None:
    """The constants, and what the fit leaves."""
    from dse.arch.calibration.constants import CONSTANTS

    emit(
        [
            {
                "constant": name,
                "value": float(f"{one.value:.5g}"),
                "low": float(f"{one.low:.5g}"),
                "high": float(f"{one.high:.5g}"),
                "unit": CONSTANTS[name.rpartition(".")[2]].unit,
                "meaning": CONSTANTS[name.rpartition(".")[2]].meaning,
            }
            for name, one in fit.constants.items()
        ]
    )
    mean = np.abs(fit.errors).mean()
    sys.stderr.write(
        f"{rows} rows, mean error {mean:.3f} after {fit.evaluations} steps; written to {output}\n"
    )
    loose = [name for name, one in fit.constants.items() if one.at_bound]
    sys.stderr.writelines(
        f"note: {name} ended at a bound: these rows do not determine it\n" for name in loose
    )
