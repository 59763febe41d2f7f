"""Cycles of every head row at every stage, in the released conventions or as the hardware would take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import ConfigError
from dse.simulator.spatten.fetch import fetch_cycles
from dse.simulator.topk import expected_cycles, expected_scanned, random_rounds, select

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from dse.simulator.spatten.chip import Chip
    from dse.simulator.topk import TopK
    from dse.workloads.head_rows import HeadRows

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

SEED = 233


@dataclass(frozen=True, eq=False)
class Times:
    """Cycles of each row, shape (rows,): of one pass over its scores; ``compares`` are comparisons of its top-k.

    ``opens`` marks rows that fetch the keys of their head, ``brings`` those that fetch values.
    """

    key_fetch: Floats
    lsb_fetch: Floats
    value_fetch: Floats
    scores: Floats
    topk: Floats
    values: Floats
    compares: Floats
    opens: Mask
    brings: Mask
    parts: tuple[tuple[float, ...], ...] | None


def times_of(
    chip: Chip, rows: HeadRows, model: str, published: str, survivors: str, *, straight: bool
) -> Times:
    """Cycles of all rows; ``straight`` fetches at full bandwidth, wherever the vectors lie.

    Raises
    ------
    ConfigError
        The model ``trace`` without recorded streams, or one that does not hold for the engine.
    """
    opens, brings = opening(rows)
    engine = chip.engine(published)
    cycles, compares, parts = _chosen(rows) or _selected(engine, rows, model)
    fetch = _straight(chip, rows) if straight else _scattered(chip, rows, survivors, opens, brings)
    zero = np.zeros(len(rows))
    return Times(
        key_fetch=np.where(opens, fetch("key"), zero),
        lsb_fetch=np.where(rows.refetch, fetch("lsb"), zero),
        value_fetch=np.where(brings, fetch("value"), zero),
        scores=np.ceil(rows.scored / chip.width),
        topk=cycles,
        values=np.ceil(rows.weighted / chip.value_width),
        compares=compares,
        opens=opens,
        brings=brings,
        parts=parts,
    )


def _chosen(rows: HeadRows) -> tuple[Floats, Floats, None] | None:
    """Cycles and comparisons of another rule than top-k: a search finds a largest and a smallest product a cycle.

    A threshold is applied as probabilities pass, in no time.
    """
    given = rows.selection
    if given is None:
        return None
    cycles = given.iterations.astype(np.float64)
    return cycles, 2.0 * cycles + given.scored, None


def _selected(
    engine: TopK, rows: HeadRows, model: str
) -> tuple[Floats, Floats, tuple[tuple[float, ...], ...] | None]:
    """Cycles, comparisons and pieces of each row's top-k."""
    cycles, scanned, parts = topk_times(engine, rows, model)
    asked = ~engine.bypasses(rows.keys, rows.values)
    return cycles, np.where(asked, 2.0 * (scanned + rows.keys), 0.0), parts


def opening(rows: HeadRows) -> tuple[Mask, Mask]:
    """Rows that fetch keys (the first of each head), and values (the first, or all where each chooses its own)."""
    same = (np.diff(rows.group) == 0) & (np.diff(rows.head) == 0)
    opens = np.concatenate([[True], ~same])
    return opens, opens | (rows.values < rows.keys)


def topk_times(
    engine: TopK, rows: HeadRows, model: str
) -> tuple[Floats, Floats, tuple[tuple[float, ...], ...] | None]:
    """Cycles and elements read by each row's top-k, and its rounds piece by piece where they are known."""
    n, k = rows.keys.astype(np.float64), rows.values.astype(np.float64)
    if model == "closed_form":
        return expected_cycles(engine, n, k), expected_scanned(n, k), None
    if model == "random_integer":
        run = random_rounds(engine, rows.keys, rows.values)
        pieces = np.vstack([run.fill_cycles, run.round_cycles, run.drain_cycles]).T
        parts = tuple(tuple(float(c) for c in row[row > 0]) for row in pieces)
        return run.cycles, run.scanned.sum(axis=0), parts
    if rows.streams is None:
        raise ConfigError("the top-k model trace needs recorded scores: -p scores=NAME")
    generator = np.random.default_rng(engine.seed)
    found = [
        select(engine, stream, int(keep), generator)
        for stream, keep in zip(rows.streams, rows.values, strict=True)
    ]
    cycles = np.array([one.cycles for one in found])
    return cycles, np.array([one.scanned.sum() for one in found]), tuple(one.parts for one in found)


def _straight(chip: Chip, rows: HeadRows) -> Callable[[str], Floats]:
    every = {"key": rows.key_bytes, "lsb": rows.lsb_bytes, "value": rows.value_bytes}
    return lambda name: every[name] / chip.dram_bytes_per_cycle


def _scattered(
    chip: Chip, rows: HeadRows, survivors: str, opens: Mask, brings: Mask
) -> Callable[[str], Floats]:
    """Fetch times that follow the positions of what is fetched."""
    keys, values = positions(rows, survivors)
    wanted = {"key": (keys, rows.bits.key, opens), "lsb": (keys, rows.bits.lsb, rows.refetch)}
    wanted["value"] = (values, rows.bits.value, brings)
    known: dict[tuple[int, bytes], float] = {}

    def cycles(name: str) -> Floats:
        indices, bits, asked = wanted[name]
        found = np.zeros(len(rows))
        for row in np.flatnonzero(asked):
            key = (bits, indices[row].tobytes())
            if key not in known:
                known[key] = fetch_cycles(chip, indices[row], bits)
            found[row] = known[key]
        return found

    return cycles


def positions(rows: HeadRows, survivors: str) -> tuple[list[Ints], list[Ints]]:
    """Positions of the keys and values of each row: recorded, the first ones, or drawn.

    Drawn ones are the same for all heads and steps of a layer and survive from layer to layer, as tokens are pruned
    for good; values are drawn among them for each head.
    """
    if rows.key_indices is not None and rows.value_indices is not None:
        return list(rows.key_indices), list(rows.value_indices)
    if survivors == "first":
        return [np.arange(n) for n in rows.keys], [np.arange(k) for k in rows.values]
    shortest = int(rows.length.min())
    order = np.random.default_rng(SEED).permutation(int(rows.length.max()))
    early = order[order < shortest]
    keys: dict[tuple[int, int], Ints] = {}
    values: dict[tuple[int, int, int, int], Ints] = {}
    found: tuple[list[Ints], list[Ints]] = ([], [])
    for length, n, k, layer, head in zip(*(getattr(rows, c).tolist() for c in _COLUMNS), strict=True):
        if (length, n) not in keys:
            among = early if n <= shortest else order[order < length]
            keys[length, n] = np.arange(n) if n == length else np.sort(among[:n])
        alive = keys[length, n]
        if (n, k, layer, head) not in values:
            draw = np.random.default_rng((SEED, layer, head))
            values[n, k, layer, head] = np.arange(n) if n == k else np.sort(draw.choice(n, k, replace=False))
        found[0].append(alive)
        found[1].append(alive[values[n, k, layer, head]])
    return found


_COLUMNS = ("length", "keys", "values", "layer", "head")
