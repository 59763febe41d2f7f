"""Reference for ``select_low_bit``: all low-bit scores, their block maxima, and attention as selected, in fp64."""

from __future__ import annotations

import torch

from dse.kernels.select_attend_naive import attend_selected


def _low_bit(tensor: torch.Tensor, bits: int) -> torch.Tensor:
    """Values that the low-bit codes of each row stand for, fp64.

    Codes are defined in fp32, where a cache makes them: a quotient near a half rounds differently in fp64.
    """
    tensor = tensor.cpu().float()
    scale = tensor.abs().amax(dim=-1, keepdim=True) / (2 ** (bits - 1) - 1)
    codes = torch.where(scale > 0, torch.round(tensor / scale), 0.0)
    values: torch.Tensor = codes.double() * scale.double()
    return values


def low_bit(q: torch.Tensor, k: torch.Tensor, bits: int, tile_queries: int, tile_keys: int) -> torch.Tensor:
    """Largest low-bit score of each pair of blocks, ``(batch, heads, query blocks, key blocks)``."""
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scores = _low_bit(q, bits) @ _low_bit(k, bits).transpose(-1, -2)
    rows = torch.stack([block.amax(dim=-2) for block in torch.split(scores, tile_queries, dim=-2)], dim=-2)
    return torch.stack([block.amax(dim=-1) for block in torch.split(rows, tile_keys, dim=-1)], dim=-1)


def select_low_bit_naive(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    keep: int,
    bits: int = 4,
    causal: bool = False,
    tile_queries: int = 64,
    tile_keys: int = 64,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and natural log-sum-exp in fp64, on the CPU."""
    scores = low_bit(q, k, bits, tile_queries, tile_keys)
    return attend_selected(q, k, v, scores, keep, causal, tile_queries, tile_keys)
