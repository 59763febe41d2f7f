"""Feed-forward experts of a mixture, and which tokens are routed to them.

Modelled: experts of one shape, the k best of which serve each token, experts shared by all tokens, layers with one
dense feed-forward part in between; routing as token counts of every expert, layer by layer. Not modelled: dropped
tokens, capacity factors, groups of experts among which a router chooses first.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import Problem, WorkloadError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.workloads.gemm import Array, Gemm

ROUTINGS = ("uniform", "even", "zipf")
# Scores of that many tokens and experts are drawn at a time: bounds memory, not what is drawn.
_CHUNK = 1 << 20
_SCORES = 1 << 23


@dataclass(frozen=True)
class Experts:
    """Experts of the layers of a workload over design points.

    ``tokens`` is of shape (n, layers, experts): what the router of each layer sends to each expert; its layers are
    equally likely. ``layers`` counts the layers with experts, ``dense_layers`` those with the ``dense`` part instead.
    """

    top_k: int
    shared: int
    gated: bool
    model_dim: Array
    ffn_dim: Array
    tokens: NDArray[np.float64]
    layers: Array
    dense: tuple[Gemm, ...]
    dense_layers: Array

    @property
    def count(self) -> int:
        """Routed experts of a layer."""
        return int(self.tokens.shape[2])

    @property
    def matrices(self) -> int:
        """Weight matrices of one expert."""
        return 3 if self.gated else 2

    @property
    def weights(self) -> Array:
        """Weights of one expert."""
        return self.matrices * self.model_dim * self.ffn_dim


def route(
    routing: str, tokens: int, experts: int, top_k: int, layers: int, seed: int = 0, exponent: float = 1.0
) -> NDArray[np.float64]:
    """Tokens each expert of each layer gets, shape (layers, experts); every row sums to ``tokens`` × ``top_k``.

    ``even`` spreads them as evenly as whole tokens allow. ``uniform`` draws k different experts for each token, all
    equally likely; ``zipf`` draws them with weights 1 / rank ** ``exponent``, the ranks shuffled in each layer. Any
    other ``routing`` is the path of a CSV file with columns layer, token, expert: the choices of a recorded run. Of
    many tokens, only as many layers are drawn as 8M scores allow, at least one: the more tokens, the less they differ.

    Raises
    ------
    WorkloadError
        More experts for each token than there are, or a recording that does not fit.
    """
    if top_k > experts:
        raise WorkloadError(Problem(f"top {top_k} of {experts} experts", path="-p experts.top_k"))
    if routing == "even":
        return np.tile(_even(tokens * top_k, experts), (layers, 1))
    if routing in ROUTINGS:
        drawn = max(1, min(layers, _SCORES // (tokens * experts)))
        return np.array(
            [
                _drawn(tokens, experts, top_k, (seed, layer), exponent if routing == "zipf" else 0.0)
                for layer in range(drawn)
            ]
        )
    return _recorded(Path(routing), tokens, experts, top_k)


def _even(assignments: int, experts: int) -> NDArray[np.float64]:
    whole, rest = divmod(assignments, experts)
    return whole + (np.arange(experts) < rest).astype(np.float64)


def _drawn(
    tokens: int, experts: int, top_k: int, seed: tuple[int, int], exponent: float
) -> NDArray[np.float64]:
    """Counts of ``tokens`` draws of k experts without replacement, by the largest of log weight + Gumbel noise."""
    random = np.random.Generator(np.random.PCG64(seed))
    ranks = np.argsort(random.random(experts), kind="stable") + 1.0
    found = np.zeros(experts)
    step = max(1, _CHUNK // experts)
    for start in range(0, tokens, step):
        uniform = random.random((min(step, tokens - start), experts))
        noise = -np.log(-np.log(np.maximum(uniform, np.finfo(np.float64).tiny)))
        scores = noise - exponent * np.log(ranks)
        chosen = np.argpartition(scores, experts - top_k, axis=1)[:, experts - top_k :]
        found += np.bincount(chosen.ravel(), minlength=experts)
    return found


def _recorded(path: Path, tokens: int, experts: int, top_k: int) -> NDArray[np.float64]:
    """Counts of the first ``tokens`` tokens of every layer of a recording."""
    if not path.is_file():
        known = ", ".join(ROUTINGS)
        raise WorkloadError(
            Problem(f"'{path}' is neither one of {known} nor a file of choices", path="-p routing")
        )
    counts: dict[int, NDArray[np.float64]] = {}
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                layer, token, expert = (int(row[key]) for key in ("layer", "token", "expert"))
            except (KeyError, TypeError, ValueError):
                raise WorkloadError(
                    f"{path}, line {number}: needs whole numbers layer, token, expert"
                ) from None
            if not 0 <= expert < experts:
                raise WorkloadError(f"{path}, line {number}: expert {expert} of {experts}")
            if 0 <= token < tokens:
                counts.setdefault(layer, np.zeros(experts))[expert] += 1
    short = [layer for layer, found in counts.items() if found.sum() != tokens * top_k]
    if short or not counts:
        where = f"layer {short[0]} has" if short else "there are"
        raise WorkloadError(f"{path}: {where} not {top_k} choices for each of {tokens} tokens")
    return np.array([counts[layer] for layer in sorted(counts)])
