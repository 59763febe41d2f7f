"""Totals and tile places of traces: the committed ones equal their closed forms, torch plays no role."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dse.errors import TraceError
from dse.workloads.trace import Event, Launch, ProgramClass, TracedTensor, totals
from dse.workloads.trace_file import load_trace


def test_the_committed_causal_trace_equals_its_closed_form() -> None:
    """S = 1024, 4 heads, depth 64, tiles of 64 by 64, fp16: 544 of 1,024 tiles are visited."""
    trace = load_trace("flash_forward_causal")
    total = totals(trace.launch("flash_forward_kernel"))
    assert (total.programs, total.trips) == (64, 544)
    assert total.dot_flops == {"fp16": 570_425_344}
    assert total.exps == {"exp2": 2_263_040}
    assert total.reductions == {"max": 544 * 64 * 64, "add": 544 * 64 * 64}
    assert total.read_bytes == {"q": 524_288, "k": 4_456_448, "v": 4_456_448}
    assert total.written_bytes == {"o": 524_288, "lse": 16_384}
    assert total.unique_read_bytes == {"q": 524_288, "k": 524_288, "v": 524_288}
    assert total.unique_written_bytes == {"o": 524_288, "lse": 16_384}
    assert not trace.sampled


def test_the_committed_full_trace_equals_its_closed_form() -> None:
    total = totals(load_trace("flash_forward").launch("flash_forward_kernel"))
    tiles = 4 * 16 * 16
    assert total.trips == tiles
    assert total.dot_flops == {"fp16": tiles * 4 * 64**3}
    assert total.exps == {"exp2": tiles * (64 * 64 + 64)}
    assert total.read_bytes == {"q": 524_288, "k": tiles * 64 * 64 * 2, "v": tiles * 64 * 64 * 2}
    assert total.unique_read_bytes == {"q": 524_288, "k": 524_288, "v": 524_288}


def test_tiles_of_the_committed_causal_trace_lie_where_the_loop_puts_them() -> None:
    """The program of query tile i of head h reads keys 0, 64, ... 64 i of that head, in order."""
    launch = load_trace("flash_forward_causal").launch("flash_forward_kernel")
    seen = 0
    for members in launch.classes:
        for number, (tile, head, _) in enumerate(members.programs):
            boxes = list(members.boxes(number, "k"))
            assert boxes == [((0, head, 64 * step, 0), (1, 1, 64, 64)) for step in range(tile + 1)]
            assert list(members.boxes(number, "o", "store")) == [((0, head, 64 * tile, 0), (1, 1, 64, 64))]
            seen += 1
    assert seen == 64


def test_reading_a_trace_needs_neither_torch_nor_triton() -> None:
    code = (
        "import sys; from dse.workloads.trace_file import load_trace; load_trace('flash_forward');"
        "print({'torch', 'triton', 'pandas'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


TENSOR = TracedTensor("fp16", 2, (8, 16), (16, 1), 64, 32)


def launch_of(*events: Event, multiplicity: int = 3) -> Launch:
    members = ProgramClass(tuple((x, 0, 0) for x in range(multiplicity)), multiplicity, {}, events)
    return Launch("kernel", (multiplicity, 1, 1), {}, {"x": TENSOR}, (members,))


def test_totals_multiply_by_count_and_class_size() -> None:
    total = totals(
        launch_of(
            Event("load", tensor="x", elements=16, active=10, count=2),
            Event("load", elements=16),
            Event("atomic", tensor="x", elements=4, active=4),
            Event("dot", "dot", dtype="fp16", shape=(2, 16, 16, 8), count=5, elements=4096, active=4096),
            Event("exp", "exp", elements=7, active=7, count=2),
            Event("elementwise", "fadd", dtype="fp32", elements=9, active=9),
            Event("select", "select", dtype="fp32", elements=8, active=1),
            Event("loop", elements=6, active=6),
            Event("footprint", "load", "x", elements=24, active=14),
        )
    )
    assert (total.programs, total.trips) == (3, 18)
    assert total.read_bytes == {"x": 3 * 2 * (2 * 10 + 4)}
    assert total.written_bytes == {"x": 3 * 2 * 4}
    assert total.dot_flops == {"fp16": 3 * 5 * 2 * 2 * 16 * 16 * 8}
    assert total.exps == {"exp": 42}
    assert total.elementwise == {("fadd", "fp32"): 27, ("select", "fp32"): 24}
    assert (total.unique_read_bytes, total.unique_written_bytes) == ({"x": 64}, {"x": 32})


def test_a_launch_is_found_by_name_or_refused() -> None:
    trace = load_trace("flash_forward")
    with pytest.raises(TraceError, match="0 launches of 'flash_kernel', expected 1; did you mean"):
        trace.launch("flash_kernel")
