"""Reference for ``pooled_cross``: means of blocks of queries and two softmax attentions in torch, in fp64."""

from __future__ import annotations

import torch

from dse.kernels.common_naive import masked_attention


def pooled_cross_naive(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    pool: int = 64,
    agents: torch.Tensor | None = None,
    tile_queries: int = 0,
    tile_keys: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and natural log-sum-exp of the second stage in fp64, on the CPU; tiles are ignored."""
    del tile_queries, tile_keys
    if agents is None:
        blocks = torch.split(q.cpu().double(), pool, dim=2)
        agents = torch.stack([block.mean(dim=2) for block in blocks], dim=2)
    everything = torch.ones(1, 1, dtype=torch.bool)
    gathered, _ = masked_attention(agents, k, v, everything)
    return masked_attention(q, agents, gathered, everything)
