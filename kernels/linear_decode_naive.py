"""Reference for ``linear_decode``: the recurrence of one row written out, in fp64."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def linear_decode_naive(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    decays: torch.Tensor,
    state: torch.Tensor,
    key_sum: torch.Tensor | None = None,
    tile_values: int = 0,
) -> tuple[torch.Tensor, ...]:
    """Answer, state and, with ``key_sum``, sum of keys in fp64, on the CPU; ``tile_values`` is ignored."""
    del tile_values
    q, k, v, decays, state = (tensor.cpu().double() for tensor in (q, k, v, decays, state))
    after = state * decays[:, None, None] + k.transpose(-1, -2) @ v
    if key_sum is None:
        return q @ after, after
    sums = key_sum.cpu().double() * decays[:, None] + k[:, :, 0]
    return q @ after / (q @ sums[..., None]), after, sums
