"""Reference for ``mla_decode``: attention over concatenated latent and rotary keys in torch, in fp64.

Queries and keys of depth latent + rope, values the latent part of the keys. Tiles play no role.
"""

from __future__ import annotations

import torch

from dse.kernels.flash_forward_naive import flash_forward_naive


def mla_decode_naive(
    q_latent: torch.Tensor,
    q_rope: torch.Tensor,
    latents: torch.Tensor,
    rope_keys: torch.Tensor,
    key_lengths: torch.Tensor | None = None,
    scale_dim: int = 192,
    tile_heads: int = 0,
    tile_keys: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted latents and natural log-sum-exp in fp64, on the CPU; tile sizes are ignored."""
    del tile_heads, tile_keys
    q = torch.cat([q_latent, q_rope], dim=-1).cpu().double()
    k = torch.cat([latents, rope_keys], dim=-1)
    # The reference scales by its own depth.
    q = q * (q.shape[-1] / scale_dim) ** 0.5
    o, lse = flash_forward_naive(q[:, :, None], k[:, None], latents[:, None], key_lengths=key_lengths)
    return o[:, :, 0], lse[:, :, 0]
