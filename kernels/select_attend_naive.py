"""Reference for ``select_attend``: estimates, a stable sort, softmax attention under the mask, in fp64."""

from __future__ import annotations

import torch

from dse.kernels.common_naive import masked_attention


def _blocks(tensor: torch.Tensor, size: int) -> list[torch.Tensor]:
    return list(torch.split(tensor, size, dim=-2))


def pooled(q: torch.Tensor, k: torch.Tensor, tile_queries: int, tile_keys: int) -> torch.Tensor:
    """Products of block means, ``(batch, heads, query blocks, key blocks)``."""
    q, k = q.cpu().double(), k.cpu().double().repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    rows = torch.stack([block.mean(dim=-2) for block in _blocks(q, tile_queries)], dim=-2)
    keys = torch.stack([block.mean(dim=-2) for block in _blocks(k, tile_keys)], dim=-2)
    return rows @ keys.transpose(-1, -2)


def selected(scores: torch.Tensor, keep: int, candidates: torch.Tensor) -> torch.Tensor:
    """Boolean of the same shape: the ``keep`` best candidates of each row, the first of equal ones."""
    masked = scores.masked_fill(~candidates, float("-inf"))
    order = masked.argsort(dim=-1, descending=True, stable=True)
    chosen = torch.zeros_like(masked, dtype=torch.bool).scatter(-1, order[..., :keep], True)
    return chosen & candidates


def select_attend_naive(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    keep: int,
    causal: bool = False,
    tile_queries: int = 64,
    tile_keys: int = 64,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and natural log-sum-exp in fp64, on the CPU."""
    scores = pooled(q, k, tile_queries, tile_keys)
    return attend_selected(q, k, v, scores, keep, causal, tile_queries, tile_keys)


def attend_selected(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scores: torch.Tensor,
    keep: int,
    causal: bool,
    tile_queries: int,
    tile_keys: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention over the blocks with the best scores ``(batch, heads, query blocks, key blocks)``."""
    queries, keys = q.shape[2], k.shape[2]
    seen = torch.ones(queries, keys, dtype=torch.bool)
    if causal:
        seen = seen.tril(keys - queries)
    candidates = torch.stack(
        [
            torch.stack([part.any() for part in torch.split(block, tile_keys, dim=-1)])
            for block in _blocks(seen, tile_queries)
        ]
    )
    chosen = selected(scores, keep, candidates)
    rows, columns = torch.arange(queries) // tile_queries, torch.arange(keys) // tile_keys
    return masked_attention(q, k, v, seen & chosen[:, :, rows][:, :, :, columns])
