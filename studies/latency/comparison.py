"""Simulated against measured: rows of a table, what was left out and why, errors class by class.

Rows that the calibration was fitted on do not take part. Kernels of less than 15 us, which launches dominate, count in
their class and are reported once more apart.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.errors import ConfigError, Problem
from dse.studies.latency.baselines import NAMES, Known, baselines, known_rows
from dse.studies.latency.metrics import errors, same_launch_floor, split_half_floor
from dse.studies.latency.predict import rows_of
from dse.studies.latency.rules import any_of, parse
from dse.studies.latency.table import CLASS, MACHINE, LatencyTable, numbers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from dse.arch.calibration.constants import Calibration
    from dse.arch.gpu import Gpu
    from dse.studies.latency.predict import Chosen
    from dse.studies.latency.tracing import Tracing

    Floats = NDArray[np.float64]
    Mask = NDArray[np.bool_]

HALVES = ("half_a_s", "half_b_s")
SMALL_S = 15e-6
SIMULATED = "simulated_s"


@dataclass(frozen=True)
class Comparison:
    """Rows that were compared, with simulated seconds and those of baselines, and what was not compared."""

    table: LatencyTable
    machine: str
    simulated_s: Floats
    chosen: Chosen
    others: dict[str, Floats]
    keys: list[bytes]
    left_out: tuple[str, ...]

    @property
    def classes(self) -> list[str]:
        """Classes in the order in which the table's description has them."""
        present = {str(name) for name in self.table.rows[CLASS]}
        return [name for name in self.table.kernels if name in present]

    def rows(self) -> pd.DataFrame:
        """The rows with simulated seconds, the relative error, and the seconds of baselines."""
        measured = self.table.measured_s
        added = {SIMULATED: self.simulated_s, "relative_error": self.simulated_s / measured - 1.0}
        added |= {f"{name}_s": values for name, values in self.others.items()}
        return self.table.rows.assign(**added)

    def records(self) -> list[dict[str, Any]]:
        """Errors of each class, of all rows where there are several classes, and of the small kernels among them."""
        measured = self.table.measured_s
        column = self.table.rows[CLASS]
        parts = [(name, np.asarray(column == name)) for name in self.classes]
        every = np.ones(len(measured), dtype=bool)
        if len(parts) > 1:
            parts.append(("all", every))
        small = measured < SMALL_S
        if small.any() and not small.all():
            parts += [("all from 15 us", ~small), ("all below 15 us", small)]
        return [self._record(name, mask) for name, mask in parts]

    def _record(self, name: str, mask: Mask) -> dict[str, Any]:
        measured = self.table.measured_s[mask]
        found = asdict(errors(self.simulated_s[mask], measured))
        interval = found.pop("interval")
        low, high = interval if interval is not None else (None, None)
        others = {
            key: errors(self.others[key][mask], measured).mape if key in self.others else None
            for key in NAMES
        }
        record: dict[str, Any] = {"class": name, **found, "mape_low": low, "mape_high": high}
        record |= {"noise_floor": self._floor(mask), "baselines": others}
        return record | self._further(mask)

    def _further(self, mask: Mask) -> dict[str, Any]:
        """Errors of cycles where the SM clock was logged, and of joules where energy was measured."""
        found: dict[str, Any] = {}
        measured = self.table.measured_s
        clock = self._column("sm_clock_hz")
        logged = mask & (clock > 0.0)
        if logged.any():
            found["cycle_mape"] = errors(self.chosen.cycles[logged], (measured * clock)[logged]).mape
        joules = self._column("energy_j")
        counted = mask & (joules > 0.0) & np.isfinite(self.chosen.joules)
        if counted.any():
            found["energy_n"] = int(counted.sum())
            found["energy_mape"] = errors(self.chosen.joules[counted], joules[counted]).mape
        return found

    def _column(self, name: str) -> Floats:
        """A column as numbers; 0 where it, or a cell of it, is not there."""
        return numbers_of(self.table.rows, name)

    def _floor(self, mask: Mask) -> float | None:
        """Noise floor of rows: of the halves of their repeats, else of rows with the same launches."""
        first, second = (self._column(name)[mask] for name in HALVES)
        if (first > 0.0).all() and (second > 0.0).all():
            return split_half_floor(first, second)
        keys = [key for key, kept in zip(self.keys, mask, strict=True) if kept]
        return same_launch_floor(self.table.measured_s[mask], keys)


def compare(
    table: LatencyTable,
    gpu: Gpu,
    constants: Calibration,
    filters: Sequence[str],
    fitted_on: Gpu | None,
    tracing: Tracing | None = None,
) -> Comparison:
    """Hold a machine against the rows of a table that filters select.

    ``fitted_on`` is the machine that the calibration's rows were measured on; ``tracing`` gives launches to rows of own
    kernels that have none in closed form.

    Raises
    ------
    ConfigError
        A filter, column or class is wrong, or no row is left; says what became of all rows.
    """
    mine = table.of_machine(gpu.name).filtered(filters)
    used = fitted_rows(mine, constants) if constants.machine == gpu.name or table.file is None else None
    known = _known(table, constants, fitted_on)
    left = [*table.failed]
    if used is not None and used.any():
        left.append(f"{used.sum()} rows that the calibration {constants.name} was fitted on")
        mine = mine.where(~used)
    unknown = np.asarray(mine.rows[CLASS] == "")
    if unknown.any():
        why = table.file.unassigned if table.file else ""
        left.append(f"{unknown.sum()} rows of no class: {why}")
        mine = mine.where(~unknown)
    if not len(mine.rows):
        raise ConfigError(f"{table.name}: no row is left to compare", *(Problem(text) for text in left))
    rows = rows_of(mine, gpu, tracing)
    chosen = rows.chosen(constants)
    timed = np.isfinite(chosen.seconds)
    left += _without_launch(int((~timed).sum()), tracing)
    if not timed.any():
        raise ConfigError(f"{table.name}: no row is left to compare", *(Problem(text) for text in left))
    keys = [key for key, good in zip(rows.keys(), timed, strict=True) if good]
    others = {name: values[timed] for name, values in baselines(rows, known).items()}
    return Comparison(
        mine.where(timed), gpu.name, chosen.seconds[timed], chosen.where(timed), others, keys, tuple(left)
    )


def _without_launch(count: int, tracing: Tracing | None) -> list[str]:
    """Why rows have no launches."""
    if tracing is not None:
        return tracing.left_out()
    return [f"{count} rows that no launch is known for"] if count else []


def fitted_rows(table: LatencyTable, constants: Calibration) -> Mask:
    """Rows of a table that a calibration was fitted on."""
    alternatives = constants.rows.get(table.name, ())
    return any_of(table.rows, [[parse(text) for text in rules] for rules in alternatives])


def _known(table: LatencyTable, constants: Calibration, fitted_on: Gpu | None) -> Known | None:
    """The rows of this table that the calibration was fitted on, for baselines."""
    if fitted_on is None or table.name not in constants.rows:
        return None
    there = table.where(np.asarray(table.rows[MACHINE] == fitted_on.name)) if table.file else table
    used = fitted_rows(there, constants) & np.asarray(there.rows[CLASS] != "")
    if not used.any():
        return None
    there = there.where(used)
    return known_rows(rows_of(there, fitted_on), there.measured_s)
