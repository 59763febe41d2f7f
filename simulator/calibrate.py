"""Fit of a machine's constants to measured times by least squares, with an interval for each.

Modelled: errors of the logarithm of time, weighed down where they are large (soft L1), constants between bounds that
their meaning sets, intervals from the curvature at the solution. Not modelled: errors that are related from row to
row, which makes the true intervals wider.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dse.arch.calibration.constants import Calibration

    Floats = NDArray[np.float64]

LARGE = 0.05  # relative errors beyond this one count by their size, not its square
STEP = 3e-3  # of a constant's logarithm; below it, waves and choices of a library hide the slope
DEVIATIONS = 1.96


@dataclass(frozen=True, slots=True)
class Range:
    """Where a fit starts, and between which values it stays, in SI units."""

    start: float
    low: float
    high: float


RANGES = {
    "launch": Range(2e-6, 1e-7, 5e-5),
    "gap": Range(2e-6, 1e-7, 5e-5),
    "round_trip": Range(6e-7, 5e-8, 1e-5),
    "ramp": Range(1e-6, 1e-8, 2e-5),
    "prologue": Range(1000.0, 1.0, 1e5),
    "chain": Range(500.0, 1.0, 1e5),
    "tensor_efficiency": Range(0.8, 0.3, 1.0),
    "dram_efficiency": Range(0.9, 0.3, 1.0),
    "overlap": Range(0.6, 0.01, 1.0),
    "dram_overlap": Range(0.8, 0.01, 1.0),
    "masked": Range(0.1, 1e-3, 5.0),
    "sm_stream": Range(8.5e10, 1e10, 1e12),
}
ENERGIES = ("tensor_energy", "dram_energy", "idle_power")
WIDEST = 1e6  # times a value: how far an interval reaches where rows determine nothing
SIX = ("launch", "round_trip", "tensor_efficiency", "overlap", "dram_efficiency", "sm_stream")


@dataclass(frozen=True, slots=True)
class Fitted:
    """One constant: its value, and the 95% interval around it."""

    value: float
    low: float
    high: float
    at_bound: bool


@dataclass(frozen=True, slots=True)
class Fit:
    """Constants by name, the calibration with them, and the relative errors left in the rows of the fit."""

    constants: dict[str, Fitted]
    calibration: Calibration
    errors: Floats
    evaluations: int


def fit(
    predict: Callable[[Calibration], Floats],
    measured_s: Floats,
    base: Calibration,
    names: Sequence[str] = SIX,
    weights: Floats | None = None,
) -> Fit:
    """Constants under which predicted times are closest to measured ones.

    ``predict`` gives the seconds of every row for a calibration, ``names`` are dotted names of constants (``launch``,
    ``prefill.overlap``); those not named keep the values of ``base``. ``weights`` of rows default to 1.

    Raises
    ------
    ConfigError
        A name is no constant that can be fitted, or there are fewer rows than constants.
    """
    from scipy.optimize import least_squares

    ranges = [_range(name) for name in names]
    if len(measured_s) < len(names):
        raise ConfigError(f"{len(measured_s)} rows cannot determine {len(names)} constants")
    scale = np.ones(len(measured_s)) if weights is None else np.sqrt(weights)

    def residuals(logs: Floats) -> Floats:
        known = base.replaced(dict(zip(names, np.exp(logs).tolist(), strict=True)))
        return scale * np.log(predict(known) / measured_s)

    bounds = (np.log([one.low for one in ranges]), np.log([one.high for one in ranges]))
    start = np.log([one.start for one in ranges])
    found = least_squares(
        residuals, start, loss="soft_l1", f_scale=LARGE, diff_step=np.full(len(names), STEP), bounds=bounds
    )
    logs = np.asarray(found.x, dtype=np.float64)
    spread = deviations(np.asarray(found.jac, dtype=np.float64), np.asarray(found.fun, dtype=np.float64))
    constants = {
        name: _fitted(value, deviation, one)
        for name, value, deviation, one in zip(names, logs, spread, ranges, strict=True)
    }
    calibration = base.replaced({name: one.value for name, one in constants.items()})
    return Fit(constants, calibration, predict(calibration) / measured_s - 1.0, int(found.nfev))


def fit_energy(
    multiply_adds: Floats, dram_bits: Floats, seconds: Floats, joules: Floats
) -> dict[str, Fitted]:
    """Energy of a multiply-add and of an off-chip bit, and idle power, from measured joules; none is negative.

    Every row counts by its relative error. Intervals follow from the residuals.

    Raises
    ------
    ConfigError
        There are fewer rows than constants.
    """
    from scipy.optimize import nnls

    if len(joules) < len(ENERGIES):
        raise ConfigError(f"{len(joules)} rows with energy cannot determine {len(ENERGIES)} constants")
    parts = np.stack((multiply_adds, dram_bits, seconds), axis=1) / joules[:, None]
    scale = np.maximum(parts.max(axis=0), 1e-300)
    found, _ = nnls(parts / scale, np.ones(len(joules)))
    values = np.asarray(found, dtype=np.float64) / scale
    spread = deviations(parts / scale, parts @ values - 1.0) / scale
    return {
        name: Fitted(
            float(value),
            float(max(value - DEVIATIONS * deviation, 0.0)),
            float(min(value + DEVIATIONS * deviation, WIDEST * max(value, 1e-15))),
            bool(value == 0.0),
        )
        for name, value, deviation in zip(ENERGIES, values, spread, strict=True)
    }


def deviations(jacobian: Floats, residuals: Floats) -> Floats:
    """Standard deviation of each fitted value; infinite where the rows do not determine it."""
    rows, count = jacobian.shape
    variance = float((residuals**2).sum()) / max(rows - count, 1)
    curvature = jacobian.T @ jacobian
    values, vectors = np.linalg.eigh(curvature)
    weak = values <= 1e-10 * max(float(values.max()), 1e-300)
    spread = variance * (vectors[:, ~weak] ** 2 / values[~weak]).sum(axis=1)
    loose = (vectors[:, weak] ** 2).sum(axis=1) > 1e-6
    found: Floats = np.where(loose, np.inf, np.sqrt(spread))
    return found


def _fitted(log: float, deviation: float, limits: Range) -> Fitted:
    """A constant in SI units; its interval ends at the bounds."""
    with np.errstate(over="ignore"):
        low, high = np.exp(log - DEVIATIONS * deviation), np.exp(log + DEVIATIONS * deviation)
    value = float(np.clip(np.exp(log), limits.low, limits.high))
    at_bound = bool(np.isclose(value, limits.low) or np.isclose(value, limits.high))
    return Fitted(
        value, float(max(min(low, value), limits.low)), float(min(max(high, value), limits.high)), at_bound
    )


def _range(name: str) -> Range:
    constant = name.rpartition(".")[2]
    if constant not in RANGES:
        raise ConfigError(f"'{name}' is no constant to fit{nearest(constant, RANGES)}")
    return RANGES[constant]
