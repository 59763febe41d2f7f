# mypy: disallow-untyped-decorators=False
"""Small kernels, one for each thing a trace can hold, and what the interpreter session leaves behind."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dse.errors import TraceError
from dse.workloads.trace import Event, Launch, totals

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")

import triton.language as tl  # noqa: E402
from triton.runtime import interpreter as stock  # noqa: E402

from dse.kernels.interpreter import session  # noqa: E402
from dse.kernels.tracer import Tracer  # noqa: E402

N: tl.constexpr = tl.constexpr(16)


def trace(kernel: object, grid: tuple[int, ...], *arguments: object, level: str = "events") -> Launch:
    tracer = Tracer(level)
    with session(tracer):
        kernel[grid](*arguments)  # type: ignore[index]
    return tracer.launches[0]


def of_kind(launch: Launch, kind: str, number: int = 0) -> list[Event]:
    return [event for event in launch.classes[number].events if event.kind == kind]


@triton.jit
def _double(x: tl.tensor) -> tl.tensor:
    return tl.where(x > 0, x * 2.0, x)


@triton.jit
def loops_kernel(x: tl.tensor, y: tl.tensor, trips: tl.tensor) -> None:
    rows = tl.program_id(0) * N + tl.arange(0, N)
    total = tl.zeros((N,), tl.float32)
    for _ in range(tl.load(trips + tl.program_id(0))):
        total += _double(tl.load(x + rows))
    for step in tl.range(0, 6, 2):
        total += step
        if step == 2:
            break
    tl.store(y + rows, total)


def test_trips_may_depend_on_data_and_loops_may_break() -> None:
    x, y = torch.arange(32.0) - 8, torch.zeros(32)
    launch = trace(loops_kernel, (2,), x, y, torch.tensor([3, 0], dtype=torch.int32))
    assert y.tolist() == [(6 * v if v > 0 else 3 * v) + 2 for v in x[:16].tolist()] + [2.0] * 16
    assert launch.tensors["trips"].values == (3, 0)
    assert [[event.elements for event in of_kind(launch, "loop", number)] for number in (0, 1)] == [
        [3, 2],
        [0, 2],
    ]
    loads = [event for event in of_kind(launch, "load") if event.tensor == "x"]
    assert [event.trip for event in loads] == [0, 1, 2]
    assert [event.active for event in of_kind(launch, "select")] == [7, 7, 7]
    assert totals(launch).trips == 7
    assert totals(launch).read_bytes == {"x": 3 * 16 * 4, "trips": 8}
    assert launch.tensors["x"].unique_read_bytes == 64


@triton.jit
def copy_kernel(x: tl.tensor, y: tl.tensor, columns: tl.tensor) -> None:
    rows = tl.program_id(0)
    inside = tl.arange(0, N) < columns
    tl.store(
        y + rows * columns + tl.arange(0, N), tl.load(x + rows * columns + tl.arange(0, N), inside), inside
    )


def test_programs_that_differ_only_in_place_form_one_class() -> None:
    x, y = torch.rand(5, 10), torch.zeros(5, 10)
    launch = trace(copy_kernel, (5,), x, y, 10)
    assert torch.equal(x, y)
    (members,) = launch.classes
    assert members.multiplicity == 5
    assert members.programs == tuple((row, 0, 0) for row in range(5))
    assert list(members.boxes(3, "x")) == [((3, 0), (1, 10))]
    assert list(members.boxes(4, "y", "store")) == [((4, 0), (1, 10))]
    assert [(event.elements, event.active) for event in of_kind(launch, "load")] == [(16, 10)]
    assert launch.arguments == {"columns": 10}


@triton.jit
def reductions_kernel(x: tl.tensor, y: tl.tensor) -> None:
    tile = tl.load(x + tl.arange(0, N)[:, None] * N + tl.arange(0, N)[None, :])
    product = tl.dot(tile, tl.trans(tile))
    row = tl.max(product, 1) + tl.sum(tl.exp(product), 1) + tl.argmax(product, 1)
    tl.store(y + tl.arange(0, N), tl.cumsum(row, 0))
    tl.atomic_add(y + tl.arange(0, N), row)


def test_products_reductions_scans_exponentials_and_atomics() -> None:
    x, y = torch.rand(16, 16, dtype=torch.float16), torch.zeros(16)
    launch = trace(reductions_kernel, (1,), x, y)
    (dot,) = of_kind(launch, "dot")
    assert (dot.shape, dot.dtype, dot.result, dot.flops) == ((16, 16, 16), "fp16", "fp32", 8192)
    reduced = [(event.operator, event.shape, event.axis) for event in of_kind(launch, "reduce")]
    assert reduced == [("max", (16, 16), 1), ("add", (16, 16), 1), ("argmax", (16, 16), 1)]
    assert [(event.operator, event.elements) for event in of_kind(launch, "exp")] == [("exp", 256)]
    assert [(event.operator, event.elements) for event in of_kind(launch, "scan")] == [("add", 16)]
    assert totals(launch).written_bytes == {"y": 128}
    assert totals(launch).read_bytes == {"x": 512, "y": 64}


def test_lines_are_those_of_the_file() -> None:
    launch = trace(reductions_kernel, (1,), torch.rand(16, 16), torch.zeros(16))
    lines = Path(__file__).read_text().splitlines()
    assert "tl.dot(" in lines[of_kind(launch, "dot")[0].line - 1]
    assert "tl.store(" in lines[of_kind(launch, "store")[0].line - 1]


def test_counts_merge_equal_events_and_keep_the_totals() -> None:
    arguments = torch.arange(32.0) - 8, torch.zeros(32), torch.tensor([3, 1], dtype=torch.int32)
    events = trace(loops_kernel, (2,), *arguments)
    counts = trace(loops_kernel, (2,), *arguments, level="counts")
    assert totals(events) == totals(counts)
    assert [event.count for event in of_kind(counts, "load") if event.tensor == "x"] == [3]
    assert all(event.trip == -1 and not event.origin for event in counts.classes[0].events)


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(TraceError, match="level 'scores' is none of counts, events, values"):
        Tracer("scores")


def test_overflow_checks_add_no_operations() -> None:
    """The stock interpreter widens integer additions to 64 bits to check them; no GPU does."""
    launch = trace(copy_kernel, (1,), torch.rand(1, 10), torch.zeros(1, 10), 10)
    assert ("add", "int64") not in totals(launch).elementwise


@triton.jit
def add_kernel(x: tl.tensor, y: tl.tensor) -> None:
    tl.store(y + tl.arange(0, N), tl.load(x + tl.arange(0, N)) + tl.load(x + tl.arange(0, N)))


@triton.jit
def dot_kernel(x: tl.tensor, y: tl.tensor) -> None:
    where = tl.arange(0, N)[:, None] * N + tl.arange(0, N)[None, :]
    tl.store(y + where, tl.dot(tl.load(x + where), tl.load(x + where)).to(y.dtype.element_ty))


@triton.jit
def widen_kernel(x: tl.tensor, y: tl.tensor) -> None:
    tl.store(y + tl.arange(0, N), tl.load(x + tl.arange(0, N)).to(tl.float32))


@pytest.mark.parametrize("kernel", [add_kernel, dot_kernel])
def test_bf16_arithmetic_is_refused(kernel: object) -> None:
    x, y = (torch.ones(16, 16, dtype=torch.bfloat16) for _ in range(2))
    with pytest.raises(TraceError, match="bf16 arithmetic is wrong"):
        trace(kernel, (1,), x, y)


def test_bf16_may_be_moved_and_converted() -> None:
    x, y = torch.rand(16).to(torch.bfloat16), torch.zeros(16)
    launch = trace(widen_kernel, (1,), x, y)
    assert torch.equal(y, x.float())
    assert totals(launch).read_bytes == {"x": 32}


def test_an_access_outside_its_tensor_is_an_error() -> None:
    with pytest.raises(TraceError, match="check its mask"):
        trace(add_kernel, (1,), torch.zeros(8), torch.zeros(16))


def test_arguments_that_share_memory_are_an_error() -> None:
    x = torch.zeros(32)
    with pytest.raises(TraceError, match="'x' and 'y' share memory"):
        trace(add_kernel, (1,), x, x[8:])


@triton.jit
def failing_kernel(x: tl.tensor) -> None:
    tl.store(x + tl.arange(0, N), tl.zeros((N, N), tl.float32))


def test_a_kernel_that_fails_is_named() -> None:
    with pytest.raises(TraceError, match="kernel 'failing_kernel' failed in the interpreter"):
        trace(failing_kernel, (1,), torch.zeros(16))


def test_a_session_leaves_nothing_behind() -> None:
    """Also after an error: builder, language, reductions and module globals are as before."""
    before = tl.range, tl.load, tl.sum, stock._patch_lang, stock.ReduceOps.apply, stock.GridExecutor.__call__
    options = stock.interpreter_builder.options
    for kernel, x in ((loops_kernel, torch.zeros(32)), (failing_kernel, torch.zeros(16))):
        arguments = (x, torch.zeros(32), torch.tensor([1], dtype=torch.int32))
        try:
            trace(kernel, (1,), *arguments[: 3 if kernel is loops_kernel else 1])
        except TraceError:
            assert kernel is failing_kernel
    after = tl.range, tl.load, tl.sum, stock._patch_lang, stock.ReduceOps.apply, stock.GridExecutor.__call__
    assert after == before
    assert stock.interpreter_builder.options is options
    assert not [name for name in vars(stock.interpreter_builder) if name.startswith("create_")]
    assert "range" not in globals()


def test_results_do_not_change_under_observation() -> None:
    x = torch.rand(16, 16, dtype=torch.float16)
    plain, traced = torch.zeros(16), torch.zeros(16)
    reductions_kernel[(1,)](x, plain)
    trace(reductions_kernel, (1,), x, traced)
    np.testing.assert_array_equal(plain, traced)


@triton.autotune([triton.Config({"STEP": step}, num_warps=4) for step in (8, 16)], key=["count"])
@triton.jit
def tuned_kernel(x: tl.tensor, count: tl.tensor, STEP: tl.constexpr) -> None:
    for start in range(0, count, STEP):
        tl.store(x + start + tl.arange(0, STEP), tl.full((STEP,), 1.0, tl.float32))


def test_an_autotuner_is_bypassed_and_its_configuration_named() -> None:
    tracer, x = Tracer(), torch.zeros(32)
    with session(tracer):
        tuned_kernel[(1,)](x, 32)
    assert x.sum() == 32
    assert tracer.configurations.keys() == {"tuned_kernel"}
    assert tracer.configurations["tuned_kernel"].startswith("STEP: 8, num_warps: 4")
    assert tracer.launches[0].arguments["STEP"] == 8
    assert totals(tracer.launches[0]).trips == 4


def test_an_observer_may_choose_the_configuration() -> None:
    class Second(Tracer):
        def configure(self, kernel: str, configurations: Sequence[str]) -> int:
            assert (kernel, len(configurations)) == ("tuned_kernel", 2)
            return 1

    tracer = Second()
    with session(tracer):
        tuned_kernel[(1,)](torch.zeros(32), 32)
    assert tracer.launches[0].arguments["STEP"] == 16
