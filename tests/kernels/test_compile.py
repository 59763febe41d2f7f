"""Every launch of every kernel but flash attention compiles for a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("torch")
pytest.importorskip("triton")

CASES = {
    "tile_list": {"window": "100", "causal": "true"},
    "block_sparse": {"causal": "true", "kept": "2"},
    "threshold_skip": {"causal": "true"},
    "select_attend": {"causal": "true"},
    "select_low_bit": {},
    "linear_chunk": {"lengths": "200"},
    "linear_decode": {},
    "pooled_cross": {"pool": "16"},
    "score_mod": {"causal": "true"},
    "score_mod_alibi": {},
    "score_mod_sigmoid": {},
    "split_kv_decode": {"key_lengths": "200"},
    "mla_decode": {"key_lengths": "200"},
    "mla_prefill": {"causal": "true"},
    "unfused": {"causal": "true"},
    "importance": {"causal": "true"},
    "quantised_decode": {"threshold": "2"},
}

# Stands in for every launch: compiles the kernel for the launch's arguments instead of running it.
COMPILE = """
import importlib, sys
import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from triton.runtime.jit import JITFunction
from dse.kernels import launch
from dse.workloads.annotation import load_annotation
launch.check_device = lambda *tensors: None
TYPES = {torch.float16: "*fp16", torch.float32: "*fp32", torch.int32: "*i32", torch.int8: "*i8",
         torch.uint8: "*u8"}

def kind(value):
    if isinstance(value, torch.Tensor):
        return TYPES[value.dtype]
    if isinstance(value, tuple):
        return tuple("i64" for _ in value)
    return "fp32" if isinstance(value, float) else "i32"

def compiled(kernel, *arguments, grid, warmup, **options):
    given = dict(zip(kernel.arg_names, arguments)) | options
    options = {name: value for name, value in options.items() if name in kernel.arg_names}
    fixed = {name for name, value in options.items()} | {name for name, value in given.items() if value is None}
    signature = {name: "constexpr" if name in fixed else kind(given[name]) for name in kernel.arg_names}
    constants = {(kernel.arg_names.index(name),): given[name] for name in fixed}
    ptx = compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 90, 32)).asm["ptx"]
    print(kernel.__name__, ptx.count("mma"), ptx.count("ex2.approx"))

JITFunction.run = compiled
name, *pairs = sys.argv[1:]
parameters = {"sequence": 256} if "sequence" in load_annotation(name).parameters else {}
parameters |= dict(pair.split("=") for pair in pairs)
module = importlib.import_module(f"dse.kernels.{name}")
getattr(module, name)(**module.make_inputs(load_annotation(name).resolve(parameters), 0))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kernel", CASES)
def test_compiles_for_a_gpu(kernel: str, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TRITON_CACHE_DIR": str(tmp_path)}
    pairs = [f"{name}={value}" for name, value in CASES[kernel].items()]
    command = [sys.executable, "-c", COMPILE, kernel, *pairs]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    launches = [line.split() for line in done.stdout.splitlines()]
    assert launches
    products = sum(int(count) for _, count, _ in launches)
    assert (products > 0) == (kernel not in ("linear_decode", "importance"))
