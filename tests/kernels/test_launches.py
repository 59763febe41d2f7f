# mypy: disallow-untyped-decorators=False
"""Traces of several launches, tile lists in memory, branches and chunks lift against their cascades."""

from dataclasses import replace
from typing import Any

import pytest

from dse.errors import TraceError
from dse.spec import parse
from dse.workloads.annotation import Annotation
from dse.workloads.cascade_file import load_cascade
from dse.workloads.lift import LiftedTrace, lift
from dse.workloads.trace import Trace
from dse.workloads.trace_file import load_trace

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")

import triton.language as tl  # noqa: E402

from dse.kernels.interpreter import session  # noqa: E402
from dse.kernels.tracer import Tracer  # noqa: E402

HEADS, QUERIES, KEYS, DEPTH, TILE = 2, 32, 64, 16, 16

HEADER = """
summary: test
source: test
parameters:
  heads: {default: 2, summary: heads}
  queries: {default: 32, summary: rows}
  sequence: {default: 64, summary: keys}
  depth: {default: 16, summary: depth}
ranks: {h: heads, p: queries, m: sequence, e: depth, f: depth}
outer: [h]
reference: [h, p, m]
useful: all
tolerance: {fp32: 1e-5}
"""

UNFUSED = (
    HEADER
    + """
cascade: softmax_3pass
launches:
  scores_kernel:
    einsums: [QK]
    tiles: {p: TILE, m: TILE, e: DEPTH}
    tensors:
      q: {tensor: Q, ranks: [h, p, e], repeats: [m]}
      k: {tensor: K, ranks: [h, m, e], repeats: [p]}
      s: {tensor: QK, ranks: [h, p, m]}
    dots: {QK: [p, m, e]}
    mask: {scores: [p, m]}
  softmax_kernel:
    einsums: [GM, SN, SD, A]
    tiles: {p: TILE, m: KEYS}
    tensors:
      s: {tensor: QK, ranks: [h, p, m]}
      a: {tensor: A, ranks: [h, p, m]}
  values_kernel:
    einsums: [AV]
    tiles: {p: TILE, m0: TILE, f: DEPTH}
    tensors:
      a: {tensor: A, ranks: [h, p, m]}
      v: {tensor: V, ranks: [h, m, f]}
      o: {tensor: AV, ranks: [h, p, f]}
    steps: {keys: {rank: m, tile: m0, loads: v}}
    dots: {AV: [p, f, m0]}
"""
)

LISTED = (
    HEADER
    + """
cascade: softmax_flash
launches:
  listed_kernel:
    tiles: {p: TILE, m0: TILE, e: DEPTH, f: DEPTH}
    tensors:
      q: {tensor: Q, ranks: [h, p, e]}
      k: {tensor: K, ranks: [h, m, e], coverage: visited}
      v: {tensor: V, ranks: [h, m, f], coverage: visited}
      o: {tensor: AV, ranks: [h, p, f]}
    steering: {starts: first entry of each row tile, tiles: key tiles in order of visit}
    steps:
      keys: {rank: m, tile: m0, loads: k}
      kept: {loads: v, inside: keys, einsums: [SLNV, RNV]}
    dots: {QK: [p, m0, e], SLNV: [p, f, m0]}
    extra: {keys: {max reductions: [[p]]}}
    extra_reason: whether to read values is decided by the largest sum of the tile
    mask: {scores: [p, m0], other: the tile list}
"""
)


@triton.jit
def scores_kernel(q: tl.tensor, k: tl.tensor, s: tl.tensor, TILE: tl.constexpr, DEPTH: tl.constexpr) -> None:
    rows = tl.program_id(0) * TILE + tl.arange(0, TILE)
    keys = tl.program_id(1) * TILE + tl.arange(0, TILE)
    head, row_count, key_count = tl.program_id(2), tl.num_programs(0) * TILE, tl.num_programs(1) * TILE
    depth = tl.arange(0, DEPTH)
    q_tile = tl.load(q + (head * row_count + rows[:, None]) * DEPTH + depth[None, :])
    k_tile = tl.load(k + (head * key_count + keys[:, None]) * DEPTH + depth[None, :])
    scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee")
    tl.store(s + (head * row_count + rows[:, None]) * key_count + keys[None, :], scores)


