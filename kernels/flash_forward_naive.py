"""Reference for ``flash_forward``: softmax attention written out in torch, in fp64.

Materialises every score, so it is meant for small sizes. Masks, lengths and empty rows follow the kernel's
definitions; tiles play no role.
"""

from __future__ import annotations

import torch


def _visible(
    queries: int, keys: int, causal: bool, query_lengths: torch.Tensor, key_lengths: torch.Tensor
) -> torch.Tensor:
    """Boolean ``(batch, 1 or heads, queries, keys)``: which key each query row sees."""
    rows, columns = torch.arange(queries)[:, None], torch.arange(keys)
    row_end, column_end = (
        (lengths if lengths.dim() == 2 else lengths[:, None])[..., None, None]
        for lengths in (query_lengths, key_lengths)
    )
    seen = (rows < row_end) & (columns < column_end)
    if causal:
        seen = seen & (columns <= rows + (column_end - row_end))
    return seen


def flash_forward_naive(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    causal: bool = False,
    query_lengths: torch.Tensor | None = None,
    key_lengths: torch.Tensor | None = None,
    tile_queries: int = 0,
    tile_keys: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and natural log-sum-exp in fp64, on the CPU; ``tile_queries`` and ``tile_keys`` are ignored.

    Heads of keys and of values repeat for the query heads that share them; lengths are ``(batch,)`` or
    ``(batch, heads)``.
    """
    del tile_queries, tile_keys
    batch, heads, queries, depth = q.shape
    keys = k.shape[2]
    q, k, v = q.cpu().double(), k.cpu().double(), v.cpu().double()
    k, v = (tensor.repeat_interleave(heads // tensor.shape[1], dim=1) for tensor in (k, v))
    row_end = torch.full((batch,), queries) if query_lengths is None else query_lengths.cpu()
    column_end = torch.full((batch,), keys) if key_lengths is None else key_lengths.cpu()
    seen = _visible(queries, keys, causal, row_end, column_end)
    scores = (q @ k.transpose(-1, -2) * depth**-0.5).masked_fill(~seen, float("-inf"))
    lse = torch.logsumexp(scores, dim=-1)
    weights = torch.exp(scores - lse.masked_fill(lse == float("-inf"), 0.0)[..., None])
    return weights @ v, lse
