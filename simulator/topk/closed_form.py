"""Expected rounds, elements read and cycles of quick-select with uniform pivots on distinct values, in closed form.

Knuth ("Mathematical analysis of algorithms", 1971) gives the mean comparisons of quick-select for the m-th of n,
C(n, m) = 2 ((n + 1) H(n) - (n + 3 - m) H(n + 1 - m) - (m + 2) H(m) + n + 3), a round on n comparing n - 1 elements;
an element is a pivot on the way with probability 1 / (1 + its distance from the m-th), so that rounds are
H(m) + H(n + 1 - m) - 1 in the mean. A round reads its pivot, too: elements read are C plus rounds. Rows are rounded:
s elements are left together if both of their neighbours are pivots before any of them, which gives the rounds of each
size; they are counted one by one up to two rows, and what is left of a row is uniform above. For large
n all this is 2 n (1 + h(k / n)) / P with h the entropy in nats, plus rounds times overhead. Not modelled: ties,
positional pivots on ordered streams, FIFOs that overflow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import digamma

from dse.errors import ConfigError

if TYPE_CHECKING:
    from dse.simulator.arrays import Array
    from dse.simulator.topk.parameters import TopK

EULER = float(np.euler_gamma)
_CHUNK = 16384
UNIFORM_PIVOTS = ("uniform", "row_head", "first")


def harmonic(n: Array) -> Array:
    """Harmonic numbers 1 + 1/2 + ... + 1/n."""
    found: Array = digamma(n + 1.0) + EULER
    return found


def expected_rounds(n: Array, k: Array) -> Array:
    """Mean rounds to find the k-th of n."""
    return harmonic(k) + harmonic(n + 1.0 - k) - 1.0


def rounds_of_size(n: Array, k: Array, size: float) -> Array:
    """Mean rounds that read exactly ``size`` elements to find the k-th of n."""
    inside = np.maximum(np.minimum(k, n - size) - np.maximum(2.0, k - size + 1.0) + 1.0, 0.0)
    ends = 1.0 * (k <= size) + 1.0 * (n - size + 1.0 <= k)
    found = inside * (2.0 / ((size + 1.0) * (size + 2.0))) + ends / (size + 1.0)
    return np.where(size < n, found, 1.0 * (size == n))


def expected_scanned(n: Array, k: Array) -> Array:
    """Mean elements read in all rounds to find the k-th of n."""
    low, high, every = harmonic(k), harmonic(n + 1.0 - k), harmonic(n)
    compared = 2.0 * ((n + 1.0) * every - (n + 3.0 - k) * high - (k + 2.0) * low + n + 3.0)
    return compared + low + high - 1.0


def expected_cycles(engine: TopK, n: Array, k: Array) -> Array:
    """Mean cycles that requests hold an engine: arrays n and k of one shape (m,); 0 where they bypass it.

    Raises
    ------
    ConfigError
        The engine's pivot rule, ties or FIFOs are not those the closed form holds for.
    """
    if engine.pivot not in UNIFORM_PIVOTS or engine.ties != "three_way":
        raise ConfigError(
            f"the closed form holds for uniform pivots, not {engine.pivot} with {engine.ties} ties; "
            "use the model random_integer"
        )
    if bool(np.any((n - 1.0 > engine.fifo_rows * engine.lanes) & ~engine.bypasses(n, k))):
        raise ConfigError("the closed form holds where nothing overflows; use the model random_integer")
    return np.concatenate(
        [_cycles(engine, n[at : at + _CHUNK], k[at : at + _CHUNK]) for at in range(0, len(n), _CHUNK)]
    )


def _cycles(engine: TopK, n: Array, k: Array) -> Array:
    rounds, lanes = expected_rounds(n, k), engine.lanes
    middle = (0.5 - 0.5 / lanes) * (1.0 if engine.convention.rounding == "up" else -1.0)
    rest = rounds * middle
    for size in range(1, min(2 * lanes, int(n.max(initial=0.0))) + 1):  # no round reads more than there are
        rounded = float(engine.convention.rows(np.array([float(size)]), lanes)[0])
        rest = rest + (rounded - size / lanes - middle) * rounds_of_size(n, k, float(size))
    fill, drain = engine.edge_cycles(n, k)
    cycles = expected_scanned(n, k) / lanes + rest + rounds * engine.convention.overhead_cycles + fill + drain
    return np.where(engine.bypasses(n, k), 0.0, cycles)
