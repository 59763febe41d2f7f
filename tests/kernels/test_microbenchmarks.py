"""Microbenchmarks compute what they say, and their loops survive the compiler."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from dse.errors import WorkloadError
from dse.kernels.interpreter import session
from dse.kernels.microbenchmarks import MICROBENCHMARKS, prepare
from dse.kernels.reference import largest_error

SIZES = {"size": 10_000, "passes": 2, "programs": 3, "steps": 5}
COMPILE = """
import json, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from dse.kernels import microbenchmarks as m
floats = {"source": "*fp32", "output": "*fp32"}
halves = {"a": "*fp16", "b": "*fp16", "output": "*fp32"}
whole = {"steps": "i32"}
kernels = {
    "copy": (m.copy_kernel, {**floats, "count": "i32"}, {"BLOCK": 1024}),
    "l2": (m.l2_kernel, {**floats, "blocks": "i32", "passes": "i32"}, {"BLOCK": 1024}),
    "tensor": (m.tensor_kernel, {**halves, **whole}, {"TILE": 128, "DEPTH": 64}),
    "exp": (m.exp_kernel, {"output": "*fp32", **whole}, {"BLOCK": 1024}),
    "fp32": (m.fp32_kernel, {"output": "*fp32", **whole}, {"BLOCK": 1024}),
}
found = {}
for name, (kernel, signature, constants) in kernels.items():
    signature |= dict.fromkeys(constants, "constexpr")
    made = triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 90, 32))
    found[name] = made.asm["ptx"]
print(json.dumps(found))
"""
WORKS = {"l2": "ld.global.cg", "tensor": "wgmma.mma_async", "exp": "ex2.approx", "fp32": "fma.rn.f32"}


@pytest.mark.parametrize("name", sorted(MICROBENCHMARKS))
def test_results_are_as_announced(name: str) -> None:
    work = prepare(name, SIZES, "cpu")
    with session():
        work.call()
    assert largest_error(work.output, work.wanted) <= work.tolerance
    assert work.flops + work.bytes + work.exps > 0


def test_amounts_count_what_is_done() -> None:
    assert prepare("copy", SIZES, "cpu").bytes == 2 * 10_000
    assert prepare("tensor", SIZES, "cpu").flops == 2 * 128 * 128 * 64 * 5 * 3
    assert prepare("exp", SIZES, "cpu").exps == 1024 * 5 * 3
    assert prepare("fp32", SIZES, "cpu").flops == 2 * 1024 * 5 * 3
    assert prepare("l2", SIZES, "cpu").bytes == 2 * 4096 * 2 * 3


def test_unknown_names_and_missing_sizes_are_told() -> None:
    with pytest.raises(WorkloadError, match="did you mean 'copy'"):
        prepare("cpoy", SIZES, "cpu")
    with pytest.raises(WorkloadError, match="copy needs 'size'"):
        prepare("copy", {}, "cpu")


def test_compiled_loops_do_the_work() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    for name, instruction in WORKS.items():
        text = found[name]
        back = text[text.index("$L__BB0_") :]
        assert instruction in back, name
        assert "bra" in back[back.index(instruction) :], name
