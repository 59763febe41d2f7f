"""Keys and values as 8-bit integers with one scale per row, split into packed halves of 4 bits.

``q = round(x / scale)`` with ``scale = max |x| / 127`` of the row, stored as ``q + 128``: its upper half
alone stands for the middle of the 16 values it leaves open. Two 4-bit values share a byte, the first in its
lower half. Modelled: symmetric rounding. Not modelled: zero points, outliers kept apart, rotations.
"""

from __future__ import annotations

import torch

from dse.errors import WorkloadError

LARGEST = 127
OFFSET = 128
HALF = 16


def quantise(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values from -127 to 127 (int32) of the last dimension's rows, and their scales (fp32)."""
    largest = rows.float().abs().amax(dim=-1)
    scale = torch.where(largest > 0, largest, 1.0) / LARGEST
    return torch.round(rows.float() / scale[..., None]).to(torch.int32), scale


def planes(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Upper and lower halves of 8-bit values, each packed two to a byte along the last dimension.

    Raises
    ------
    WorkloadError
        If the last dimension is odd.
    """
    if values.shape[-1] % 2:
        raise WorkloadError(f"a depth of {values.shape[-1]} is odd: two 4-bit values share a byte")
    stored = values + OFFSET
    return _packed(stored // HALF), _packed(stored % HALF)


def from_planes(upper: torch.Tensor, lower: torch.Tensor | None) -> torch.Tensor:
    """8-bit values (int32) of packed halves; without the lower ones, the middle of the range left open."""
    rest = HALF // 2 if lower is None else _unpacked(lower)
    return HALF * _unpacked(upper) + rest - OFFSET


def _packed(halves: torch.Tensor) -> torch.Tensor:
    return (halves[..., 0::2] + HALF * halves[..., 1::2]).to(torch.uint8)


def _unpacked(packed: torch.Tensor) -> torch.Tensor:
    wide = packed.to(torch.int32)
    return torch.stack([wide % HALF, wide // HALF], dim=-1).flatten(-2)
