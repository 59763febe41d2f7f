"""The hooks fit every supported version of triton: names and signatures they rely on, and what they hear.

The installed version is always checked. Others are checked where ``DSE_TRITON_FOLDERS`` lists folders, separated
by colons, into which they were installed (``pip install --no-deps --target FOLDER triton==VERSION``).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

VERSIONS = ("3.6", "3.7", "3.8", "3.9")
FOLDERS = "DSE_TRITON_FOLDERS"

pytest.importorskip("torch")
triton = pytest.importorskip("triton")

CONTRACT = """
import inspect
from dse.kernels.launch import start_interpreter
start_interpreter()
import triton
import triton.language as tl
from triton.runtime import autotuner, interpreter as stock

def parameters(function):
    return list(inspect.signature(function).parameters)

builder = stock.interpreter_builder
assert parameters(builder.create_masked_load)[:2] == ["ptrs", "mask"]
assert parameters(builder.create_masked_store)[:3] == ["ptrs", "value", "mask"]
assert parameters(builder.create_dot)[:3] == ["a", "b", "d"]
assert parameters(builder.create_atomic_rmw)[:4] == ["rmwOp", "ptr", "val", "mask"]
assert parameters(builder.create_select)[0] in ("cond", "condition", "pred", "lhs")
assert builder.options.sanitize_overflow is True
assert {"data", "dtype", "attr"} <= set(vars(stock.TensorHandle(__import__("numpy").zeros(1), tl.float64)))
assert parameters(stock.ReduceOps.apply) == parameters(stock.ScanOps.apply) == ["self", "input"]
assert {"axis", "combine_fn"} <= set(parameters(stock.ReduceOps.__init__))
assert {"fn", "arg_names", "grid", "pre_run_hooks"} <= set(parameters(stock.GridExecutor.__init__))
for name in ("_init_args_hst", "_restore_args_dev"):
    assert callable(getattr(stock.GridExecutor, name))
assert callable(stock._implicit_cvt) and callable(stock._patch_lang)
assert {"set_grid_dim", "set_grid_idx"} <= set(dir(builder))
assert "kwargs" in parameters(autotuner.Autotuner.run)

from dse.kernels.trace_kernel import trace_kernel
from dse.workloads.trace import totals
given = {"sequence": 96, "heads": 2, "head_dim": 16, "causal": True, "tile_queries": 32, "tile_keys": 32}
events = trace_kernel("flash_forward", given, level="events")
total, tiles = totals(events.launches[0]), 2 * 6
assert total.trips == tiles
assert total.dot_flops == {"fp16": tiles * 4 * 32 * 32 * 16}
assert total.exps == {"exp2": tiles * (32 * 32 + 32)}
assert total.reductions == {"max": tiles * 32 * 32, "add": tiles * 32 * 32}
assert total.read_bytes == {"q": 6144, "k": tiles * 1024, "v": tiles * 1024}
assert total.unique_read_bytes == {"q": 6144, "k": 6144, "v": 6144}
sampled = trace_kernel("flash_forward", given, level="counts", sample=True)
assert sampled.sampled and totals(sampled.launches[0]) == total
steered = trace_kernel("flash_forward", given | {"key_lengths": 40}, level="counts", sample=True)
assert not steered.sampled
print(triton.__version__)
"""


def folder_of(version: str) -> Path | None:
    """Folder whose triton has this version; the empty path for the installed one, None if there is none."""
    if triton.__version__.startswith(f"{version}."):
        return Path()
    for name in filter(None, os.environ.get(FOLDERS, "").split(os.pathsep)):
        if any(Path(name).glob(f"triton-{version}.*.dist-info")):
            return Path(name)
    return None


@pytest.mark.parametrize("version", VERSIONS)
def test_hooks_fit(version: str) -> None:
    folder = folder_of(version)
    if folder is None:
        pytest.skip(f"triton {version} is not installed; see {FOLDERS}")
    path = [str(folder)] if folder != Path() else []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*path, *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, "-c", CONTRACT], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith(f"{version}.")
