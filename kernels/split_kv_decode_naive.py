"""Reference for ``split_kv_decode``: softmax attention of one query per head in torch, in fp64.

Splits and tiles play no role.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.kernels.flash_forward_naive import flash_forward_naive

if TYPE_CHECKING:
    import torch


def split_kv_decode_naive(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    key_lengths: torch.Tensor | None = None,
    splits: int = 0,
    tile_keys: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and natural log-sum-exp in fp64, on the CPU; ``splits`` and ``tile_keys`` are ignored."""
    del splits, tile_keys
    o, lse = flash_forward_naive(q[:, :, None], k, v, key_lengths=key_lengths)
    return o[:, :, 0], lse[:, :, 0]
