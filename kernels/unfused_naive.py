"""Reference for ``unfused``: softmax attention written out in torch, in fp64, scores as they are stored.

Scores are rounded to ``score_precision`` unless that is fp32; probabilities are not. Tiles play no role.
"""

from __future__ import annotations

import torch

from dse.kernels.importance_naive import visible_pairs

ROUNDED = {"fp16": torch.float16, "bf16": torch.bfloat16}


def unfused_naive(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    causal: bool = False,
    query_lengths: torch.Tensor | None = None,
    key_lengths: torch.Tensor | None = None,
    score_precision: str = "fp32",
    tile_queries: int = 0,
    tile_keys: int = 0,
    tile_rows: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and natural log-sum-exp in fp64, on the CPU; tile sizes are ignored."""
    del tile_queries, tile_keys, tile_rows
    batch, heads, queries, depth = q.shape
    group = heads // k.shape[1]
    q, k, v = q.cpu().double(), k.cpu().double(), v.cpu().double()
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    scores = q @ k.transpose(-1, -2) * depth**-0.5
    if score_precision in ROUNDED:
        scores = scores.to(ROUNDED[score_precision]).double()
    seen = visible_pairs((batch, heads, queries, k.shape[2]), causal, query_lengths, key_lengths)
    scores = scores.masked_fill(~seen, float("-inf"))
    lse = torch.logsumexp(scores, dim=-1)
    weights = torch.exp(scores - lse.masked_fill(lse == float("-inf"), 0.0)[..., None])
    return weights @ v, lse
