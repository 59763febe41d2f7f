"""Tile pairs that a causal mask leaves, counted in closed form: a problem of any length takes the same time."""

from __future__ import annotations

import math


def visited(group: float, queries: float, keys: float, key_tile: float, query_tile: float) -> float:
    """Tile pairs a causal mask leaves, the last query aligned with the last key; sizes are whole numbers.

    Query heads of a group fill tiles one after another; below one tile they share it and see all keys.
    """
    if queries < query_tile:
        return float(math.ceil(group * queries / query_tile) * math.ceil(keys / key_tile))
    step, width, ahead = int(query_tile), int(key_tile), int(keys - queries)
    whole, part = divmod(int(queries), step)
    first = 1 if ahead >= 0 else -ahead // step + 1  # tiles before it see no key
    seen = floor_sum(whole - first + 1, width, step, ahead + first * step + width - 1)
    return float(group * (seen + (math.ceil(keys / key_tile) if part else 0)))


def floor_sum(count: int, divisor: int, step: int, start: int) -> int:
    """Sum of the floors of (start + i * step) / divisor for i below ``count``, none of them negative.

    The number of lattice points under a line, by Euclid's algorithm: (R. L. Graham, D. E. Knuth, O. Patashnik,
    Concrete Mathematics, section 3.5).
    """
    found = 0
    while count > 0:
        found += (step // divisor) * (count * (count - 1) // 2) + (start // divisor) * count
        step, start = step % divisor, start % divisor
        top = step * count + start
        count, start, divisor, step = top // divisor, top % divisor, step, divisor
    return found
