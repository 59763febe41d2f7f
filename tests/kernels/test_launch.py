"""The interpreter is chosen before triton is imported, and what is missing is said plainly."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dse.errors import MissingDependencyError, TraceError, WorkloadError
from dse.kernels import launch
from dse.kernels.trace_kernel import _rebuilt, main, trace_kernel

if TYPE_CHECKING:
    from pathlib import Path

# In a process where triton compiles: what cannot run there says so, and tracing moves to another process.
COMPILED = """
import json
import torch, triton
from dse.errors import DseError
from dse.kernels import launch
from dse.kernels.flash_forward import flash_forward
from dse.kernels.interpreter import session
from dse.kernels.trace_kernel import trace_kernel

def failure(call):
    try:
        call()
    except DseError as error:
        return [type(error).__name__, str(error), error.exit_code]

x = torch.zeros(1, 1, 16, 16)
small = {"sequence": 16, "heads": 1, "head_dim": 16}
print(json.dumps({
    "interpreting": launch.interpreting(),
    "start": failure(launch.start_interpreter),
    "session": failure(session().__enter__),
    "cpu": failure(lambda: flash_forward(x, x, x)),
    "programs": trace_kernel("flash_forward", small).launches[0].grid,
}))
"""


def fresh(code: str) -> str:
    """Output of ``code`` in a process without the flag."""
    environment = {key: value for key, value in os.environ.items() if key != launch.FLAG}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_compiling_process_says_what_it_cannot_do_and_traces_in_another() -> None:
    pytest.importorskip("torch")
    found = json.loads(fresh(COMPILED))
    assert found["interpreting"] is False
    for refused in ("start", "session"):
        assert found[refused][0] == "TraceError"
        assert "imported without TRITON_INTERPRET=1" in found[refused][1]
    assert found["cpu"][0] == "MissingDependencyError"
    assert found["cpu"][2] == 4
    assert "tensors on cpu" in found["cpu"][1]
    assert found["programs"] == [1, 1, 1]


def test_launching_and_tracing_load_neither_torch_nor_triton_when_imported() -> None:
    code = "import sys, dse.kernels.trace_kernel; print({'torch', 'triton'} & {*sys.modules})"
    assert fresh(code).strip() == "set()"


def test_missing_packages_are_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("torch", "triton") else find(name)
    )
    with pytest.raises(
        MissingDependencyError, match=r"needs torch and triton: .*dse-attn\[trace\]"
    ) as caught:
        trace_kernel("flash_forward", {})
    assert caught.value.exit_code == 4


def test_errors_travel_between_processes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    request = {"name": "flash_forward", "parameters": {"heads": "x", "cusal": "true"}}
    output = tmp_path / "trace.parquet"
    assert main([str(output), json.dumps(request)]) == WorkloadError.exit_code
    assert not output.exists()
    error = _rebuilt(2, "a warning\n" + capsys.readouterr().err)
    assert type(error) is WorkloadError
    assert len(error.problems) == 2
    assert "cusal: unknown parameter" in str(error)
    killed = _rebuilt(-9, "")
    assert type(killed) is TraceError
    assert "ended with code -9" in str(killed)
