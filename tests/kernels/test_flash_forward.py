"""The kernel equals its naive reference and its cascade on every shape it accepts, and refuses the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import TraceError, WorkloadError
from dse.workloads.annotation import load_annotation
from dse.workloads.cascade_file import load_cascade
from dse.workloads.numeric import execute
from dse.workloads.sizes import partition_inputs

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from dse.kernels.flash_forward import flash_forward, make_inputs  # noqa: E402
from dse.kernels.flash_forward_naive import flash_forward_naive  # noqa: E402
from dse.kernels.interpreter import session  # noqa: E402

TOLERANCE = {"fp16": 2e-3, "fp32": 1e-5}
ANNOTATION = load_annotation("flash_forward")
CASES: dict[str, dict[str, object]] = {
    "even": {"sequence": 128, "heads": 2},
    "causal": {"sequence": 128, "heads": 2, "causal": True},
    "odd lengths": {"sequence": 131, "queries": 77, "heads": 1},
    "grouped heads": {"sequence": 90, "heads": 4, "kv_heads": 2, "causal": True},
    "one kv head": {"sequence": 70, "heads": 3, "kv_heads": 1},
    "depths differ": {"sequence": 66, "heads": 1, "head_dim": 40, "value_dim": 24},
    "one query": {"sequence": 100, "queries": 1, "heads": 2, "causal": True},
    "one key": {"sequence": 1, "queries": 5, "heads": 1},
    "one of each": {"sequence": 1, "heads": 1, "head_dim": 1, "causal": True},
    "rows without keys": {"sequence": 20, "queries": 90, "heads": 1, "causal": True},
    "uneven tiles": {"sequence": 100, "heads": 1, "tile_queries": 16, "tile_keys": 32, "causal": True},
    "ragged": {
        "batch": 3,
        "sequence": 90,
        "queries": 70,
        "heads": 2,
        "kv_heads": 1,
        "query_lengths": (70, 1, 0),
        "key_lengths": (90, 33, 7),
    },
    "ragged causal": {
        "batch": 3,
        "sequence": 90,
        "queries": 70,
        "heads": 1,
        "causal": True,
        "query_lengths": (70, 17, 64),
        "key_lengths": (1, 90, 0),
    },
    "more value heads than key heads": {"sequence": 90, "heads": 6, "kv_heads": 2, "value_heads": 3},
    "fewer value heads than key heads": {"sequence": 70, "heads": 4, "value_heads": 1, "value_dim": 24},
    "one key head, values of their own": {"sequence": 40, "heads": 3, "kv_heads": 1, "value_heads": 3},
    "lengths of each head": {
        "batch": 2,
        "sequence": 90,
        "queries": 70,
        "heads": 4,
        "kv_heads": 2,
        "query_lengths": (70, 1, 0, 64, 33, 70, 69, 5),
        "key_lengths": (90, 33, 7, 0, 1, 90, 64, 65),
    },
    "lengths of each head, causal": {
        "batch": 2,
        "sequence": 90,
        "queries": 70,
        "heads": 2,
        "kv_heads": 1,
        "value_heads": 2,
        "causal": True,
        "query_lengths": (70, 17, 1, 64),
        "key_lengths": (1, 90, 64, 0),
    },
    "keys of each head, queries of each sequence": {
        "batch": 2,
        "sequence": 50,
        "heads": 2,
        "query_lengths": (50, 17),
        "key_lengths": (1, 50, 0, 40),
    },
    "one sequence, full queries": {"sequence": 50, "heads": 3, "causal": True, "key_lengths": (50, 1, 0)},
}


def inputs(parameters: dict[str, object], seed: int = 0) -> dict[str, Any]:
    return make_inputs(ANNOTATION.resolve(parameters), seed)


def error(arguments: dict[str, Any]) -> float:
    """Largest error of output and log-sum-exp; equal infinities agree."""
    with session():
        outputs = flash_forward(**arguments)
    reference = flash_forward_naive(**arguments)
    worst = 0.0
    for got, wanted in zip(outputs, reference, strict=True):
        np.testing.assert_array_equal(torch.isinf(got), torch.isinf(wanted))
        assert not torch.isnan(got).any()
        finite = torch.isfinite(wanted)
        if finite.any():
            worst = max(worst, float((got.double() - wanted)[finite].abs().max()))
    return worst


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_naive_reference(case: str, precision: str) -> None:
    assert error(inputs(CASES[case] | {"precision": precision})) < TOLERANCE[precision]


@settings(max_examples=12)
@given(
    st.fixed_dictionaries(
        {
            "sequence": st.integers(1, 50),
            "queries": st.integers(1, 50),
            "head_dim": st.integers(1, 20),
            "value_dim": st.integers(1, 20),
            "causal": st.booleans(),
            "tile_queries": st.sampled_from([16, 32]),
            "tile_keys": st.sampled_from([16, 32]),
        }
    )
)
def test_equals_the_naive_reference_on_any_shape(shape: dict[str, object]) -> None:
    assert error(inputs(shape | {"heads": 1, "precision": "fp32"})) < 1e-5


def test_large_logits_neither_overflow_nor_lose_the_maximum() -> None:
    arguments = inputs({"sequence": 96, "heads": 1, "precision": "fp32", "causal": True})
    arguments["q"] = arguments["q"] * 300
    with session():
        o, lse = flash_forward(**arguments)
    wanted, wanted_lse = flash_forward_naive(**arguments)
    assert float(wanted_lse.abs().max()) > 200
    assert float(((lse - wanted_lse) / wanted_lse).abs().max()) < 1e-5
    assert float((o - wanted).abs().max()) < 1e-3


def test_tensors_may_have_any_strides() -> None:
    arguments = inputs({"sequence": 40, "heads": 2, "precision": "fp32"})
    plain = flash_forward_naive(**arguments)[0]
    for name in ("q", "k", "v"):
        rows_first = arguments[name].transpose(1, 2).contiguous().transpose(1, 2)
        arguments[name] = torch.stack([rows_first, rows_first], -1)[..., 0]
    with session():
        strided = flash_forward(**arguments)[0]
    assert float((strided - plain).abs().max()) < 1e-5


def test_equals_its_cascade() -> None:
    """Kernel and cascade agree through the numeric interpreter, with the scale folded into Q."""
    cascade = load_cascade(ANNOTATION.cascade)
    arguments = inputs({"sequence": 64, "queries": 16, "heads": 1, "precision": "fp32", "head_dim": 16})
    with session():
        o, _ = flash_forward(**arguments)
    q, k, v = (np.asarray(arguments[name], dtype=np.float64)[0, 0] for name in ("q", "k", "v"))
    sizes = {"e": 16, "f": 16, "p": 16, "m1": 4, "m0": 16}
    whole = {"Q": q.T * 16**-0.5, "K": k.T, "V": v}
    result = execute(cascade, sizes, partition_inputs(cascade, sizes, whole))["AV"]
    assert np.abs(result.T - o[0, 0].numpy()).max() < 1e-5


def test_bf16_is_refused_in_the_interpreter() -> None:
    arguments = inputs({"sequence": 16, "precision": "bf16"})
    with pytest.raises(TraceError, match="bf16 arithmetic is wrong"):
        flash_forward(**arguments)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"heads": 3, "kv_heads": 2}, "heads a multiple of kv heads"),
        ({"tile_keys": 48}, "powers of two from 16 up"),
        ({"tile_queries": 8}, "powers of two from 16 up"),
        ({"batch": 2, "key_lengths": (16, 17)}, "key_lengths must hold 2 lengths from 0 to 16"),
        ({"batch": 2, "query_lengths": (1, 2, 3)}, "query_lengths must hold 2 lengths"),
        ({"batch": 2, "key_lengths": (1,) * 7 + (17,)}, "or 4 for each of 2 sequences, not .*17"),
        ({"heads": 4, "value_heads": 3}, "4 heads cannot share 3 value heads evenly"),
    ],
)
def test_what_does_not_fit_is_refused(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        flash_forward(**inputs({"sequence": 16} | parameters))


def test_shapes_that_disagree_are_reported_together() -> None:
    q, k, v = torch.zeros(1, 1, 4, 8), torch.zeros(1, 1, 4, 16), torch.zeros(1, 1, 5, 8, dtype=torch.float16)
    with pytest.raises(WorkloadError) as caught:
        flash_forward(q, k, v)
    assert len(caught.value.problems) == 3
    with pytest.raises(WorkloadError, match="4 dimensions"):
        flash_forward(q[0], k, v)
    with pytest.raises(WorkloadError, match="key_lengths is missing"):
        flash_forward(q, q, q, query_lengths=torch.tensor([4], dtype=torch.int32))


COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from dse.kernels.flash_forward import flash_forward_kernel
sizes = {"GROUP": 2, "VALUE_GROUP": 4, "CAUSAL": True, "RAGGED": True, "HEAD_LENGTHS": True, "DEPTH": 48,
         "VALUE_DEPTH": 40, "BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_E": 64, "BLOCK_F": 64}
signature = {name: "*fp16" for name in "qkvo"} | {"lse": "*fp32"}
signature |= dict.fromkeys(("query_lengths", "key_lengths"), "*i32")
signature |= {f"{name}_strides": ("i64", "i64", "i64", "i32") for name in "qkvo"}
signature |= {"lse_strides": ("i64", "i64", "i32")}
signature |= {"query_count": "i32", "key_count": "i32", "scale_log2": "fp32"}
signature |= dict.fromkeys(sizes, "constexpr")
constants = {(list(signature).index(name),): value for name, value in sizes.items()}
source = ASTSource(flash_forward_kernel, signature, constants)
ptx = compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
print(ptx.count("wgmma.mma_async"), ptx.count("ex2.approx"))
"""


