"""Fit the laws of synthetic scores to score traces, and compare them on traces held out of the fit.

``python -m dse.workloads.synthetic_fit FILE`` makes ``workloads/laws/minilm.yaml`` again; numpy suffices.
The scores of a head between keys inside the text are split by alternating means into rows, recency and keys;
spread, shapes and sinks follow from what is left. Compared, row by row over all heads: entropy over its
maximum, mass of the eighth of the keys with the largest probabilities, mass of the two sinks, mass of the keys
at most 4 away; and head by head how far importance is concentrated.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import DseError
from dse.workloads.score_trace import load_scores
from dse.workloads.synthetic import (
    STEPS,
    Agreement,
    HeadLaw,
    Shape,
    Sink,
    SyntheticFile,
    distance_steps,
    moments,
    sinh_arcsinh,
    synthetic_scores,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from dse.workloads.score_trace import ScoreTrace
    from dse.workloads.synthetic import Floats

FITTED = ("minilm_alice_64", "minilm_alice_256")
HELD_OUT = ("minilm_alice_128", "minilm_alice_512", "minilm_two_cities_256")
SEED = 20240607
ROUNDS = 5
NEAR = 4
TOP_SHARE = 8
IMPORTANCE = "importance_top_quarter"
_QUANTILES = np.array([0.002, 0.01, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99, 0.998])
_SKEWS = np.linspace(-1.2, 1.2, 49)
_TAILS = np.linspace(0.5, 1.5, 41)


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """Scores (rows, keys) of a head in one trace, without the rows of the ends, and each pair's distance step."""

    scores: Floats
    steps: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """Logarithm of each row's spread, of mean zero; keys and cells over the spread; ends less their row's mean."""

    logarithm: Floats
    key: Floats
    cell: Floats
    first: Floats
    last: Floats


def fit(names: Sequence[str] = FITTED) -> dict[str, HeadLaw]:
    """Laws of all heads of the model that made these score traces, by layer and head.

    Raises
    ------
    TraceError
        If a trace cannot be read.
    """
    traces = [load_scores(name) for name in names]
    return {
        head_name(head.layer, head.head): fit_head(traces, head.layer, head.head) for head in traces[0].heads
    }


def head_name(layer: int, head: int) -> str:
    """Name of a head in a file of laws."""
    return f"l{layer}_h{head}"


def fit_head(traces: Sequence[ScoreTrace], layer: int, head: int) -> HeadLaw:
    """The law of one head, fitted to the kept rows of all traces together."""
    samples = [_sample(trace, trace.head(layer, head).scores()) for trace in traces]
    recency = _recency(samples)
    parts = [_parts(sample, recency) for sample in samples]
    cell = np.concatenate([part.cell.reshape(-1) for part in parts])
    steps = np.concatenate([sample.steps[:, 1:-1].reshape(-1) for sample in samples])
    wobble = _wobble(cell, steps)
    logarithm = np.concatenate([part.logarithm for part in parts])
    # The mean of a column over few rows varies by the cells alone.
    noise = sum(float(part.cell.var() / len(part.cell) * part.key.size) for part in parts)
    key = np.concatenate([part.key for part in parts])
    scaled = cell / wobble[steps]
    return HeadLaw(
        first=_sink(np.concatenate([part.first for part in parts]), logarithm),
        last=_sink(np.concatenate([part.last for part in parts]), logarithm),
        recency=[_rounded(value) for value in recency],
        wobble=[_rounded(value) for value in wobble],
        key=fit_shape(key, max(0.0, float(key.var()) - noise / key.size) ** 0.5),
        cell=fit_shape(scaled, float(scaled.std())),
        spread=_rounded(logarithm.std()),
    )


def _sample(trace: ScoreTrace, scores: Floats) -> _Sample:
    rows = np.asarray(trace.rows, dtype=np.int64)
    inside = (rows > 0) & (rows < trace.length - 1)
    return _Sample(scores[inside], distance_steps(rows[inside], trace.length))


