# mypy: disallow-untyped-decorators=False
"""Which keys the rows of a tile see: hidden scores, and the bounds of the loops with and without a mask."""

import triton
import triton.language as tl

from dse.kernels import flash_forward

key_bounds = flash_forward._key_bounds


@triton.jit
def hide_scores(
    scores: tl.tensor,
    rows: tl.tensor,
    row_count: tl.tensor,
    keys: tl.tensor,
    key_count: tl.tensor,
    CAUSAL: tl.constexpr,
) -> tl.tensor:
    """Scores with -inf outside the lengths and, if causal, beyond the key each row ends at."""
    visible = (keys[None, :] < key_count) & (rows[:, None] < row_count)
    if CAUSAL:
        visible = visible & (keys[None, :] <= rows[:, None] + (key_count - row_count))
    return tl.where(visible, scores, float("-inf"))
