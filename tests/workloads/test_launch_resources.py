"""Estimated resources of a thread block beside those of the compiled kernel."""

from __future__ import annotations

import numpy as np
import pytest

from dse.workloads.launch_resources import attention_resources, gemm_resources


def one(value: float) -> np.ndarray:
    return np.array([float(value)])


@pytest.mark.parametrize(
    ("rows", "keys", "depth", "warps", "stages", "shared", "registers"),
    [
        (64, 64, 64, 4, 3, 57_344, 127),
        (128, 64, 128, 8, 3, 131_072, 184),
        (128, 128, 128, 8, 2, 163_840, 249),
        (64, 64, 128, 4, 2, 81_920, 168),
    ],
)
def test_flash_attention_as_triton_compiled_it_for_sm_90(
    rows: int, keys: int, depth: int, warps: int, stages: int, shared: int, registers: int
) -> None:
    """Figures of Triton 3.7.1, kernel flash_forward, fp16, causal."""
    tile = one(rows), one(keys), one(depth), one(depth)
    found = attention_resources(*tile, 2.0, one(warps), one(stages))
    assert found.shared_bytes[0] == shared
    assert found.registers[0] == pytest.approx(registers, rel=0.1)
    assert (found.warps[0], found.stages[0]) == (warps, stages)


def test_a_product_holds_both_operands_in_every_stage() -> None:
    found = gemm_resources(one(128), one(256), one(64), 2.0, one(8), one(3))
    assert found.shared_bytes[0] == 3 * (128 + 256) * 64 * 2
    assert found.registers[0] == 128 * 256 / 256 + 40
