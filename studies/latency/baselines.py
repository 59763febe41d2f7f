"""What simple models give on the same rows: the roofline, the roofline times one constant, the nearest fitted row.

The peak roofline takes data-sheet rates and nothing else. The other two know the measured times of the rows that a
calibration was fitted on, and nothing of kernels. Not modelled: interpolation between rows, learned models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.studies.latency.predict import Rows

    Floats = NDArray[np.float64]

PEAK, ONE_CONSTANT, NEAREST = NAMES = ("peak_roofline", "one_constant_roofline", "nearest_neighbour")


@dataclass(frozen=True, slots=True)
class Known:
    """Fitted rows: their FLOPs and bytes, and measured over roofline time on the machine they were measured on."""

    flops: Floats
    moved: Floats
    over: Floats


def known_rows(rows: Rows, measured_s: Floats) -> Known:
    """What baselines know of fitted rows; rows without launches, or without work, are left out."""
    flops, moved = rows.work()
    peak = rows.roofline()
    some = peak > 0.0
    return Known(flops[some], moved[some], measured_s[some] / peak[some])


def baselines(rows: Rows, known: Known | None) -> dict[str, Floats]:
    """Seconds by each baseline; only the roofline where no row is known.

    A constant or a neighbour of another machine carries over as a share of the roofline.
    """
    peak = rows.roofline()
    found = {PEAK: peak}
    if known is not None and len(known.over):
        found[ONE_CONSTANT] = peak * float(np.median(known.over))
        found[NEAREST] = peak * known.over[_nearest(rows.work(), known)]
    return found


def _nearest(work: tuple[Floats, Floats], known: Known) -> NDArray[np.int64]:
    """Position of the known row with the closest logarithms of FLOPs and bytes."""
    here = np.log(np.maximum(np.stack(work), 1.0))
    there = np.log(np.maximum(np.stack((known.flops, known.moved)), 1.0))
    distance = ((here[:, :, None] - there[:, None, :]) ** 2).sum(axis=0)
    found: NDArray[np.int64] = np.argmin(np.nan_to_num(distance, nan=0.0), axis=1)
    return found