def run_compiled(code: str, folder: Path) -> str:
    """Output of ``code`` in a process where triton compiles."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TRITON_CACHE_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_compiles_for_a_gpu(tmp_path: Path) -> None:
    """No GPU is needed to compile: the tile's products become Hopper's matrix instructions."""
    products, exponentials = map(int, run_compiled(COMPILE, tmp_path).split())
    assert products > 0
    assert exponentials > 0


ON_GPU = """
from dse.kernels.flash_forward import flash_forward, make_inputs
from dse.kernels.flash_forward_naive import flash_forward_naive
from dse.workloads.annotation import load_annotation
annotation = load_annotation("flash_forward")
lengths = {"query_lengths": (200, 0, 1, 77), "key_lengths": (300, 9, 1, 0)}
cases = [(flag, given) for flag in (False, True) for given in ({}, {"value_heads": 1}, {"kv_heads": 1, **lengths})]
for precision, tolerance in annotation.tolerance.items():
    for causal, case in cases:
        given = {"sequence": 300, "queries": 200, "kv_heads": 2, "precision": precision, "causal": causal} | case
        inputs = make_inputs(annotation.resolve(given), 0)
        moved = {name: value.cuda() if hasattr(value, "cuda") else value for name, value in inputs.items()}
        for got, wanted in zip(flash_forward(**moved), flash_forward_naive(**inputs)):
            finite = wanted.isfinite()
            assert ((got.cpu() == wanted) | finite).all()
            assert (got.cpu().double() - wanted)[finite].abs().max() < tolerance
"""


@pytest.mark.gpu
def test_equals_the_naive_reference_on_a_gpu(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    run_compiled(ON_GPU, tmp_path)
