"""Which tokens or heads survive each layer when unimportant ones are pruned for good (cascade pruning).

Modelled: importance accumulated over layers, a fixed share kept after each layer, what is pruned stays pruned;
SpAtten (HPCA 2021), section III. Not modelled: that pruning in one layer changes the probabilities of the
next, so these lists are those of an unpruned run.
"""

from __future__ import annotations

import itertools
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import WorkloadError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


def linear_ratios(layers: int, last: float) -> tuple[float, ...]:
    """Shares kept after each of ``layers`` layers, falling in equal steps from 1 to ``last``."""
    return tuple(1.0 - (1.0 - last) * (layer + 1) / layers for layer in range(layers))


def keep_lists(
    importance: npt.NDArray[np.floating], ratios: Sequence[float]
) -> tuple[npt.NDArray[np.int64], ...]:
    """Survivors after each layer, ascending, for ``importance`` of shape (layers, items).

    After layer l the ceil(ratio x items) survivors with the largest sum of importance over layers 0 to l
    stay; of equal ones the earlier.

    Raises
    ------
    WorkloadError
        If there is not one ratio for each layer, or they are not in (0, 1] and falling.
    """
    layers, items = importance.shape
    falling = all(after <= before for before, after in itertools.pairwise(ratios))
    if len(ratios) != layers or not falling or not all(0.0 < ratio <= 1.0 for ratio in ratios):
        raise WorkloadError(f"{layers} layers need as many falling ratios in (0, 1], not {list(ratios)}")
    total = np.cumsum(importance.astype(np.float64), axis=0)
    alive, lists = np.arange(items), []
    for layer, ratio in enumerate(ratios):
        order = np.argsort(-total[layer, alive], kind="stable")
        # A share such as 0.7 x 10 must not round up to 8 items.
        alive = np.sort(alive[order[: ceil(round(ratio * items, 9))]])
        lists.append(alive)
    return tuple(lists)
