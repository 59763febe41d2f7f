"""Reference for ``quantised_decode``: keys and values as the numbers they stand for, in torch, in fp64.

The decision where both halves of the keys are needed is made on fp64 probabilities. Tiles play no role.
"""

from __future__ import annotations

import torch

from dse.kernels.quantisation import from_planes


def _attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, seen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Output, log-sum-exp and largest probability of one query per head."""
    group = q.shape[1] // k.shape[1]
    k, v, seen = (tensor.repeat_interleave(group, dim=1) for tensor in (k, v, seen))
    scores = (k @ q[..., None])[..., 0] * q.shape[2] ** -0.5
    scores = scores.masked_fill(~seen, float("-inf"))
    lse = torch.logsumexp(scores, dim=-1)
    weights = torch.exp(scores - lse.masked_fill(lse == float("-inf"), 0.0)[..., None])
    return (weights[..., None, :] @ v)[..., 0, :], lse, weights.amax(dim=-1)


def _dequantised(upper: torch.Tensor, lower: torch.Tensor | None, scale: torch.Tensor) -> torch.Tensor:
    values = from_planes(upper.cpu(), None if lower is None else lower.cpu())
    return values.double() * scale.cpu().double()[..., None]


def quantised_decode_naive(
    q: torch.Tensor,
    k_upper: torch.Tensor,
    k_scale: torch.Tensor,
    v_upper: torch.Tensor,
    v_scale: torch.Tensor,
    k_lower: torch.Tensor | None = None,
    v_lower: torch.Tensor | None = None,
    key_lengths: torch.Tensor | None = None,
    threshold: float | None = None,
    tile_keys: int = 0,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Output, natural log-sum-exp in fp64 and groups that used both halves; ``tile_keys`` is ignored."""
    del tile_keys
    batch, kv_heads, keys = k_scale.shape
    ends = torch.full((batch,), keys) if key_lengths is None else key_lengths.cpu()
    seen = (torch.arange(keys) < ends[:, None])[:, None].expand(-1, kv_heads, -1)
    v = _dequantised(v_upper, v_lower, v_scale)
    q = q.cpu().double()
    o, lse, largest = _attend(q, _dequantised(k_upper, None, k_scale), v, seen)
    again = seen.any(dim=-1) & (k_lower is not None)
    if threshold is not None:
        again &= largest.reshape(batch, kv_heads, -1).amin(dim=-1) < threshold
    full = _attend(q, _dequantised(k_upper, k_lower, k_scale), v, seen)
    heads = again.repeat_interleave(q.shape[1] // kv_heads, dim=1)
    return torch.where(heads[..., None], full[0], o), torch.where(heads, full[1], lse), again
