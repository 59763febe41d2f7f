"""``dse calibrate``: constants of a GPU from rows of measured tables, written as a calibration file."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import ConfigError
from dse.studies.latency.calibration_file import write_calibration
from dse.studies.latency.predict import rows_of
from dse.studies.latency.table import CLASS, load_table, numbers_of
from dse.studies.tables import emit
from dse.studies.verbs.compare import load_gpu

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dse.arch.calibration.constants import Calibration
    from dse.arch.gpu import Gpu
    from dse.simulator.calibrate import Fit, Fitted
    from dse.studies.latency.predict import Rows
    from dse.studies.latency.table import LatencyTable


WORK = ("multiply_adds", "dram_bits")


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

    energies = _energies(used, parts)
    base = Calibration().replaced({name: one.value for name, one in energies.items()})
    found = fit(predict, measured, base, tuple(constants) or SIX)
    found = replace(found, constants=found.constants | energies)
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


def _energies(used: Sequence[LatencyTable], parts: Sequence[Rows]) -> dict[str, Fitted]:
    """Energy constants from rows whose joules were measured; none where too few were.

    The work of a row does not depend on the constants of time.
    """
    from dse.arch.calibration.constants import Calibration
    from dse.simulator.calibrate import ENERGIES, fit_energy

    joules = np.concatenate([numbers_of(table.rows, "energy_j") for table in used])
    counted = joules > 0.0
    if counted.sum() < len(ENERGIES):
        return {}
    work = [part.chosen(Calibration()) for part in parts]
    macs, bits = (np.concatenate([getattr(one, name) for one in work])[counted] for name in WORK)
    seconds = np.concatenate([table.measured_s for table in used])[counted]
    return fit_energy(macs, bits, seconds, joules[counted])


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