@triton.jit
def softmax_kernel(s: tl.tensor, a: tl.tensor, TILE: tl.constexpr, KEYS: tl.constexpr) -> None:
    rows = tl.program_id(1) * tl.num_programs(0) * TILE + tl.program_id(0) * TILE + tl.arange(0, TILE)
    where = rows[:, None] * KEYS + tl.arange(0, KEYS)[None, :]
    scores = tl.load(s + where)
    weights = tl.exp(scores - tl.max(scores, 1)[:, None])
    tl.store(a + where, weights / tl.sum(weights, 1)[:, None])


@triton.jit
def values_kernel(
    a: tl.tensor, v: tl.tensor, o: tl.tensor, KEYS: tl.constexpr, TILE: tl.constexpr, DEPTH: tl.constexpr
) -> None:
    head = tl.program_id(1)
    rows = head * tl.num_programs(0) * TILE + tl.program_id(0) * TILE + tl.arange(0, TILE)
    total = tl.zeros((TILE, DEPTH), tl.float32)
    for start in range(0, KEYS, TILE):
        keys = start + tl.arange(0, TILE)
        a_tile = tl.load(a + rows[:, None] * KEYS + keys[None, :])
        v_tile = tl.load(v + (head * KEYS + keys[:, None]) * DEPTH + tl.arange(0, DEPTH)[None, :])
        total = tl.dot(a_tile, v_tile, total, input_precision="ieee")
    tl.store(o + rows[:, None] * DEPTH + tl.arange(0, DEPTH)[None, :], total)


@triton.jit
def listed_kernel(
    q: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    o: tl.tensor,
    starts: tl.tensor,
    tiles: tl.tensor,
    key_count: tl.tensor,
    threshold: tl.tensor,
    TILE: tl.constexpr,
    DEPTH: tl.constexpr,
) -> None:
    head = tl.program_id(1)
    rows = head * tl.num_programs(0) * TILE + tl.program_id(0) * TILE + tl.arange(0, TILE)
    depth = tl.arange(0, DEPTH)
    q_tile = tl.load(q + rows[:, None] * DEPTH + depth[None, :])
    total = tl.zeros((TILE, DEPTH), tl.float32)
    row_max = tl.full((TILE,), float("-inf"), tl.float32)
    row_sum = tl.zeros((TILE,), tl.float32)
    for place in range(tl.load(starts + tl.program_id(0)), tl.load(starts + tl.program_id(0) + 1)):
        keys = tl.load(tiles + place) * TILE + tl.arange(0, TILE)
        k_tile = tl.load(k + (head * key_count + keys[:, None]) * DEPTH + depth[None, :])
        scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee")
        new_max = tl.maximum(row_max, tl.max(scores, 1))
        weights = tl.exp2(scores - new_max[:, None])
        rescale = tl.exp2(row_max - new_max)
        row_sum = row_sum * rescale + tl.sum(weights, 1)
        total = total * rescale[:, None]
        if tl.max(row_sum) > threshold:
            v_tile = tl.load(v + (head * key_count + keys[:, None]) * DEPTH + depth[None, :])
            total = tl.dot(weights, v_tile, total, input_precision="ieee")
        row_max = new_max
    tl.store(o + rows[:, None] * DEPTH + depth[None, :], total / row_sum[:, None])


def tensors(**shapes: tuple[int, ...]) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def trace_of(tracer: Tracer) -> Trace:
    base = load_trace("flash_forward")
    return replace(base, level=tracer.level, launches=tuple(tracer.launches), parameters={})


