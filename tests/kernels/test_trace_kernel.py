"""A kernel's trace equals its closed form and the committed one, and lifts to its cascade."""

from __future__ import annotations

import hashlib
from math import ceil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import ConfigError, TraceError, WorkloadError
from dse.workloads.annotation import load_annotation
from dse.workloads.cascade_file import load_cascade
from dse.workloads.lift import lift
from dse.workloads.trace import totals
from dse.workloads.trace_file import load_trace

pytest.importorskip("torch")
pytest.importorskip("triton")

from dse.kernels import flash_forward_naive as naive
from dse.kernels import trace_kernel as trace_module
from dse.kernels.reference import kernel_hash
from dse.kernels.trace_kernel import trace_kernel

ANNOTATION = load_annotation("flash_forward")
CASCADE = load_cascade(ANNOTATION.cascade)
TRACES = ("flash_forward", "flash_forward_causal")


def test_a_small_causal_trace_equals_its_closed_form() -> None:
    length, heads, depth, tile = 256, 2, 32, 32
    given = {"sequence": length, "heads": heads, "head_dim": depth, "causal": True}
    trace = trace_kernel("flash_forward", given | {"tile_queries": tile, "tile_keys": tile})
    total = totals(trace.launches[0])
    blocks = length // tile
    tiles = heads * blocks * (blocks + 1) // 2
    whole = heads * length * depth * 2
    assert total.programs == heads * blocks
    assert total.trips == tiles
    assert total.dot_flops == {"fp16": tiles * 4 * tile * tile * depth}
    assert total.exps == {"exp2": tiles * (tile * tile + tile)}
    assert total.reductions == {"max": tiles * tile * tile, "add": tiles * tile * tile}
    assert total.read_bytes == {"q": whole, "k": tiles * tile * depth * 2, "v": tiles * tile * depth * 2}
    assert total.written_bytes == {"o": whole, "lse": heads * length * 4}
    assert total.unique_read_bytes == {"q": whole, "k": whole, "v": whole}
    lifted = lift(trace, ANNOTATION, CASCADE)
    assert lifted.useful_pairs == heads * length * (length + 1) // 2
    assert (lifted.tiles_full, lifted.tiles_masked) == (tiles - heads * blocks, heads * blocks)
    assert lifted.tiles_skipped == heads * blocks * blocks - tiles
    assert trace.max_error is not None
    assert trace.max_error < 2e-3


def test_grouped_heads_share_the_unique_bytes_of_keys() -> None:
    given = {"sequence": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "precision": "fp32"}
    total = totals(trace_kernel("flash_forward", given).launches[0])
    assert total.read_bytes["k"] == 4 * 64 * 16 * 4
    assert total.unique_read_bytes["k"] == 2 * 64 * 16 * 4


@pytest.mark.parametrize("value_heads", [1, 4])
def test_values_have_heads_of_their_own(value_heads: int) -> None:
    given = {"sequence": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "precision": "fp32"}
    lifted = lift(trace_kernel("flash_forward", given | {"value_heads": value_heads}), ANNOTATION, CASCADE)
    assert (lifted.ranks["g"], lifted.ranks["gv"]) == (2, value_heads)
    assert lifted.unique_read_bytes["K"] == 2 * 64 * 16 * 4
    assert lifted.unique_read_bytes["V"] == value_heads * 64 * 16 * 4
    assert lifted.read_bytes["K"] == lifted.read_bytes["V"] == 4 * 64 * 16 * 4


def test_heads_of_different_lengths_share_the_longest() -> None:
    """Two key heads serve lengths (40, 9) and (0, 33); the head of 64 keys has no query."""
    given = {"sequence": 64, "queries": 48, "heads": 4, "kv_heads": 2, "value_heads": 4, "head_dim": 16}
    lengths = {"query_lengths": (48, 20, 0, 1), "key_lengths": (40, 9, 64, 33)}
    sizes = {"tile_queries": 16, "tile_keys": 16}
    lifted = lift(trace_kernel("flash_forward", {**given, **lengths, **sizes}), ANNOTATION, CASCADE)
    assert (lifted.query_lengths, lifted.key_lengths) == (lengths["query_lengths"], lengths["key_lengths"])
    assert lifted.useful_pairs == 48 * 40 + 20 * 9 + 1 * 33
    assert lifted.executed_pairs == 16 * 16 * (3 * 3 + 2 * 1 + 1 * 3)
    assert lifted.unique_read_bytes["K"] == (40 + 33) * 16 * 2
    assert lifted.unique_read_bytes["V"] == (40 + 9 + 33) * 16 * 2
    assert lifted.read_bytes["K"] == (3 * 40 + 2 * 9 + 33) * 16 * 2
    assert lifted.unique_read_bytes["Q"] == lifted.read_bytes["Q"] == (48 + 20 + 1) * 16 * 2


