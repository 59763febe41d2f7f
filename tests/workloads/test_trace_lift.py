"""A trace lifts only if every count follows from cascade, mask and tensors; errors name the count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dse.errors import TraceError
from dse.workloads.annotation import Annotation, load_annotation
from dse.workloads.cascade_file import load_cascade
from dse.workloads.lift import lift
from dse.workloads.trace import Event, Launch, Trace
from dse.workloads.trace_facts import Visits
from dse.workloads.trace_file import content_hash, load_trace

ANNOTATION = load_annotation("flash_forward")
KERNEL = "flash_forward_kernel"
NOTE = ANNOTATION.launches[KERNEL]
CASCADE = load_cascade("softmax_flash")
CAUSAL = load_trace("flash_forward_causal")
Change = Callable[[Event], Event | None]


def test_facts_of_the_committed_causal_trace() -> None:
    lifted = lift(CAUSAL, ANNOTATION, CASCADE)
    pairs = 4 * 1024 * 1025 // 2
    assert (lifted.kernel, lifted.cascade, lifted.family) == ("flash_forward", "softmax_flash", "softmax")
    assert lifted.ranks == {"b": 1, "h": 4, "g": 4, "gv": 4, "p": 1024, "m": 1024, "e": 64, "f": 64}
    assert lifted.shape["sequence"] == lifted.shape["queries"] == 1024
    assert lifted.tiles == {"p": 64, "m0": 64, "e": 64, "f": 64}
    assert lifted.causal is True
    assert lifted.precisions["Q"] == lifted.precisions["SLNV operands"] == "fp16"
    assert lifted.precisions["QK"] == lifted.precisions["SLNV"] == "fp32"
    assert (lifted.executed_flops, lifted.useful_flops) == (570_425_344, 2 * (64 + 64) * pairs)
    assert (lifted.executed_exps, lifted.useful_exps) == (2_263_040, pairs)
    assert (lifted.executed_pairs, lifted.useful_pairs) == (544 * 64 * 64, pairs)
    assert lifted.read_bytes == {"Q": 524_288, "K": 4_456_448, "V": 4_456_448}
    assert lifted.unique_read_bytes == {"Q": 524_288, "K": 524_288, "V": 524_288}
    assert lifted.written_bytes == {"AV": 524_288, "lse": 16_384}
    assert lifted.traversals == {"Q": 1, "K": 1, "V": 1}
    assert (lifted.tiles_full, lifted.tiles_masked, lifted.tiles_skipped) == (480, 64, 480)
    assert lifted.visits == tuple(Visits(4, tiles, 1) for tiles in range(1, 17))
    assert lifted.trace_hash == content_hash(CAUSAL)


def test_a_trace_without_mask_computes_nothing_in_vain() -> None:
    lifted = lift(load_trace("flash_forward"), ANNOTATION, CASCADE)
    assert lifted.useful_flops == lifted.executed_flops
    assert lifted.visits == (Visits(64, 16, 0),)
    assert (lifted.tiles_full, lifted.tiles_masked, lifted.tiles_skipped) == (1024, 0, 0)


def test_the_kernel_runs_the_one_pass_cascade_of_a_spatial_array_too() -> None:
    """Base-e and base-2 exponentials count alike, so both one-pass forms describe it."""
    assert lift(CAUSAL, ANNOTATION, load_cascade("softmax_1pass")).cascade == "softmax_1pass"


def altered(change: Change) -> Trace:
    """The causal trace with the events of its first class (4 programs, one tile each) changed."""
    launch = CAUSAL.launches[0]
    first, *others = launch.classes
    events = tuple(new for event in first.events if (new := change(event)) is not None)
    return with_launch(replace(launch, classes=(replace(first, events=events), *others)))


def with_launch(launch: Launch) -> Trace:
    return replace(CAUSAL, launches=(launch,))


def of_kind(kind: str, change: Change, operator: str = "", tensor: str = "") -> Change:
    def apply(event: Event) -> Event | None:
        fits = event.kind == kind and operator in ("", event.operator) and tensor in ("", event.tensor)
        return change(event) if fits else event

    return apply


def dropped(event: Event) -> None:
    del event


def more(event: Event) -> Event:
    return replace(event, elements=event.elements + 1, active=event.active + 1)


def fewer_active(event: Event) -> Event:
    return replace(event, active=event.active - 1) if event.shape == (64, 64) else event


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_kind("dot", dropped), "program class 0, dots of QK: traced 0, expected 1 (one per visited tile)"),
        (
            of_kind("dot", dropped),
            "dot FLOPs: traced 566,231,040, expected 570,425,344 (QK, SLNV of softmax_flash)",
        ),
        (
            of_kind("dot", lambda e: replace(e, shape=(64, 64, 32))),
            "program class 0, dot SLNV: traced sizes (64, 64, 32), expected (64, 64, 64) (the tiles)",
        ),
        (
            of_kind("exp", more),
            "exponentials: traced 2,263,048, expected 2,263,040 (SLN, PRM of softmax_flash)",
        ),
        (
            of_kind("reduce", dropped, "max"),
            "max reductions: traced 2,211,840, expected 2,228,224 (LM of softmax_flash)",
        ),
        (of_kind("reduce", dropped, "add"), "add reductions: traced 2,211,840, expected 2,228,224 (SLD of"),
        (of_kind("elementwise", dropped, "fdiv"), "divisions: traced 245,760, expected 262,144 (AV of"),
        (of_kind("elementwise", dropped, "maxnumf"), "running maxima: traced 34,560, expected 34,816 (RM of"),
        (
            of_kind("reduce", lambda e: replace(e, operator="argmax"), "max"),
            "argmax reductions: traced 16,384, expected 0 (no Einsum of softmax_flash)",
        ),
        (of_kind("loop", more), "program class 0, loop trips: traced 3, expected 1 (one per visited tile)"),
        (
            of_kind("select", fewer_active),
            "query-key pairs: traced 2,099,196, expected 2,099,200 (causal mask and lengths)",
        ),
        (
            of_kind("load", more, tensor="q"),
            "bytes read of q: traced 524,296, expected 524,288 (once every element in use)",
        ),
        (of_kind("store", dropped, tensor="o"), "bytes written of o: traced 491,520, expected 524,288"),
        (
            of_kind("footprint", lambda e: replace(e, elements=2 * e.elements), tensor="k"),
            "program class 0, k, elements read: traced 8,192, expected 4,096 (once 4,096 elements)",
        ),
        (
            of_kind("footprint", more, tensor="v"),
            "program class 0, v, elements of incomplete keys: traced 1,",
        ),
        (
            of_kind("load", lambda e: replace(e, count=2), tensor="k"),
            "program class 0, v, visited tiles: traced 2, expected 1 (64 keys in tiles of 64)",
        ),
    ],
)
def test_a_count_that_differs_is_named(change: Change, message: str) -> None:
    with pytest.raises(TraceError) as caught:
        lift(altered(change), ANNOTATION, CASCADE)
    assert any(str(problem).startswith(message) for problem in caught.value.problems), str(caught.value)


def test_unique_bytes_that_differ_are_named() -> None:
    launch = CAUSAL.launches[0]
    k = replace(launch.tensors["k"], unique_read_bytes=524_286)
    with pytest.raises(TraceError, match="unique bytes read of k: traced 524,286, expected 524,288"):
        lift(with_launch(replace(launch, tensors={**launch.tensors, "k": k})), ANNOTATION, CASCADE)


def test_a_mask_that_is_not_the_announced_one_is_named() -> None:
    launch = CAUSAL.launches[0]
    full = with_launch(replace(launch, arguments={**launch.arguments, "CAUSAL": False}))
    with pytest.raises(TraceError, match=r"traced 2,099,200, expected 4,194,304 \(no causal mask"):
        lift(full, ANNOTATION, CASCADE)


def test_another_cascade_is_refused_with_every_difference() -> None:
    with pytest.raises(TraceError) as caught:
        lift(CAUSAL, ANNOTATION, load_cascade("softmax_3pass"))
    text = str(caught.value)
    assert "dots.SLNV: cascade 'softmax_3pass' has no Einsum 'SLNV'" in text
    assert "contracts AV, the annotation names no dot for it" in text
    assert "exponentials: traced 2,263,040, expected 2,228,224 (SN of softmax_3pass)" in text
    assert "divisions: traced 262,144, expected 2,228,224 (A of softmax_3pass)" in text
    assert "running maxima: traced 34,816, expected 0" in text


def test_traversals_are_checked() -> None:
    k = NOTE.tensors["k"].model_copy(update={"traversals": 2})
    annotation = broken(tensors={**NOTE.tensors, "k": k})
    with pytest.raises(TraceError, match=r"k, elements read: traced 4,096, expected 8,192 \(2 times"):
        lift(CAUSAL, annotation, CASCADE)


def broken(**changes: object) -> Annotation:
    """The annotation with other values in its only launch, or at the top."""
    own = {key: value for key, value in changes.items() if key in type(NOTE).model_fields}
    rest = {key: value for key, value in changes.items() if key not in own}
    launches = {KERNEL: NOTE.model_copy(update=own)}
    return ANNOTATION.model_copy(update={"launches": launches, **rest})


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (broken(kernel="flash_kernel"), "0 launches of 'flash_kernel'"),
        (broken(tiles={**NOTE.tiles, "p": "BLOCK_P"}), "names argument 'BLOCK_P', the launch has none"),
        (broken(tiles={**NOTE.tiles, "p": "CAUSAL"}), "argument 'CAUSAL' is True, no tile size"),
        (
            broken(tensors={name: note for name, note in NOTE.tensors.items() if name != "lse"}),
            "the launch uses tensor 'lse', the annotation does not say what it is",
        ),
        (
            broken(tensors={**NOTE.tensors, "w": NOTE.tensors["q"]}),
            "names tensor 'w', the launch has none",
        ),
        (broken(dots={"QK": ("p", "m0", "e")}), r"traced at 2 lines of the kernel, expected 1 \(QK\)"),
        (broken(ranks={**ANNOTATION.ranks, "z": "batch"}), "rank z is a dimension of no tensor"),
    ],
)
def test_an_annotation_that_does_not_fit_is_refused(annotation: Annotation, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        lift(CAUSAL, annotation, CASCADE)


def test_tensors_must_agree_about_ranks() -> None:
    launch = CAUSAL.launches[0]
    v, lse = launch.tensors["v"], launch.tensors["lse"]
    tensors = {**launch.tensors, "v": replace(v, shape=(1, 4, 512, 64)), "lse": replace(lse, shape=(4, 1024))}
    with pytest.raises(TraceError) as caught:
        lift(with_launch(replace(launch, tensors=tensors)), ANNOTATION, CASCADE)
    assert [str(problem) for problem in caught.value.problems] == [
        "rank m: 512 in 'v', but 1024 in 'k'",
        "tensor 'lse' has shape (4, 1024), annotated as b, h, p",
    ]


def test_a_sampled_trace_that_nothing_verified_is_refused() -> None:
    with pytest.raises(TraceError, match="sampled, but nothing verified it"):
        lift(replace(CAUSAL, sampled=True), ANNOTATION, CASCADE)
