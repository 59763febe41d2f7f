"""Head rows of a recorded encoder run: what survives, which values are fetched, and the streams the top-k sees.

Modelled: cascade pruning of tokens by accumulated importance, local pruning of values by each row's probabilities,
probabilities over the survivors, quantised as the datapath holds them, low-order bits fetched where the largest
probability is below the threshold. Not modelled: that pruning in one layer changes the scores of the next (a run of the
pruned model gives other traces); query rows whose scores are not kept take those of the nearest kept row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.errors import Problem, WorkloadError
from dse.workloads.head_rows import HeadRows
from dse.workloads.pruning import kept

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from dse.workloads.pruning import Schedule
    from dse.workloads.score_trace import ScoreTrace

    Ints = npt.NDArray[np.int64]

PROBABILITY_BITS = 12


def quantised(probabilities: npt.NDArray[np.float64], bits: int = PROBABILITY_BITS) -> Ints:
    """Probabilities as codes of so many bits, 1 being just above the largest code; rounded to the nearest."""
    codes = np.rint(probabilities * (1 << bits)).astype(np.int64)
    return np.minimum(codes, (1 << bits) - 1)


def survivors(trace: ScoreTrace, schedule: Schedule) -> list[Ints]:
    """Tokens that each layer works on, ascending: those of most importance in the layers before it."""
    importance = trace.token_importance().astype(np.float64)
    alive, known, found = np.arange(trace.length), np.zeros(trace.length), []
    for layer, share in enumerate(schedule.tokens):
        count = min(len(alive), kept(share, trace.length))
        order = np.argsort(-known[alive], kind="stable")
        alive = np.sort(alive[order[:count]])
        found.append(alive)
        known = known + importance[layer]
    return found


def recorded_rows(
    trace: ScoreTrace, schedule: Schedule, depth: int, bits: int = PROBABILITY_BITS
) -> HeadRows:
    """Head rows of every layer, surviving head and surviving query of a recorded run, heads of so much depth.

    Raises
    ------
    WorkloadError
        The schedule is for other layers, keeps more heads than there are, or prunes before the first layer.
    """
    if len(schedule.tokens) != trace.layers:
        text = (
            f"schedule {schedule.name} is for {len(schedule.tokens)} layers, the scores are of {trace.layers}"
        )
        raise WorkloadError(Problem(text, path="-p pruning"))
    if schedule.tokens[0] < 1.0:
        raise WorkloadError(
            Problem("nothing is known of importance before the first layer", path="-p pruning")
        )
    tokens = survivors(trace, schedule)
    rows = list(_rows(trace, schedule, tokens, bits))
    counts = np.array([row[0] for row in rows])
    step, layer, head, query, keys, values, refetch = counts.T
    return HeadRows(
        step,
        layer,
        head,
        query,
        np.full(len(rows), trace.length),
        keys,
        values,
        refetch.astype(np.bool_) | schedule.bits.forced,
        depth=depth,
        bits=schedule.bits,
        provenance=f"{schedule.name} on {trace.model}, {trace.passage}, {trace.length} tokens",
        key_indices=tuple(row[1] for row in rows),
        value_indices=tuple(row[2] for row in rows),
        streams=tuple(row[3] for row in rows),
    )


def _rows(
    trace: ScoreTrace, schedule: Schedule, tokens: list[Ints], bits: int
) -> Iterator[tuple[tuple[int, ...], Ints, Ints, Ints]]:
    """Counts, positions of keys and of values, and the stream of each row."""
    heads = _heads(trace, schedule)
    recorded = np.array(trace.rows)
    for layer in range(trace.layers):
        alive = tokens[layer]
        for head in heads[layer]:
            scores = trace.head(layer, int(head)).scores()[:, alive]
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            probabilities = weights / weights.sum(axis=1, keepdims=True)
            streams = quantised(probabilities, bits)
            keep = kept(schedule.values, len(alive))
            chosen = [alive[_largest(stream, keep)] for stream in streams]
            below = probabilities.max(axis=1) < (schedule.threshold or 0.0)
            for query in alive:
                near = int(np.abs(recorded - query).argmin())
                counts = (0, layer, int(head), int(query), len(alive), keep, int(below[near]))
                yield counts, alive, chosen[near], streams[near]


def _largest(stream: Ints, keep: int) -> Ints:
    """Places of the largest, ascending; of equal ones the earlier."""
    found: Ints = np.sort(np.argsort(-stream, kind="stable")[:keep])
    return found


def _heads(trace: ScoreTrace, schedule: Schedule) -> list[Ints]:
    """Heads that survive in each layer: those of largest output accumulated over the layers before."""
    every = np.arange(trace.head_count)
    if not schedule.heads:
        return [every] * trace.layers
    if max(schedule.heads) > trace.head_count:
        text = f"schedule {schedule.name} keeps {max(schedule.heads)} of {trace.head_count} heads"
        raise WorkloadError(Problem(text, path="-p pruning"))
    sizes = np.cumsum(trace.head_importance().astype(np.float64), axis=0)
    found, alive = [], every
    for layer, count in enumerate(schedule.heads):
        known = sizes[max(layer - 1, 0)]
        order = np.argsort(-known[alive], kind="stable")
        alive = np.sort(alive[order[: min(count, len(alive))]])
        found.append(alive)
    return found
