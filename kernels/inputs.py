"""Inputs of decode and prefill kernels from their parameters: lengths, and the scale of scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dse.kernels.common import LOG2_E, counts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.workloads.trace import Value


def score_scale(depth: int) -> float:
    """Factor ``1 / sqrt(depth)`` that turns products of queries and keys into scores in units of log2."""
    return float(depth**-0.5 * LOG2_E)


def given_lengths(parameters: Mapping[str, Value], **padded: int) -> dict[str, torch.Tensor]:
    """Length tensors under the given names if any of them is set; one that is not holds its padded size."""
    if not any(parameters[name] for name in padded):
        return {}
    batch = counts(parameters)["batch"]
    return {
        name: torch.tensor(parameters[name] or [size] * batch, dtype=torch.int32)
        for name, size in padded.items()
    }
