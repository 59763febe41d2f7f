"""Reference for ``threshold_skip``: which tiles matter by its definition, then softmax attention, in fp64."""

from __future__ import annotations

import math

import torch

from dse.kernels.common_naive import masked_softmax


def matters(scores: torch.Tensor, skip_bits: int, tile_queries: int, tile_keys: int) -> torch.Tensor:
    """Boolean of the shape of the scores (-inf where hidden): whether a pair's tile is visited."""
    visited = torch.zeros_like(scores, dtype=torch.bool)
    for rows in torch.split(torch.arange(scores.shape[-2]), tile_queries):
        largest = torch.full_like(scores[..., rows, 0], float("-inf"))
        for keys in torch.split(torch.arange(scores.shape[-1]), tile_keys):
            here = scores[..., rows, :][..., keys].amax(dim=-1)
            reach = (here - largest).masked_fill(here == float("-inf"), float("-inf"))
            visit = (reach >= -skip_bits * math.log(2)).any(dim=-1)
            largest = torch.where(visit[..., None], torch.maximum(largest, here), largest)
            for row in rows.tolist():
                visited[..., row, keys] = visit[..., None]
    return visited


def threshold_skip_naive(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    skip_bits: int,
    causal: bool = False,
    tile_queries: int = 64,
    tile_keys: int = 64,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and natural log-sum-exp over the visited tiles in fp64, on the CPU."""
    queries, keys, group = q.shape[2], k.shape[2], q.shape[1] // k.shape[1]
    k, v = (tensor.cpu().double().repeat_interleave(group, dim=1) for tensor in (k, v))
    scores = q.cpu().double() @ k.transpose(-1, -2) * q.shape[3] ** -0.5
    seen = torch.ones(queries, keys, dtype=torch.bool)
    if causal:
        seen = seen.tril(keys - queries)
    scores = scores.masked_fill(~seen, float("-inf"))
    return masked_softmax(scores, v, seen & matters(scores, skip_bits, tile_queries, tile_keys))
