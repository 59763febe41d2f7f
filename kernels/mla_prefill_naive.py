"""Reference for ``mla_prefill``: expanded, concatenated keys and plain softmax attention in torch, in fp64.

Keys and values are not rounded in between. Tiles play no role.
"""

from __future__ import annotations

import torch

from dse.kernels.flash_forward_naive import flash_forward_naive


def mla_prefill_naive(
    q: torch.Tensor,
    q_rope: torch.Tensor,
    latents: torch.Tensor,
    rope_keys: torch.Tensor,
    key_weights: torch.Tensor,
    value_weights: torch.Tensor,
    causal: bool = False,
    query_lengths: torch.Tensor | None = None,
    key_lengths: torch.Tensor | None = None,
    tile_queries: int = 0,
    tile_keys: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and natural log-sum-exp in fp64, on the CPU; tile sizes are ignored."""
    del tile_queries, tile_keys
    heads = q.shape[1]
    wide = latents.cpu().double()[:, None]
    shared = rope_keys.cpu().double()[:, None].expand(-1, heads, -1, -1)
    k = torch.cat([wide @ key_weights.cpu().double(), shared], dim=-1)
    v = wide @ value_weights.cpu().double()
    return flash_forward_naive(
        torch.cat([q, q_rope], dim=-1), k, v, causal, query_lengths=query_lengths, key_lengths=key_lengths
    )
