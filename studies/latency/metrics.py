"""Errors of simulated against measured latencies of one class of kernels.

All errors are fractions: e = simulated / measured - 1. Intervals come from resampling rows, seeded. Not modelled: that
rows of one table are related, which makes the true interval wider.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RESAMPLES = 2000
SEED = 20261122
_FEWEST = 2  # rows without which there is no rank correlation and no interval


@dataclass(frozen=True, slots=True)
class Errors:
    """How far simulated latencies are from measured ones, as fractions; None where rows are too few to say."""

    n: int
    mape: float
    median_ape: float
    p90_ape: float
    bias: float
    kendall_tau: float | None
    interval: tuple[float, float] | None


def errors(simulated: Floats, measured: Floats) -> Errors:
    """Errors over rows, both in seconds and of shape (n,) with n at least 1."""
    relative = simulated / measured - 1.0
    size = np.abs(relative)
    return Errors(
        len(size),
        float(size.mean()),
        float(np.median(size)),
        float(np.quantile(size, 0.9)),
        float(relative.mean()),
        kendall_tau(simulated, measured),
        mape_interval(size),
    )


def kendall_tau(simulated: Floats, measured: Floats) -> float | None:
    """Kendall's tau-b of two rankings; None where one of them ranks nothing."""
    from scipy.stats import kendalltau

    if len(measured) < _FEWEST or np.ptp(simulated) == 0.0 or np.ptp(measured) == 0.0:
        return None
    return float(kendalltau(simulated, measured).statistic)


def mape_interval(size: Floats, resamples: int = RESAMPLES) -> tuple[float, float] | None:
    """95% interval of the mean of absolute errors, by bootstrap over rows."""
    if len(size) < _FEWEST:
        return None
    draw = np.random.default_rng(SEED).integers(0, len(size), (resamples, len(size)))
    low, high = np.quantile(size[draw].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def split_half_floor(first: Floats, second: Floats) -> float:
    """Noise floor from medians of two halves of the repeats: half their mean relative difference."""
    return float(np.mean(np.abs(first - second) / (first + second)))


def same_launch_floor(measured: Floats, keys: list[bytes]) -> float | None:
    """Noise floor from rows whose launches are identical: mean deviation from the median of their group.

    No model that looks at launches alone can be closer on these rows. None where no two rows are alike.
    """
    groups: dict[bytes, list[float]] = {}
    for key, value in zip(keys, measured, strict=True):
        groups.setdefault(key, []).append(float(value))
    alike = [np.array(values) for values in groups.values() if len(values) >= _FEWEST]
    if not alike:
        return None
    off = np.concatenate([np.abs(np.median(values) / values - 1.0) for values in alike])
    return float(off.mean())
