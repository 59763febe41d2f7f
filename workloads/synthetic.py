"""Synthetic attention scores with the structure of real ones: sinks, recency, heavy tails, peaked rows.

A score of query row i and key j inside the text is

    s[i, j] = recency(j - i) + spread[i] (key[j] + wobble(j - i) cell[i, j])

with ``recency`` and ``wobble`` step functions of the signed distance, ``key`` the attraction of a key to all
rows, ``cell`` what is left, both sinh-arcsinh distributed (Jones & Pewsey, Biometrika 2009: skew and tail apart
from place and scale), and ``spread`` a log-normal factor that makes some rows peaked. The first and the last key
are sinks with scores of their own, that follow the row's spread. Parameters are fitted head by head to score
traces (``synthetic_fit``), at lengths a model reaches, and do not depend on length. Not modelled: topics (blocks
of rows that prefer the same keys), correlation between heads, dependence on absolute position, values of K and V.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from dse import spec
from dse.errors import WorkloadError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

ROOM = "workloads/laws"
# Lower ends of the distance steps, keys before the row; the same behind it, and zero between.
DISTANCES = (1, 2, 3, 4, 6, 9, 17, 33, 65)
STEPS = 2 * len(DISTANCES) + 1
FEWEST_KEYS = 8


class Shape(spec.Spec):
    """A sinh-arcsinh distribution of mean zero: its standard deviation, skew and tail (1: normal, less: heavy)."""

    deviation: float = Field(ge=0)
    skew: float
    tail: float = Field(gt=0)


class Sink(spec.Spec):
    """Scores of one end of the text, above the mean of the others: mean, deviation, and gain with the spread."""

    mean: float
    deviation: float = Field(ge=0)
    gain: float = Field(description="growth of the mean with the logarithm of the row's spread")


class HeadLaw(spec.Spec):
    """Parameters of one head; ``recency`` and ``wobble`` go from far before the row to far behind it."""

    first: Sink
    last: Sink
    recency: list[float] = Field(min_length=STEPS, max_length=STEPS)
    wobble: list[float] = Field(
        min_length=STEPS, max_length=STEPS, description="factors of the cells' deviation"
    )
    key: Shape
    cell: Shape
    spread: float = Field(ge=0, description="deviation of the logarithm of a row's spread")


class Agreement(spec.Spec):
    """How a statistic of real rows and of synthetic rows compares, all heads together."""

    real_mean: float
    synthetic_mean: float
    distance: float = Field(description="Kolmogorov-Smirnov distance of the two distributions over rows")
    noise_distance: float = Field(description="the same for standard normal scores")
    head_correlation: float = Field(description="of the means of the heads, real against synthetic")


class SyntheticFile(spec.Spec):
    """Laws of all heads of a model, what they were fitted to, and how well they do elsewhere."""

    title: str
    source: str
    fitted: list[str] = Field(description="score traces used in the fit")
    held_out: dict[str, dict[str, Agreement]] = Field(description="by score trace, then statistic")
    heads: dict[str, HeadLaw] = Field(description="by layer and head, such as l0_h11")


def load_synthetic(source: str | Path = "minilm") -> SyntheticFile:
    """The fitted laws of a path or shipped name.

    Raises
    ------
    ConfigError
        No such file, or a wrong one.
    """
    return spec.load(source, SyntheticFile, ROOM)


def synthetic_scores(
    law: HeadLaw, length: int, seed: int | Sequence[int], rows: Sequence[int] | None = None
) -> Floats:
    """Scores (rows, keys) of a text of ``length`` tokens, natural logits; the same seed gives the same bits.

    ``rows`` chooses query rows (default all); another choice draws other scores. Give ``seed`` as (seed,
    layer, head) to draw heads independently.

    Raises
    ------
    WorkloadError
        If the text is shorter than 8 tokens, or a row lies outside it.
    """
    chosen = np.arange(length) if rows is None else np.asarray(rows, dtype=np.int64)
    if length < FEWEST_KEYS:
        raise WorkloadError(f"synthetic scores need at least {FEWEST_KEYS} keys, not {length}")
    if chosen.size and not 0 <= int(chosen.min()) <= int(chosen.max()) < length:
        raise WorkloadError(f"rows must lie from 0 to {length - 1}")
    generator = np.random.default_rng(seed)
    logarithm = law.spread * generator.standard_normal(chosen.size)
    key = _draw(law.key, generator, (length,))
    steps = distance_steps(chosen, length)
    scores = _draw(law.cell, generator, (chosen.size, length))
    scores *= np.asarray(law.wobble)[steps]
    scores += key
    scores *= np.exp(logarithm)[:, None]
    scores += np.asarray(law.recency)[steps]
    for place, sink in ((0, law.first), (length - 1, law.last)):
        noise = sink.deviation * generator.standard_normal(chosen.size)
        scores[:, place] = sink.mean + sink.gain * logarithm + noise
    return scores


def distance_steps(rows: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """Number of the distance step of every pair of the rows with a key, shape (rows, keys)."""
    distance = np.arange(length)[None, :] - rows[:, None]
    outward = np.searchsorted(DISTANCES, np.abs(distance), side="right")
    steps: npt.NDArray[np.int64] = len(DISTANCES) + np.sign(distance) * outward
    return steps


def sinh_arcsinh(normal: Floats, skew: float, tail: float) -> Floats:
    """Sinh-arcsinh transform of standard normal numbers, neither centred nor scaled."""
    return np.sinh((np.arcsinh(normal) + skew) / tail)


def moments(skew: float, tail: float) -> tuple[float, float]:
    """Mean and standard deviation of the transform, by Gauss-Hermite quadrature of 120 points."""
    nodes, weights = _quadrature()
    values = sinh_arcsinh(nodes, skew, tail)
    mean = float(weights @ values)
    return mean, float(np.sqrt(weights @ (values - mean) ** 2))


@cache
def _quadrature() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    return nodes, weights / weights.sum()


def _draw(shape: Shape, generator: np.random.Generator, size: tuple[int, ...]) -> Floats:
    mean, deviation = moments(shape.skew, shape.tail)
    values = sinh_arcsinh(generator.standard_normal(size), shape.skew, shape.tail)
    return (values - mean) * (shape.deviation / deviation)
