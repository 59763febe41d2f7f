"""The fit finds constants that were planted, tells which the rows do not determine, and refuses what it cannot fit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dse.arch.calibration.constants import Calibration
from dse.errors import ConfigError
from dse.simulator.calibrate import RANGES, SIX, deviations, fit

Floats = NDArray[np.float64]
RANDOM = np.random.default_rng(3)
BYTES, FLOPS = RANDOM.uniform(1e6, 1e9, 40), RANDOM.uniform(1e8, 3e11, 40)


def predict(known: Calibration) -> Floats:
    """A launch, then products or transfers, whichever take longer."""
    work = FLOPS / (1e15 * known.get("tensor_efficiency"))
    moved = BYTES / (4.8e12 * known.get("dram_efficiency"))
    return known.get("launch") + np.maximum(work, moved)


TRUE = Calibration().replaced({"launch": 3e-6, "tensor_efficiency": 0.72, "dram_efficiency": 0.91})
NAMES = ("launch", "tensor_efficiency", "dram_efficiency")


def test_planted_constants_come_back() -> None:
    found = fit(predict, predict(TRUE), Calibration(), NAMES)
    for name in NAMES:
        one = found.constants[name]
        assert one.value == pytest.approx(float(TRUE.get(name)[0]), rel=1e-4)
        assert one.low <= one.value <= one.high
        assert not one.at_bound
    assert np.abs(found.errors).max() < 1e-4


def test_intervals_hold_the_truth_under_noise() -> None:
    hits, trials = 0, 40
    for trial in range(trials):
        noise = np.exp(np.random.default_rng(trial).normal(0.0, 0.02, 40))
        found = fit(predict, predict(TRUE) * noise, Calibration(), NAMES)
        one = found.constants["dram_efficiency"]
        hits += one.low <= 0.91 <= one.high
    assert hits >= 0.8 * trials


def test_a_constant_without_influence_is_marked() -> None:
    found = fit(predict, predict(TRUE), Calibration(), (*NAMES, "masked"))
    loose = found.constants["masked"]
    assert (loose.low, loose.high) == (RANGES["masked"].low, RANGES["masked"].high)
    assert deviations(np.zeros((5, 1)), np.ones(5)).tolist() == [np.inf]


def test_one_far_row_moves_the_fit_little() -> None:
    measured = predict(TRUE)
    measured[int(np.argmax(BYTES))] *= 3.0
    found = fit(predict, measured, Calibration(), NAMES)
    assert found.constants["dram_efficiency"].value == pytest.approx(0.91, rel=0.02)


def test_too_few_rows_and_unknown_constants_are_refused() -> None:
    with pytest.raises(ConfigError, match="2 rows cannot determine 6 constants"):
        fit(lambda known: np.ones(2), np.ones(2), Calibration(), SIX)
    with pytest.raises(ConfigError, match="'overlp' is no constant to fit; did you mean 'overlap'"):
        fit(predict, predict(TRUE), Calibration(), ("overlp",))
