"""Random search: candidates drawn without repetition, each one of the space equally likely."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dse.mappers.search.candidates import grid
from dse.mappers.search.each import chooser
from dse.mappers.search.search import BATCH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.mappers.search.candidates import Codes, Part, Space
    from dse.mappers.search.search import Search

BUDGET = 1000
# Up to so many candidates all are listed and shuffled; more are drawn, and repetitions dropped.
LISTED = 1 << 20


def explore(search: Search) -> None:
    """Try random candidates until a limit is reached or all have been tried."""
    generator = np.random.default_rng(search.limits.seed)
    draw = _shuffled if _grid_size(search.space) <= LISTED else _drawn
    for part, codes in draw(search.space, generator):
        search.measure(part, codes)


choose = chooser(explore, BUDGET)


def _grid_size(space: Space) -> int:
    return sum(math.prod(_lengths(part)) for part in space.parts)


def _lengths(part: Part) -> tuple[int, ...]:
    return tuple(len(axis.choices) for axis in part.axes)


def _shuffled(space: Space, generator: np.random.Generator) -> Iterator[tuple[Part, Codes]]:
    """All candidates in random order, in runs of one part."""
    sizes = [math.prod(_lengths(part)) for part in space.parts]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    rows = np.concatenate([np.arange(size) for size in sizes])
    order = generator.permutation(len(owner))
    for start in range(0, len(order), BATCH):
        some = order[start : start + BATCH]
        for number, part in enumerate(space.parts):
            mine = some[owner[some] == number]
            codes = grid(_lengths(part), 0, sizes[number])[rows[mine]]
            yield part, codes[space.allowed(part, codes)]


def _drawn(space: Space, generator: np.random.Generator) -> Iterator[tuple[Part, Codes]]:
    """Random candidates of a space too large to list."""
    sizes = [float(size) for size in space.sizes()]
    shares = np.array(sizes) / sum(sizes)
    seen: set[bytes] = set()
    while len(seen) < space.size:
        picked = generator.choice(len(shares), size=BATCH, p=shares)
        for number, part in enumerate(space.parts):
            lengths = np.array(_lengths(part))
            codes = generator.integers(0, lengths, size=(int((picked == number).sum()), len(lengths)))
            codes = codes[space.allowed(part, codes)]
            keys = [row.tobytes() + bytes([number]) for row in codes]
            fresh = [i for i, key in enumerate(keys) if key not in seen and not seen.add(key)]  # type: ignore[func-returns-value]
            yield part, codes[fresh]
