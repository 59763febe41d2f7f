"""Requests of one batch: how many of which length, in prefill or decode, side by side."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import ConfigError, Problem, WorkloadError
from dse.units import parse_count
from dse.workloads.gemm import sized

if TYPE_CHECKING:
    from dse.workloads.gemm import Array

_PART = re.compile(r"(?P<keys>[0-9]\w*)(?:\*(?P<count>[0-9]\w*))?(?:/(?P<queries>[0-9]\w*))?")


@dataclass(frozen=True)
class Requests:
    """Alike requests of a batch over design points: keys each attends to, query rows each brings."""

    count: Array
    keys: Array
    queries: Array

    def pairs(self, causal: bool, window: Array | None = None) -> Array:
        """Query-key pairs of one request and query head that count: all, or those a mask and a window leave.

        Query i of q sees the keys up to k - q + i, of which the last ``window``.
        """
        queries, keys = self.queries, self.keys
        if not causal:
            return queries * keys
        seen = np.minimum(queries, keys)
        first = keys - seen + 1.0
        if window is None:
            return seen * (keys - seen) + seen * (seen + 1.0) / 2.0
        growing = np.clip(window - first, 0.0, seen)
        return growing * (2.0 * first + growing - 1.0) / 2.0 + (seen - growing) * np.minimum(window, keys)

    def kept(self, window: Array | None) -> Array:
        """Keys of one request that any of its queries sees."""
        return self.keys if window is None else np.minimum(self.keys, window + self.queries - 1.0)


def parse_requests(text: str, queries: int | None) -> tuple[tuple[int, int, int], ...]:
    """(count, keys, queries) of each part of ``keys[*count][/queries]``, parts separated by commas.

    ``4K*30,512/512`` are 30 requests in decode with 4,096 keys each beside one that brings all its 512 queries;
    without ``/queries`` a request brings ``queries`` of them, or all its keys if that is None.

    Raises
    ------
    WorkloadError
        A part of another form, a count of zero, or more queries than keys.
    """
    found, problems = [], []
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        try:
            if match is None:
                raise ConfigError(f"'{part}' is not keys, keys*count or keys*count/queries")
            keys = parse_count(match["keys"])
            count = parse_count(match["count"] or "1")
            rows = parse_count(match["queries"]) if match["queries"] else queries or keys
        except ConfigError as error:
            problems.append(Problem(str(error), path="-p lengths"))
            continue
        if not 0 < rows <= keys or not count:
            problems.append(
                Problem(f"'{part}': counts must be positive, queries at most keys", path="-p lengths")
            )
        found.append((count, keys, rows))
    if problems:
        raise WorkloadError(*problems)
    return tuple(found)


def requests_of(parts: tuple[tuple[int, int, int], ...]) -> tuple[Requests, ...]:
    """Requests of parsed parts, one design point."""
    return tuple(Requests(sized(count), sized(keys), sized(rows)) for count, keys, rows in parts)