def _recency(samples: Sequence[_Sample]) -> Floats:
    """Mean score of each distance step, with the means of rows and of keys taken out."""
    recency = np.zeros(STEPS)
    for _ in range(ROUNDS):
        total, count = np.zeros(STEPS), np.zeros(STEPS)
        for sample in samples:
            inside, steps = sample.scores[:, 1:-1], sample.steps[:, 1:-1]
            rest = inside - recency[steps]
            row, key = rest.mean(axis=1, keepdims=True), rest.mean(axis=0)
            left = inside - row - key + rest.mean()
            total += np.bincount(steps.reshape(-1), left.reshape(-1), STEPS)
            count += np.bincount(steps.reshape(-1), minlength=STEPS)
        recency = total / np.maximum(count, 1)
    return recency


def _parts(sample: _Sample, recency: Floats) -> _Parts:
    rest = sample.scores[:, 1:-1] - recency[sample.steps[:, 1:-1]]
    row = rest.mean(axis=1, keepdims=True)
    rest = rest - row
    logarithm = np.log(rest.std(axis=1))
    logarithm -= logarithm.mean()
    scaled = rest / np.exp(logarithm)[:, None]
    key = scaled.mean(axis=0)
    first, last = sample.scores[:, 0] - row[:, 0], sample.scores[:, -1] - row[:, 0]
    return _Parts(logarithm, key, scaled - key, first, last)


def _wobble(cell: Floats, steps: npt.NDArray[np.int64]) -> Floats:
    """Deviation of the cells at each distance step over that of all; 1 where no pair is that far apart."""
    count = np.bincount(steps, minlength=STEPS)
    squares = np.bincount(steps, np.square(cell), STEPS)
    return np.where(count > 0, np.sqrt(squares / np.maximum(count, 1)) / cell.std(), 1.0)


def _sink(scores: Floats, logarithm: Floats) -> Sink:
    """A line through the scores of one end over the logarithm of the spread."""
    gain = float(logarithm @ scores / max(float(logarithm @ logarithm), 1e-12))
    mean = float(scores.mean())
    left = scores - mean - gain * logarithm
    return Sink(mean=_rounded(mean), deviation=_rounded(left.std()), gain=_rounded(gain))


def fit_shape(values: Floats, deviation: float) -> Shape:
    """The shape on a grid whose quantiles, of unit deviation, are nearest those of the values."""
    wanted = np.quantile(values - values.mean(), _QUANTILES) / values.std()
    skews, tails, known = _grid()
    best = int(np.argmin(np.square(known - wanted).mean(axis=1)))
    return Shape(deviation=_rounded(deviation), skew=_rounded(skews[best]), tail=_rounded(tails[best]))


@cache
def _grid() -> tuple[Floats, Floats, Floats]:
    """Skews, tails and standardised quantiles of all shapes on the grid."""
    nodes = np.array([statistics.NormalDist().inv_cdf(quantile) for quantile in _QUANTILES])
    pairs = [(float(skew), float(tail)) for skew in _SKEWS for tail in _TAILS]
    known = []
    for skew, tail in pairs:
        mean, deviation = moments(skew, tail)
        known.append((sinh_arcsinh(nodes, skew, tail) - mean) / deviation)
    return np.array([skew for skew, _ in pairs]), np.array([tail for _, tail in pairs]), np.stack(known)


def _rounded(value: float) -> float:
    return round(float(value), 4)


