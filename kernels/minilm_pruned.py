"""The trained encoder with SpAtten's pruning and quantisation in its forward pass, and what they cost in accuracy.

``python -m dse.kernels.minilm_pruned FILE`` makes the committed table again. Pruning in one layer changes the scores of
the next, so the cost cannot be read off an unpruned run: here tokens and heads are gone for all later layers.

Modelled: token importance (sums of probabilities over queries, heads and layers) and head importance (sums of output
magnitudes), each with a number kept after each layer; local value pruning for each query by probabilities of 12 bits,
as the top-k engine sees them, of equal ones the earlier, without renormalising what is left; queries, keys and values
as fixed-point numbers with one scale for each head; keys whose upper bits are used first and all bits where no
probability of the row reaches a threshold. Not modelled: fixed-point softmax and accumulation.

Source: Wang, Zhang, Han: SpAtten (HPCA 2021), section III.
"""

from __future__ import annotations

import csv
import importlib
import itertools
import sys
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING

import torch

from dse.errors import WorkloadError
from dse.kernels.command import FILE, write_into
from dse.workloads.head_rows import Bits
from dse.workloads.keep import linear_ratios
from dse.workloads.passage import load_passage
from dse.workloads.pruned_scores import PROBABILITY_BITS
from dse.workloads.pruning import kept

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dse.kernels.minilm import Encoder
    from dse.workloads.pruning import Schedule

PASSAGES = ("alice", "two_cities", "gettysburg")
TOKENS = 96
BASE_BITS = 16
COLUMNS = (
    "technique", "token_keep", "head_keep", "value_keep", "key_bits", "lower_bits", "threshold", "sentences", "tokens",
    "output_cosine", "lowest_output_cosine", "similarity_correlation", "similarity_error", "keys_read", "values_read",
    "values_used", "refetched_rows", "refetched_heads", "dram_reduction",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pruning:
    """What is pruned: shares of tokens, heads and values kept after the last layer, and the bits of numbers.

    Token and head shares fall in equal steps over layers. ``key_bits`` 0 keeps numbers as they are; else queries
    and values have that many bits too, and keys are read without their ``lower_bits`` first.
    """

    technique: str
    token_keep: float = 1.0
    head_keep: float = 1.0
    value_keep: float = 1.0
    key_bits: int = 0
    lower_bits: int = 0
    threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A pruning for a sentence: ``tokens`` and ``heads`` left after each layer, ``values`` fetched for a row of each.

    ``bits`` None keeps numbers as they are.
    """

    tokens: tuple[int, ...]
    heads: tuple[int, ...]
    values: tuple[int, ...]
    bits: Bits | None
    threshold: float

    @classmethod
    def of(cls, pruning: Pruning, encoder: Encoder, length: int) -> Plan:
        """The plan of a row of the table; shares are rounded up."""
        tokens, heads = (
            tuple(ceil(round(share * count, 9)) for share in linear_ratios(encoder.layers, last))
            for last, count in ((pruning.token_keep, length), (pruning.head_keep, encoder.head_count))
        )
        values = tuple(ceil(round(pruning.value_keep * n, 9)) for n in (length, *tokens[:-1]))
        upper, lower = pruning.key_bits - pruning.lower_bits, pruning.lower_bits
        bits = Bits(upper, pruning.key_bits, pruning.key_bits, lower) if pruning.key_bits else None
        return cls(tokens, heads, values, bits, pruning.threshold)

    @classmethod
    def scheduled(cls, schedule: Schedule, encoder: Encoder, length: int) -> Plan:
        """The plan of a schedule, whose shares are those that each layer works on, rounded down.

        Raises
        ------
        WorkloadError
            The schedule is for other layers, keeps more heads than there are, or prunes before the first layer.
        """
        heads = schedule.heads or (encoder.head_count,) * encoder.layers
        tokens = tuple(kept(share, length) for share in schedule.tokens)
        if len(tokens) != encoder.layers or tokens[0] != length or heads[0] != encoder.head_count:
            text = (
                f"schedule {schedule.name} needs {encoder.layers} layers, the first with all tokens and heads"
            )
            raise WorkloadError(text)
        values = tuple(kept(schedule.values, n) for n in tokens)
        later = (*tokens[1:], tokens[-1]), (*heads[1:], heads[-1])
        return cls(*later, values, schedule.bits, schedule.threshold or 0.0)


@dataclass(frozen=True, slots=True)
class LayerRun:
    """What a layer did: its ``tokens`` and ``heads``, 12-bit ``codes`` (heads, queries, keys), rows fetched again."""

    tokens: torch.Tensor
    heads: torch.Tensor
    codes: torch.Tensor
    retried: torch.Tensor


@dataclass(slots=True)
class Reads:
    """What heads read, in vectors of a head's depth and in bits of DRAM traffic; ``dense`` without any pruning."""

    dense: float = 0.0
    keys: float = 0.0
    values: float = 0.0
    used: float = 0.0
    rows: float = 0.0
    refetched_rows: float = 0.0
    heads: float = 0.0
    refetched_heads: float = 0.0
    bits: float = 0.0

    def add(self, other: Reads) -> None:
        """Count another layer or sentence too."""
        for name in Reads.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class Alive:
    """Tokens and heads that are left, and their importance so far."""

    tokens: torch.Tensor
    heads: torch.Tensor
    token_sums: torch.Tensor
    head_sums: torch.Tensor
    reads: Reads = field(default_factory=Reads)
    runs: list[LayerRun] = field(default_factory=list)


def pruned_forward(encoder: Encoder, ids: tuple[int, ...], pruning: Pruning) -> tuple[torch.Tensor, Reads]:
    """Embedding of unit length of a sentence, the mean over the tokens that are left, and what was read."""
    embedding, alive = planned_forward(encoder, ids, Plan.of(pruning, encoder, len(ids)))
    return embedding, alive.reads


def planned_forward(encoder: Encoder, ids: tuple[int, ...], plan: Plan) -> tuple[torch.Tensor, Alive]:
    """Embedding of unit length of a sentence, and what its layers did."""
    length = len(ids)
    alive = Alive(
        torch.arange(length),
        torch.arange(encoder.head_count),
        torch.zeros(length),
        torch.zeros(encoder.head_count),
    )
    with torch.no_grad():
        state = encoder.start(ids)
        for layer, (tokens, heads) in enumerate(zip(plan.tokens, plan.heads, strict=True)):
            q, k, v = encoder.heads(layer, state)
            attended = torch.zeros_like(q)
            found = _attend(q[0, alive.heads], k[0, alive.heads], v[0, alive.heads], plan, alive)
            attended[0, alive.heads] = found
            alive.reads.dense += 2.0 * encoder.head_count * length
            alive.head_sums[alive.heads] += found.abs().sum(dim=(1, 2))
            state = encoder.finish(layer, state, attended)
            state = state[_prune_tokens(alive, tokens)]
            alive.heads = alive.heads[_largest(alive.head_sums[alive.heads], heads)]
        return encoder.pool(state), alive


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: Plan, alive: Alive) -> torch.Tensor:
    """Output (heads, tokens, depth) of the heads that are left; adds to importance, reads and runs."""
    bits = plan.bits
    probabilities, retried = _probabilities(q, k, plan)
    alive.token_sums[alive.tokens] += probabilities.sum(dim=(0, 1))
    codes = _codes(probabilities)
    order = codes.sort(dim=-1, descending=True, stable=True).indices
    used = torch.zeros_like(probabilities, dtype=torch.bool)
    used.scatter_(-1, order[..., : plan.values[len(alive.runs)]], value=True)
    alive.reads.add(_reads(used, retried, bits))
    alive.runs.append(LayerRun(alive.tokens, alive.heads, codes, retried))
    return (probabilities * used) @ (v if bits is None else _fixed(v, bits.value))


