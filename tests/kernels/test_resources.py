"""Launches compile for GPUs that are not there; limits that Triton does not check are checked."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import pytest

from dse.errors import TraceError
from dse.kernels.resources import with_resources
from dse.kernels.targets import TARGETS
from dse.workloads.trace_file import load_trace, read_trace, write_trace

if TYPE_CHECKING:
    from pathlib import Path

    from dse.workloads.trace import Trace

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")

CAUSAL = load_trace("flash_forward_causal")


def with_arguments(**changes: int) -> Trace:
    """The causal trace launched with other compile-time arguments."""
    launch = CAUSAL.launches[0]
    changed = dataclasses.replace(launch, arguments={**launch.arguments, **changes})
    return dataclasses.replace(CAUSAL, launches=(changed,))


@pytest.mark.parametrize("targets", [["sm_90"], pytest.param([*TARGETS], marks=pytest.mark.slow)])
def test_targets_compile_and_the_figures_stay_with_the_trace(targets: list[str], tmp_path: Path) -> None:
    """Each key tile of 64 by 64 takes, in each of 128 threads, 32 exponentials of base 2 in each loop."""
    trace = with_resources(CAUSAL, targets)
    assert [item.target for item in trace.resources] == targets
    products = {"sm_80": "mma.sync", "sm_90": "wgmma.mma_async", "sm_100": "tcgen05.mma", "gfx942": "v_mfma"}
    for item in trace.resources:
        assert (item.launch, item.num_warps, item.num_stages) == (0, 4, 3)
        assert item.triton == triton.__version__
        assert item.instructions[products[item.target]] > 0
        assert item.instructions["v_exp" if item.target == "gfx942" else "ex2"] >= 64
        assert 16_384 < item.shared_bytes < TARGETS[item.target].shared_bytes
        assert 32 < item.registers <= TARGETS[item.target].registers
        assert item.exceeded == ()
    path = tmp_path / "trace.parquet"
    write_trace(trace, path)
    assert read_trace(path) == trace
    assert read_trace(path) != CAUSAL


def test_what_a_device_cannot_hold_is_named() -> None:
    """Triton keeps 8 stages of keys and values of depth 256 in shared memory without complaint."""
    sizes = {"BLOCK_M": 16, "BLOCK_N": 32, "BLOCK_E": 256, "BLOCK_F": 256, "DEPTH": 256, "VALUE_DEPTH": 256}
    (item,) = with_resources(with_arguments(**sizes), ["sm_80"], num_stages=8).resources
    assert item.num_stages == 8
    assert item.shared_bytes > 163 * 1024
    bound = f"{163 * 1024:,}"
    assert item.exceeded[0] == f"shared memory bytes: {item.shared_bytes:,} of {bound}"


def test_limits_of_a_block() -> None:
    target = TARGETS["sm_90"]
    assert target.exceeded(227 * 1024, 255, 8) == ()
    assert target.exceeded(227 * 1024 + 1, 256, 64) == (
        "shared memory bytes: 232,449 of 232,448",
        "registers per thread: 256 of 255",
        "registers per block: 524,288 of 65,536",
        "threads per block: 2,048 of 1,024",
    )
    assert all(re.search("Guide|documentation", target.source) for target in TARGETS.values())


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(TraceError, match="unknown target 'sm90'; did you mean 'sm_90'"):
        with_resources(CAUSAL, ["sm90"])


@pytest.mark.slow
def test_a_kernel_that_does_not_compile_is_named() -> None:
    with pytest.raises(
        TraceError, match=r"compiling 'flash_forward' failed: .*'flash_forward_kernel' for sm_80"
    ):
        with_resources(with_arguments(BLOCK_N=48), ["sm_80"])