def unfused() -> Trace:
    made = tensors(q=(HEADS, QUERIES, DEPTH), k=(HEADS, KEYS, DEPTH), v=(HEADS, KEYS, DEPTH))
    q, k, v = made.values()
    s, a, o = torch.zeros(HEADS, QUERIES, KEYS), torch.zeros(HEADS, QUERIES, KEYS), torch.zeros_like(q)
    tracer = Tracer()
    with session(tracer):
        scores_kernel[(QUERIES // TILE, KEYS // TILE, HEADS)](q, k, s, TILE, DEPTH)
        softmax_kernel[(QUERIES // TILE, HEADS)](s, a, TILE, KEYS)
        values_kernel[(QUERIES // TILE, HEADS)](a, v, o, KEYS, TILE, DEPTH)
    assert float((o - torch.softmax(q @ k.mT, -1) @ v).abs().max()) < 1e-5
    return trace_of(tracer)


def listed(threshold: float, level: str = "events") -> Trace:
    """Row tile 0 visits key tiles 2 and 0, row tile 1 visits tile 3 only."""
    made = tensors(q=(HEADS, QUERIES, DEPTH), k=(HEADS, KEYS, DEPTH), v=(HEADS, KEYS, DEPTH))
    lists = [torch.tensor(values, dtype=torch.int32) for values in ([0, 2, 3], [2, 0, 3])]
    tracer = Tracer(level)
    with session(tracer):
        listed_kernel[(QUERIES // TILE, HEADS)](
            *made.values(), torch.zeros(HEADS, QUERIES, DEPTH), *lists, KEYS, threshold, TILE, DEPTH
        )
    return trace_of(tracer)


def lifted(trace: Trace, text: str) -> LiftedTrace:
    annotation = parse(text, Annotation)
    assert not list(annotation.problems())
    return lift(trace, annotation, load_cascade(annotation.cascade))


def test_three_launches_lift_as_one_cascade() -> None:
    found = lifted(unfused(), UNFUSED)
    pairs = HEADS * QUERIES * KEYS
    assert found.executed_flops == found.useful_flops == 4 * pairs * DEPTH
    assert found.executed_exps == pairs
    assert found.executed_pairs == found.useful_pairs == pairs
    # Scores and probabilities are written by one launch and read by the next.
    assert found.written_bytes == {"QK": 4 * pairs, "A": 4 * pairs, "AV": 4 * HEADS * QUERIES * DEPTH}
    assert found.read_bytes["QK"] == found.read_bytes["A"] == 4 * pairs
    assert found.read_bytes["K"] == 4 * HEADS * KEYS * DEPTH * (QUERIES // TILE)
    assert [launch.label for launch in found.launches] == ["scores_kernel", "softmax_kernel", "values_kernel"]
    assert found.launches[2].steps == {"keys": HEADS * (QUERIES // TILE) * (KEYS // TILE)}


def test_a_difference_names_its_launch() -> None:
    trace = unfused()
    scores, softmax, values = trace.launches
    first = softmax.classes[0]
    events = tuple(
        replace(e, elements=e.elements + 1, active=e.active + 1) if e.kind == "exp" else e
        for e in first.events
    )
    changed = replace(softmax, classes=(replace(first, events=events), *softmax.classes[1:]))
    with pytest.raises(TraceError, match=r"softmax_kernel, exponentials: traced 4,100, expected 4,096 \(SN"):
        lifted(replace(trace, launches=(scores, changed, values)), UNFUSED)
    with pytest.raises(TraceError, match=r"launches: traced scores_kernel, softmax_kernel, the annotation"):
        lifted(replace(trace, launches=(scores, softmax)), UNFUSED)
    with pytest.raises(TraceError, match="no launch computes SD of cascade 'softmax_3pass'"):
        lifted(trace, UNFUSED.replace("[GM, SN, SD, A]", "[GM, SN, A]"))


def test_listed_tiles_and_a_branch_that_skips_values() -> None:
    found = lifted(listed(-1.0), LISTED)
    assert found.launches[0].steps == {"keys": HEADS * 3, "kept": HEADS * 3}
    assert found.executed_flops == found.useful_flops == HEADS * 3 * 4 * TILE * TILE * DEPTH
    assert found.unique_read_bytes["K"] == found.unique_read_bytes["V"] == HEADS * 3 * TILE * DEPTH * 4
    assert found.tiles_skipped == HEADS * (2 * 4 - 3)


def test_a_branch_never_taken_leaves_its_dot_out() -> None:
    found = lifted(listed(1e9), LISTED)
    assert found.launches[0].steps == {"keys": HEADS * 3, "kept": 0}
    assert found.executed_flops == found.useful_flops == HEADS * 3 * 2 * TILE * TILE * DEPTH
    assert "V" not in found.read_bytes


def test_a_branch_needs_the_order_of_events() -> None:
    with pytest.raises(TraceError, match="step 'kept' is a branch, which needs a trace of level events"):
        lifted(listed(-1.0, "counts"), LISTED)
