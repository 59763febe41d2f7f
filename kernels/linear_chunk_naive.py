"""Reference for ``linear_chunk`` and ``linear_decode``: one row after the other, in fp64."""

from __future__ import annotations

import torch


def linear_chunk_naive(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    decays: torch.Tensor,
    lengths: torch.Tensor | None = None,
    normalise: bool = False,
    chunk: int = 0,
) -> tuple[torch.Tensor, ...]:
    """Output, state and, with ``normalise``, decayed sum of keys in fp64; ``chunk`` is ignored."""
    del chunk
    q, k, v, decays = (tensor.cpu().double() for tensor in (q, k, v, decays))
    batch, heads, rows, depth = q.shape
    ends = [rows] * batch if lengths is None else lengths.tolist()
    o = torch.zeros_like(v)
    state = torch.zeros(batch, heads, depth, v.shape[3], dtype=torch.float64)
    key_sum = torch.zeros(batch, heads, depth, dtype=torch.float64)
    for sequence, end in enumerate(ends):
        for row in range(end):
            query, key, value = (tensor[sequence, :, row] for tensor in (q, k, v))
            state[sequence] = state[sequence] * decays[:, None, None] + key[:, :, None] * value[:, None, :]
            key_sum[sequence] = key_sum[sequence] * decays[:, None] + key
            result = (query[:, :, None] * state[sequence]).sum(dim=1)
            divisor = (query * key_sum[sequence]).sum(dim=1, keepdim=True)
            o[sequence, :, row] = result / divisor if normalise else result
    return (o, state, key_sum) if normalise else (o, state)
