"""Workloads by name: models, traces and cascades, and what a trace must be to run on a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dse import spec
from dse.errors import ConfigError, TraceError, WorkloadError
from dse.workloads.annotation import load_annotation
from dse.workloads.cascade_file import load_cascade
from dse.workloads.lift import lift
from dse.workloads.load import TRACES, load_workload
from dse.workloads.trace_file import load_trace

if TYPE_CHECKING:
    from pathlib import Path


def test_model_shapes_and_parameters() -> None:
    work = load_workload(
        "bert", {"sequence": "4K", "batch": 64, "phase": "decode", "kv_heads": 4, "scope": "layer"}
    )
    sizes = {rank: int(size[0]) for rank, size in work.sizes.items()}
    assert sizes == {"b": 64, "h": 4, "g": 3, "p": 1, "m": 4096, "e": 64, "f": 64}
    assert {gemm.name: (int(gemm.m[0]), int(gemm.n[0]), int(gemm.k[0])) for gemm in work.linear} == {
        "query": (64, 768, 768),
        "key": (64, 256, 768),
        "value": (64, 256, 768),
        "output": (64, 768, 768),
        "ffn_up": (64, 3072, 768),
        "ffn_down": (64, 768, 3072),
    }


def test_a_cascade_takes_its_rank_sizes() -> None:
    work = load_workload("softmax_1pass", {"m": "4K", "p": 256, "e": 64, "f": 32, "h": 2})
    assert {rank: int(size[0]) for rank, size in work.sizes.items()} == {
        "b": 1, "h": 2, "g": 1, "p": 256, "m": 4096, "e": 64, "f": 32,
    }  # fmt: skip
    product = load_workload("matmul", {"m": 8, "n": 16, "k": 32})
    assert [(g.m[0], g.n[0], g.k[0]) for g in product.linear] == [(8, 16, 32)]


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("brt", {}, "did you mean 'bert'"),
        ("bert", {}, "-p sequence: is missing"),
        ("bert", {"sequnce": "1K"}, "did you mean 'sequence'"),
        ("bert", {"sequence": "1K", "phase": "prefil"}, "did you mean 'prefill'"),
        ("bert", {"sequence": "1K", "kv_heads": 5}, "cannot share"),
        ("bert", {"sequence": "1K", "queries": "2K", "causal": "true"}, "cannot be causal"),
        ("softmax_1pass", {"m": "1K"}, "is missing"),
        ("softmax_1pass", {"m": "x", "p": 1, "e": 1, "f": 1}, "not a count"),
        ("flash_forward", {"sequence": "1K"}, "those it ran with"),
        ("workloads/models/bert.yml", {}, "the shipped workload is: bert"),
    ],
)
def test_wrong_names_and_parameters(name: str, given: dict[str, object], said: str) -> None:
    with pytest.raises((ConfigError, WorkloadError), match=said):
        load_workload(name, given)


def test_a_name_two_rooms_share_needs_its_room() -> None:
    with pytest.raises(ConfigError, match="traces/linear_chunk, cascades/linear_chunk"):
        load_workload("linear_chunk", {})


def test_every_committed_trace_becomes_a_workload_or_says_which_machines_refuse_it() -> None:
    """All have launches for a GPU; those with sizes for other machines have the pairs of the trace."""
    done, refused = [], []
    for name in spec.shipped(TRACES, ".parquet"):
        if name.endswith(".values"):
            continue
        trace = load_trace(name)
        annotation = load_annotation(trace.kernel)
        lifted = lift(trace, annotation, load_cascade(annotation.cascade))
        work = load_workload(f"traces/{name}", {})
        assert len(work.launches) == len(trace.launches)
        if work.refusal:
            assert not work.sizes
            refused.append(work.refusal)
            continue
        sizes = {rank: int(size[0]) for rank, size in work.sizes.items()}
        heads = sizes["b"] * sizes["h"] * sizes["g"]
        assert heads * work.useful_pairs[0] == lifted.useful_pairs
        if work.family == "softmax":
            assert heads * work.useful_pairs[0] * 2 * (sizes["e"] + sizes["f"]) == lifted.useful_flops
        done.append(name)
    reasons = ("machines run attention", "lists of tiles")
    assert refused
    assert all(any(reason in text for reason in reasons) for text in refused)
    assert {"flash_forward", "flash_forward_causal"} <= set(done)


def test_a_damaged_trace_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(TraceError):
        load_workload(str(path), {})


def test_a_name_no_file_can_have_is_refused_like_any_other() -> None:
    with pytest.raises(ConfigError, match="no workload"):
        load_workload("y" * 5000, {})
