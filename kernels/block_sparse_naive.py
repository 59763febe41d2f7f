"""Reference for ``block_sparse``: the lists are spread into an element mask, softmax attention in fp64."""

from __future__ import annotations

import itertools

import torch

from dse.kernels.common_naive import masked_attention


def listed_elements(
    offsets: torch.Tensor, columns: torch.Tensor, queries: int, keys: int, tile_queries: int, tile_keys: int
) -> torch.Tensor:
    """Boolean ``(batch or 1, heads or 1, queries, keys)``: which pairs lie in a listed block."""
    seen = torch.zeros(*offsets.shape[:2], queries, keys, dtype=torch.bool)
    for sequence, lists in enumerate(offsets.tolist()):
        for head, starts in enumerate(lists):
            for block, (start, stop) in enumerate(itertools.pairwise(starts)):
                rows = slice(block * tile_queries, (block + 1) * tile_queries)
                for column in columns[start:stop].tolist():
                    seen[sequence, head, rows, column * tile_keys : (column + 1) * tile_keys] = True
    return seen


def block_sparse_naive(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    offsets: torch.Tensor,
    columns: torch.Tensor,
    causal: bool = False,
    tile_queries: int = 64,
    tile_keys: int = 64,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and natural log-sum-exp in fp64, on the CPU."""
    queries, keys = q.shape[2], k.shape[2]
    seen = listed_elements(offsets, columns, queries, keys, tile_queries, tile_keys)
    if causal:
        seen = seen & torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    return masked_attention(q, k, v, seen)
