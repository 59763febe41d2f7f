"""How far outputs are from references, for the tests of all kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

TOLERANCE = {"fp16": 2e-3, "fp32": 1e-5}


def difference(outputs: Sequence[Any], references: Sequence[Any]) -> float:
    """Largest absolute difference of finite elements; infinities must be at the same places, NaN nowhere."""
    worst = 0.0
    for got, wanted in zip(outputs, references, strict=True):
        result, reference = (np.asarray(tensor, dtype=np.float64) for tensor in (got, wanted))
        assert result.shape == reference.shape
        assert not np.isnan(result).any()
        np.testing.assert_array_equal(np.isinf(result), np.isinf(reference))
        finite = np.isfinite(reference)
        if finite.any():
            worst = max(worst, float(np.abs(result - reference)[finite].max()))
    return worst
