"""What naive references share: softmax attention under a mask, written out in torch, in fp64."""

from __future__ import annotations

import torch


def masked_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, seen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and natural log-sum-exp on the CPU; ``seen`` broadcasts to ``(batch, heads, queries, keys)``.

    Scores are scaled by ``1 / sqrt(depth)``; rows that see no key give zeros and -inf.
    """
    group = q.shape[1] // k.shape[1]
    q, k, v = q.cpu().double(), k.cpu().double(), v.cpu().double()
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    return masked_softmax(q @ k.transpose(-1, -2) * q.shape[3] ** -0.5, v, seen)


def masked_softmax(
    scores: torch.Tensor, v: torch.Tensor, seen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted values and natural log-sum-exp of fp64 scores, where ``seen``."""
    scores = scores.masked_fill(~seen, float("-inf"))
    lse = torch.logsumexp(scores, dim=-1)
    weights = torch.exp(scores - lse.masked_fill(lse == float("-inf"), 0.0)[..., None])
    return weights @ v, lse
