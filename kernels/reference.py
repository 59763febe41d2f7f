"""Which source a kernel has, and how far its results are from those of its naive reference."""

from __future__ import annotations

import ast
import hashlib
import math
from pathlib import Path
from typing import Any


def kernel_hash(name: str) -> str:
    """SHA-256 of the kernel's source file and of those it takes device functions from; needs no triton."""
    files = [Path(__file__).with_name(f"{name}.py")]
    for path in files:
        files += [other for other in _device_files(path) if other not in files]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _device_files(path: Path) -> list[Path]:
    """Files of this folder that a kernel's file imports and that hold device functions, sorted."""
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    names = {name.name for node in imports if node.module == "dse.kernels" for name in node.names}
    names |= {str(node.module).removeprefix("dse.kernels.") for node in imports}
    found = sorted(path.with_name(f"{name}.py") for name in names)
    return [other for other in found if other.is_file() and "@triton.jit" in other.read_text()]


def largest_error(got: Any, wanted: Any) -> float:  # noqa: ANN401 - torch tensors
    """Largest absolute difference of two tensors; equal infinities agree, NaN and unequal ones give infinity."""
    difference = (got.double() - wanted.double()).abs()
    difference = difference.masked_fill(got.double() == wanted.double(), 0.0)
    return float(difference.nan_to_num(nan=math.inf).max())
