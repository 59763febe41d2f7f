"""Where a kernel runs: on a CUDA GPU, or in Triton's interpreter on any machine.

Triton reads ``TRITON_INTERPRET`` when it is imported and when a kernel is decorated, so a process is either
compiled or interpreted as a whole. This module decides which before the first import of triton, and says
what is missing when neither is possible. It imports neither torch nor triton itself.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import TYPE_CHECKING

from dse.errors import MissingDependencyError, TraceError

if TYPE_CHECKING:
    from types import ModuleType

    import torch

FLAG = "TRITON_INTERPRET"
NEEDED = ("torch", "triton", "numpy")
BF16_REFUSED = (
    "bf16 arithmetic is wrong in Triton's interpreter (it computes on the raw 16-bit integers); "
    "trace with precision=fp16, which moves the same bytes"
)


def require_packages() -> None:
    """Check that torch and triton can be imported.

    Raises
    ------
    MissingDependencyError
        If one of them is not installed; names the extra that installs it.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"running kernels needs {' and '.join(missing)}: python -m pip install 'dse-attn[trace]'"
        )


def interpreting() -> bool:
    """Whether triton was imported with the interpreter switched on (imports triton)."""
    language = importlib.import_module("triton.language")
    interpreter = importlib.import_module("triton.runtime.interpreter")
    return isinstance(language.sum, interpreter.InterpretedFunction)


def can_interpret() -> bool:
    """Whether this process can still become, or already is, an interpreting one."""
    return "triton" not in sys.modules or interpreting()


def start_interpreter() -> None:
    """Make this process run kernels in Triton's interpreter, whatever the machine.

    Sets ``TRITON_INTERPRET=1`` for the rest of the process if triton is not imported yet.

    Raises
    ------
    MissingDependencyError
        If torch or triton is not installed.
    TraceError
        If triton was imported before with the interpreter off: the flag has no effect then.
    """
    require_packages()
    if "triton" not in sys.modules:
        os.environ[FLAG] = "1"
    if not interpreting():
        raise TraceError(f"triton was imported without {FLAG}=1; set it before triton is imported")
    os.environ[FLAG] = "1"


def kernel_module(name: str) -> ModuleType:
    """Import ``dse.kernels.<name>``, interpreted or compiled as the process was started.

    Raises
    ------
    MissingDependencyError
        If torch or triton is not installed.
    """
    require_packages()
    return importlib.import_module(f"dse.kernels.{name}")


def check_device(*tensors: torch.Tensor) -> None:
    """Check that a kernel can run on the tensors' device and precision in this process.

    Raises
    ------
    MissingDependencyError
        If a tensor is on the CPU and the interpreter is off.
    TraceError
        If a tensor is bf16 and the interpreter is on.
    """
    if interpreting():
        if any(str(tensor.dtype) == "torch.bfloat16" for tensor in tensors):
            raise TraceError(BF16_REFUSED)
        return
    devices = sorted({str(tensor.device) for tensor in tensors if tensor.device.type != "cuda"})
    if devices:
        raise MissingDependencyError(
            f"tensors on {', '.join(devices)}, but compiled kernels need a CUDA device; "
            f"to interpret instead, set {FLAG}=1 before triton is imported"
        )