def _probabilities(q: torch.Tensor, k: torch.Tensor, plan: Plan) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (heads, queries, keys), and the rows (heads, queries) that used all bits of the keys."""
    bits, scale = plan.bits, q.shape[-1] ** -0.5
    retried = torch.zeros(q.shape[:2], dtype=torch.bool)
    if bits is None:
        return torch.softmax(q @ k.mT * scale, dim=-1), retried
    q = _fixed(q, bits.query)
    first = torch.softmax(q @ _fixed(k, bits.key + bits.lsb, bits.lsb).mT * scale, dim=-1)
    if not bits.lsb:
        return first, retried
    whole = torch.softmax(q @ _fixed(k, bits.key + bits.lsb).mT * scale, dim=-1)
    retried = (first.amax(dim=-1) < plan.threshold) | bits.forced
    return torch.where(retried[..., None], whole, first), retried


def _codes(probabilities: torch.Tensor) -> torch.Tensor:
    """Probabilities as codes of 12 bits, rounded to the nearest; as ``pruned_scores.quantised``."""
    largest = (1 << PROBABILITY_BITS) - 1
    return torch.round(probabilities.double() * (largest + 1)).clamp(max=largest).to(torch.int64)


def _reads(used: torch.Tensor, retried: torch.Tensor, bits: Bits | None) -> Reads:
    """What the rows of a layer read; ``used`` (heads, queries, keys) are the values they fetch."""
    heads, rows, tokens = used.shape
    touched, again = float(used.any(dim=1).sum()), float(retried.any(dim=1).sum())
    upper, lower, value = (BASE_BITS, 0, BASE_BITS) if bits is None else (bits.key, bits.lsb, bits.value)
    return Reads(
        keys=float(heads * tokens),
        values=touched,
        used=float(used.sum()) / rows,
        rows=float(heads * rows),
        refetched_rows=float(retried.sum()),
        heads=float(heads),
        refetched_heads=again,
        bits=tokens * (heads * upper + again * lower) + touched * value,
    )


def _fixed(tensor: torch.Tensor, bits: int, dropped: int = 0) -> torch.Tensor:
    """Fixed-point numbers of ``bits`` with one scale for each head, the lowest ``dropped`` bits cut off."""
    scale = tensor.abs().amax(dim=(1, 2), keepdim=True) / (2 ** (bits - 1) - 1)
    codes = torch.round(tensor / scale)
    fixed: torch.Tensor = torch.floor(codes / 2**dropped) * 2**dropped * scale
    return fixed


def _prune_tokens(alive: Alive, keep: int) -> torch.Tensor:
    """Rows of the state that stay; what is pruned stays pruned."""
    rows = _largest(alive.token_sums[alive.tokens], keep)
    alive.tokens = alive.tokens[rows]
    return rows


def _largest(values: torch.Tensor, keep: int) -> torch.Tensor:
    """Places of the ``keep`` largest, ascending; of equal ones the earlier."""
    places: torch.Tensor = values.sort(descending=True, stable=True).indices[:keep].sort().values
    return places


def settings() -> Iterator[Pruning]:
    """Rows of the table: each technique alone over its range, then one after the other together."""
    yield Pruning("none")
    yield from (Pruning("tokens", token_keep=share) for share in (0.75, 0.5, 0.25))
    yield from (Pruning("heads", head_keep=share) for share in (0.75, 0.5))
    yield from (Pruning("values", value_keep=share) for share in (0.5, 0.25, 0.1))
    yield from (Pruning("bits", key_bits=bits) for bits in (12, 8, 6))
    for threshold in (0.05, 0.1, 0.2):
        yield Pruning("progressive", key_bits=10, lower_bits=4, threshold=threshold)
    yield Pruning("tokens+heads", 0.5, 0.75)
    yield Pruning("tokens+heads+values", 0.5, 0.75, 0.25)
    yield Pruning("tokens+heads+values+progressive", 0.5, 0.75, 0.25, 10, 4, 0.1)


def sentences(encoder: Encoder, tokens: int = TOKENS) -> list[tuple[int, ...]]:
    """Consecutive pieces of the shipped passages, each of ``tokens`` tokens with its end marks.

    Raises
    ------
    WorkloadError
        There are no two pieces: similarities need pairs.
    """
    found = []
    for name in PASSAGES:
        ids = list(encoder.tokenizer.encode(load_passage(name).plain).ids)
        first, *inner, last = ids
        starts = range(0, len(inner) - (tokens - 2) + 1, tokens - 2)
        found += [(first, *inner[start : start + tokens - 2], last) for start in starts]
    if len(found) < 2:
        raise WorkloadError(f"the passages hold no two pieces of {tokens} tokens")
    return found


def embeddings(
    encoder: Encoder, pieces: Sequence[tuple[int, ...]], pruning: Pruning
) -> tuple[torch.Tensor, Reads]:
    """Embeddings (sentences, model depth), and what all sentences read."""
    found, reads = [], Reads()
    for ids in pieces:
        embedding, one = pruned_forward(encoder, ids, pruning)
        found.append(embedding)
        reads.add(one)
    return torch.stack(found), reads


def accuracy(plain: torch.Tensor, pruned: torch.Tensor, reads: Reads, pruning: Pruning) -> dict[str, str]:
    """One row of the table: a setting's distance to the ``plain`` embeddings, and what it reads."""
    cosines = (plain * pruned).sum(dim=1)
    pairs = list(itertools.combinations(range(len(plain)), 2))
    wanted = torch.stack([plain[a] @ plain[b] for a, b in pairs])
    got = torch.stack([pruned[a] @ pruned[b] for a, b in pairs])
    numbers = {
        "output_cosine": float(cosines.mean()),
        "lowest_output_cosine": float(cosines.min()),
        "similarity_correlation": float(torch.corrcoef(torch.stack([wanted, got]))[0, 1]),
        "similarity_error": float((wanted - got).abs().mean()),
        "keys_read": reads.keys / (reads.dense / 2),
        "values_read": reads.values / (reads.dense / 2),
        "values_used": reads.used / (reads.dense / 2),
        "refetched_rows": reads.refetched_rows / reads.rows,
        "refetched_heads": reads.refetched_heads / reads.heads,
        "dram_reduction": reads.dense * BASE_BITS / reads.bits,
    }
    named = {name: str(getattr(pruning, name)) for name in Pruning.__slots__}
    return named | {name: f"{value:.5f}" for name, value in numbers.items()}


def write_all(path: Path) -> None:
    """Write the table."""
    encoder = importlib.import_module("dse.kernels.minilm").load_encoder()
    pieces = sentences(encoder)
    plain, _ = embeddings(encoder, pieces, Pruning("none"))
    counts = {"sentences": str(len(pieces)), "tokens": str(TOKENS)}
    rows = [
        counts | accuracy(plain, *embeddings(encoder, pieces, pruning), pruning) for pruning in settings()
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main(arguments: Sequence[str]) -> int:
    """Run as a command."""
    return write_into("minilm_pruned", FILE, write_all, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
