"""Reference for ``score_mod``: modified scores, then softmax or sigmoid, written out in torch, in fp64."""

from __future__ import annotations

import math

import torch

from dse.kernels.common_naive import masked_softmax


def score_mod_naive(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    modification: str = "none",
    normaliser: str = "softmax",
    cap: float = 20.0,
    causal: bool = False,
    tile_queries: int = 0,
    tile_keys: int = 0,
) -> tuple[torch.Tensor, ...]:
    """Output and, with softmax, natural log-sum-exp in fp64, on the CPU; tiles are ignored."""
    del tile_queries, tile_keys
    heads, queries, depth = q.shape[1:]
    keys = k.shape[2]
    k, v = (tensor.cpu().double().repeat_interleave(heads // k.shape[1], dim=1) for tensor in (k, v))
    scores = q.cpu().double() @ k.transpose(-1, -2) * depth**-0.5
    distance = torch.arange(keys) - (torch.arange(queries)[:, None] + keys - queries)
    if modification == "softcap":
        scores = cap * torch.tanh(scores / cap)
    elif modification == "alibi":
        slopes = 2.0 ** (-8.0 / heads * torch.arange(1, heads + 1, dtype=torch.float64))
        scores = scores - slopes[:, None, None] * distance.abs()
    seen = distance <= 0 if causal else torch.ones(queries, keys, dtype=torch.bool)
    if normaliser == "softmax":
        return masked_softmax(scores, v, seen)
    return (torch.sigmoid(scores - math.log(keys)).masked_fill(~seen, 0.0) @ v,)