def row_statistics(scores: Floats, rows: Sequence[int]) -> dict[str, Floats]:
    """Statistics of each row of scores (rows, keys) of the query rows given, all from 0 to 1."""
    length = scores.shape[1]
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    logarithm = np.log(np.maximum(weights, np.finfo(np.float64).tiny))
    near = np.abs(np.arange(length)[None, :] - np.asarray(rows)[:, None]) <= NEAR
    near[:, [0, -1]] = False
    top = np.sort(weights, axis=1)[:, -max(1, length // TOP_SHARE) :]
    return {
        "entropy": -(weights * logarithm).sum(axis=1) / np.log(length),
        "top_eighth_mass": top.sum(axis=1),
        "sink_mass": weights[:, 0] + weights[:, -1],
        "near_mass": (weights * near).sum(axis=1),
    }


def compare(laws: Mapping[str, HeadLaw], trace: ScoreTrace, seed: int = SEED) -> dict[str, Agreement]:
    """Each statistic of a trace, against synthetic scores and against noise, at the same places.

    Besides those of the kept rows: the share of a head's importance (its column sums over all rows) in the
    quarter of the keys that have most.
    """
    real, made, noise = [], [], []
    for head in trace.heads:
        law, key = laws[head_name(head.layer, head.head)], (seed, head.layer, head.head)
        flat = np.random.default_rng(key).standard_normal((trace.length, trace.length))
        concentrated = {IMPORTANCE: _top_quarter(head.importance.astype(np.float64))}
        real.append(row_statistics(head.scores(), trace.rows) | concentrated)
        made.append(_statistics(synthetic_scores(law, trace.length, key), trace.rows))
        noise.append(_statistics(flat, trace.rows))
    return {
        name: _agreement(*([one[name] for one in side] for side in (real, made, noise))) for name in real[0]
    }


def _statistics(scores: Floats, rows: Sequence[int]) -> dict[str, Floats]:
    """Statistics of the rows given, and the concentration of importance over all rows."""
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    importance = (weights / weights.sum(axis=1, keepdims=True)).sum(axis=0)
    return row_statistics(scores[list(rows)], rows) | {IMPORTANCE: _top_quarter(importance)}


def _top_quarter(importance: Floats) -> Floats:
    top = np.sort(importance)[-max(1, importance.size // 4) :]
    return np.array([top.sum() / importance.sum()])


def _agreement(real: list[Floats], made: list[Floats], noise: list[Floats]) -> Agreement:
    means = [np.array([one.mean() for one in side]) for side in (real, made)]
    pooled = [np.concatenate(side) for side in (real, made, noise)]
    return Agreement(
        real_mean=_rounded(pooled[0].mean()),
        synthetic_mean=_rounded(pooled[1].mean()),
        distance=_rounded(distance(pooled[0], pooled[1])),
        noise_distance=_rounded(distance(pooled[0], pooled[2])),
        head_correlation=_rounded(np.corrcoef(means[0], means[1])[0, 1]),
    )


def distance(one: Floats, other: Floats) -> float:
    """Kolmogorov-Smirnov distance: the largest difference of two empirical distribution functions."""
    places = np.concatenate([one, other])
    below = [np.searchsorted(np.sort(side), places, side="right") / side.size for side in (one, other)]
    return float(np.abs(below[0] - below[1]).max())


def fitted_file() -> SyntheticFile:
    """The shipped file of laws, computed from the shipped score traces."""
    laws = fit()
    return SyntheticFile(
        title="Attention scores like those of all-MiniLM-L6-v2 on English prose",
        source="python -m dse.workloads.synthetic_fit, from the score traces named here",
        fitted=list(FITTED),
        held_out={name: compare(laws, load_scores(name)) for name in HELD_OUT},
        heads=laws,
    )


def main(arguments: Sequence[str]) -> int:
    """Write the file of laws and show how it does on what is held out."""
    if len(arguments) != 1:
        sys.stderr.write("error: usage: python -m dse.workloads.synthetic_fit FILE\n")
        return 2
    import yaml

    try:
        found = fitted_file()
        plain = yaml.safe_dump(found.model_dump(), sort_keys=False, width=110, default_flow_style=None)
        Path(arguments[0]).write_text(plain)
    except DseError as error:
        sys.stderr.write("".join(f"error: {problem}\n" for problem in error.problems))
        return error.exit_code
    for name, statistic, one in (
        (name, statistic, one) for name, by in found.held_out.items() for statistic, one in by.items()
    ):
        sys.stdout.write(
            f"{name} {statistic}: real {one.real_mean}, synthetic {one.synthetic_mean}, "
            f"distance {one.distance} (noise {one.noise_distance}), heads {one.head_correlation}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