def test_padding_is_executed_but_not_useful() -> None:
    """One query in a tile of 64, depths 40 and 24 in tiles of 64 and 32, 100 keys in two tiles of 64."""
    given = {"sequence": 100, "queries": 1, "heads": 1, "head_dim": 40, "value_dim": 24}
    lifted = lift(trace_kernel("flash_forward", given), ANNOTATION, CASCADE)
    assert lifted.executed_flops == 2 * 2 * 64 * 64 * (64 + 32)
    assert lifted.useful_flops == 2 * 100 * (40 + 24)
    assert (lifted.executed_pairs, lifted.useful_pairs) == (2 * 64 * 64, 100)
    assert lifted.read_bytes == {"Q": 80, "K": 8000, "V": 4800}
    assert lifted.shape["queries"] == 1


@settings(max_examples=15)
@given(
    st.fixed_dictionaries(
        {
            "sequence": st.integers(1, 60),
            "queries": st.integers(1, 60),
            "head_dim": st.integers(1, 20),
            "value_dim": st.integers(1, 20),
            "causal": st.booleans(),
            "tile_queries": st.sampled_from([16, 32]),
            "tile_keys": st.sampled_from([16, 32]),
            "level": st.sampled_from(["counts", "events"]),
        }
    ),
    st.data(),
)
def test_every_trace_lifts(given: dict[str, object], data: st.DataObject) -> None:
    """Ragged batches and heads included: all checks hold, and the tiles add up."""
    level, shape = str(given["level"]), {key: value for key, value in given.items() if key != "level"}
    if data.draw(st.booleans()):
        for name, padded in (("query_lengths", "queries"), ("key_lengths", "sequence")):
            size, count = int(str(shape[padded])), data.draw(st.sampled_from([2, 4]))
            shape[name] = tuple(data.draw(st.lists(st.integers(0, size), min_size=count, max_size=count)))
    shape |= {"batch": 2, "heads": 2, "kv_heads": 1, "value_heads": data.draw(st.sampled_from([1, 2]))}
    trace = trace_kernel("flash_forward", shape, 0, level)
    lifted = lift(trace, ANNOTATION, CASCADE)
    rows = ceil(lifted.ranks["p"] / lifted.tiles["p"])
    keys = ceil(lifted.ranks["m"] / lifted.tiles["m0"])
    assert lifted.tiles_full + lifted.tiles_masked + lifted.tiles_skipped == 4 * rows * keys
    assert lifted.useful_pairs <= lifted.executed_pairs
    assert lifted.useful_flops <= lifted.executed_flops


@pytest.mark.parametrize("name", TRACES)
def test_committed_traces_are_of_the_kernel_as_it_is(name: str) -> None:
    trace = load_trace(name)
    assert trace.kernel_hash == kernel_hash(trace.kernel), (
        "trace the kernel again, see workloads/traces/README.md"
    )


@pytest.mark.parametrize("name", [pytest.param(TRACES[0], marks=pytest.mark.slow), TRACES[1]])
def test_tracing_again_gives_the_committed_trace(name: str) -> None:
    committed = load_trace(name)
    again = trace_kernel(committed.kernel, committed.parameters, committed.seed, committed.level)
    assert again.launches == committed.launches
    assert again.parameters == committed.parameters


def test_a_kernel_that_differs_from_its_reference_gives_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = naive.flash_forward_naive

    def wrong(**inputs: object) -> tuple[object, object]:
        o, lse = reference(**inputs)  # type: ignore[arg-type]
        return o + 0.01, lse

    monkeypatch.setattr(naive, "flash_forward_naive", wrong)
    with pytest.raises(TraceError, match=r"differs from its naive reference by 0\.01.*more than 0\.002"):
        trace_kernel("flash_forward", {"sequence": 16, "heads": 1})


def test_what_cannot_be_traced_is_refused() -> None:
    with pytest.raises(TraceError, match="trace with precision=fp16"):
        trace_kernel("flash_forward", {"precision": "bf16"})
    with pytest.raises(TraceError, match="level 'scores' is none of counts, events, values"):
        trace_kernel("flash_forward", {}, 0, "scores")
    with pytest.raises(WorkloadError, match="cusal: unknown parameter; did you mean 'causal'"):
        trace_kernel("flash_forward", {"cusal": "true"})
    with pytest.raises(ConfigError, match="no kernel 'flash_foward'; did you mean 'flash_forward'"):
        trace_kernel("flash_foward", {})


def test_the_hash_covers_the_files_of_device_functions() -> None:
    folder = Path(trace_module.__file__).parent
    alone = hashlib.sha256((folder / "flash_forward.py").read_bytes()).hexdigest()
    assert kernel_hash("flash_forward") == alone
    both = (folder / "common.py").read_bytes() + (folder / "flash_forward.py").read_bytes()
    assert kernel_hash("common") == hashlib.sha256(both).hexdigest()
