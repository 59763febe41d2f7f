"""Reference for ``importance``: probabilities of the visible pairs summed over queries in torch, in fp64."""

from __future__ import annotations

import torch


def visible_pairs(
    shape: tuple[int, int, int, int],
    causal: bool,
    query_lengths: torch.Tensor | None,
    key_lengths: torch.Tensor | None,
) -> torch.Tensor:
    """Boolean ``(batch, 1, queries, keys)``: which key each query row sees."""
    batch, _, queries, keys = shape
    row_end = torch.full((batch,), queries) if query_lengths is None else query_lengths.cpu()
    key_end = torch.full((batch,), keys) if key_lengths is None else key_lengths.cpu()
    rows, columns = torch.arange(queries)[:, None], torch.arange(keys)
    row_end, key_end = row_end[:, None, None], key_end[:, None, None]
    seen = (rows < row_end) & (columns < key_end)
    if causal:
        seen = seen & (columns <= rows + (key_end - row_end))
    return seen[:, None]


def importance_naive(
    scores: torch.Tensor,
    lse: torch.Tensor,
    causal: bool = False,
    query_lengths: torch.Tensor | None = None,
    key_lengths: torch.Tensor | None = None,
    tile_queries: int = 0,
    tile_keys: int = 0,
) -> tuple[torch.Tensor]:
    """Column sums in fp64, on the CPU; tile sizes are ignored."""
    del tile_queries, tile_keys
    batch, heads, queries, keys = scores.shape
    seen = visible_pairs((batch, heads, queries, keys), causal, query_lengths, key_lengths)
    hidden = scores.cpu().double().masked_fill(~seen, float("-inf"))
    finite = lse.cpu().double().masked_fill(lse.cpu() == float("-inf"), 0.0)
    return (torch.exp(hidden - finite[..., None]).sum(dim=2),)
