"""Run the trained encoder with the approximations of A3 and MNNFast in its attention and keep what they compute.

``python -m dse.kernels.minilm_peers FOLDER`` makes the files of these rules in ``workloads/streams/`` again.

Modelled, search (A3, HPCA 2020): the largest products of single elements of query and key and the smallest are added
up for each key, keys with a positive sum are candidates, only their scores are computed, and of these only values are
used whose weight is not far below the largest. Modelled, threshold (MNNFast, ISCA 2019): values of small probability
are skipped. The numbers of products and both thresholds are assumed: the abstracts do not give them. Not modelled:
fixed-point arithmetic, tables of exponentials.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from dse.errors import WorkloadError
from dse.kernels.command import FOLDER, write_into
from dse.kernels.minilm_streams import MODEL, PACKAGES
from dse.workloads.passage import load_passage
from dse.workloads.pruned_run import HeadRun, PrunedRun, write_run
from dse.workloads.pruning import load_schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEDULE = "minilm_dense"
# Products added up, of each sign, over the number of keys.
ITERATIONS = 0.5
# Least weight over the largest one of the row.
NEAREST = 0.05
# Least probability.
LEAST = 0.01
COMMITTED = {
    ("alice", 64, "search"): "minilm_alice_64_a3",
    ("alice", 64, "threshold"): "minilm_alice_64_mnnfast",
}


def candidates(q: torch.Tensor, k: torch.Tensor, iterations: int) -> torch.Tensor:
    """Keys (heads, queries, keys) that a greedy search of so many steps proposes; the best one if none is positive."""
    heads, tokens, depth = q.shape
    found = torch.zeros(heads, tokens, tokens)
    products = (q[:, :, None] * k[:, None]).flatten(2)
    for largest in (True, False):
        values, places = products.topk(iterations, dim=-1, largest=largest)
        values = values.clamp(min=0.0) if largest else values.clamp(max=0.0)
        found.scatter_add_(-1, places // depth, values)
    best = torch.zeros_like(found, dtype=torch.bool).scatter_(-1, found.argmax(-1, keepdim=True), value=True)
    return (found > 0.0) | best


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, rule: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Output (heads, tokens, depth); keys scored and probabilities used (heads, queries, keys), zero where skipped."""
    scores = q @ k.mT * q.shape[-1] ** -0.5
    if rule == "search":
        scored = candidates(q, k, iterations_of(q.shape[1], rule))
        scores = scores.masked_fill(~scored, -torch.inf)
        far = (scores - scores.amax(dim=-1, keepdim=True)).exp() < NEAREST
        used = torch.softmax(scores.masked_fill(far, -torch.inf), dim=-1)
    elif rule == "threshold":
        scored = torch.ones_like(scores, dtype=torch.bool)
        used = torch.softmax(scores, dim=-1)
        used = used.masked_fill(used < LEAST, 0.0)
    else:
        raise WorkloadError(f"no rule '{rule}'; there are search, threshold")
    return used @ v, scored, used


def iterations_of(tokens: int, rule: str) -> int:
    """Steps of the search for each query."""
    return max(1, round(ITERATIONS * tokens)) if rule == "search" else 0


def peer_run(passage: str, length: int, rule: str) -> PrunedRun:
    """The encoder on the first ``length`` tokens of a passage, its attention approximated by a rule.

    Raises
    ------
    MissingDependencyError
        If the model's package, or what reads and runs it, is not installed.
    ConfigError, WorkloadError
        If there is no such passage or rule, or the passage is shorter.
    """
    model = importlib.import_module("dse.kernels.minilm")
    encoder, text, schedule = model.load_encoder(), load_passage(passage), load_schedule(SCHEDULE)
    ids = encoder.tokens(text.plain, length).ids
    runs: list[HeadRun] = []

    def approximate(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        output, scored, used = attend(q[0], k[0], v[0], rule)
        runs.extend(_head(layer, head, scored[head], used[head], rule) for head in range(len(output)))
        return output[None]

    plain = encoder.forward(ids, model.torch_attention).embedding
    embedding = encoder.forward(ids, approximate).embedding
    return PrunedRun(
        model=MODEL,
        passage=passage,
        schedule=SCHEDULE,
        length=length,
        layers=encoder.layers,
        head_count=encoder.head_count,
        values=schedule.values,
        bits=schedule.bits,
        cosine=round(float(embedding @ plain), 5),
        heads=tuple(runs),
        rule=rule,
        provenance={
            "weights_hash": encoder.weights_hash,
            "text_hash": text.hash,
            "iterations": str(ITERATIONS),
            "nearest": str(NEAREST),
            "least": str(LEAST),
            **{package: importlib.metadata.version(package) for package in PACKAGES},
        },
    )


def _head(layer: int, head: int, scored: torch.Tensor, used: torch.Tensor, rule: str) -> HeadRun:
    """What one head computed with."""
    tokens = len(used)
    return HeadRun(
        layer=layer,
        head=head,
        tokens=np.arange(tokens, dtype=np.int32),
        streams=np.empty(0, dtype=np.uint16),
        refetch=np.zeros(tokens, dtype=np.bool_),
        scored=scored.sum(dim=-1).numpy().astype(np.int32),
        weighted=(used > 0.0).sum(dim=-1).numpy().astype(np.int32),
        iterations=np.full(tokens, iterations_of(tokens, rule), dtype=np.int32),
    )


def write_all(folder: Path) -> None:
    """Write every committed file into a folder."""
    for (passage, length, rule), name in COMMITTED.items():
        path = Path(folder, f"{name}.parquet")
        run = peer_run(passage, length, rule)
        write_run(run, path)
        sys.stdout.write(f"{path}: {path.stat().st_size} bytes, cosine {run.cosine}\n")


def main(arguments: Sequence[str]) -> int:
    """Run as a command."""
    return write_into("minilm_peers", FOLDER, write_all, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
