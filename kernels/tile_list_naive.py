"""Reference for ``tile_list``: every pair of tokens is tested against the definition of the mask, in fp64.

Written without tiles and apart from ``dse.workloads.neighborhood``, so that the two check each other.
"""

from __future__ import annotations

import itertools

import torch

from dse.kernels.common_naive import masked_attention


def _seen_along(query: int, length: int, window: int, stride: int, dilation: int, causal: bool) -> set[int]:
    """Keys one query sees along one axis: a window over the keys of its own dilation class."""
    keys = list(range(query % dilation, length, dilation))
    place = keys.index(query)
    if causal:
        leader = min(place // stride * stride + stride - 1, len(keys) - 1)
        return {key for key in keys[max(0, leader - window + 1) : leader + 1] if key <= query}
    leader = min(place // stride * stride + stride // 2, len(keys) - 1)
    start = min(max(0, leader - window // 2), len(keys) - window)
    return set(keys[start : start + window])


def visible(
    axes: tuple[int, ...],
    window: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    causal: bool = False,
    sinks: int = 0,
) -> torch.Tensor:
    """Boolean ``(tokens, tokens)``: which key each query sees; tokens are numbered row by row."""
    along = [
        [_seen_along(query, axes[axis], window[axis], stride[axis], dilation[axis], causal and axis == 0)
         for query in range(axes[axis])]
        for axis in range(len(axes))
    ]  # fmt: skip
    tokens = list(itertools.product(*map(range, axes)))
    number = {token: place for place, token in enumerate(tokens)}
    seen = torch.zeros(len(tokens), len(tokens), dtype=torch.bool)
    for query in tokens:
        keys = itertools.product(*(along[axis][place] for axis, place in enumerate(query)))
        seen[number[query], [number[key] for key in keys]] = True
        seen[number[query], : min(sinks, number[query] + 1) if causal else sinks] = True
    return seen


def tile_list_naive(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    axes: tuple[int, ...],
    window: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    causal: bool = False,
    sinks: int = 0,
    query_tile: tuple[int, ...] = (),
    key_tile: tuple[int, ...] = (),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and natural log-sum-exp in fp64, on the CPU; ``query_tile`` and ``key_tile`` are ignored."""
    del query_tile, key_tile
    return masked_attention(q, k, v, visible(axes, window, stride, dilation, causal, sinks))
