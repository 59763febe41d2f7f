"""What traced launches need of a GPU, from compiling them in another process; no GPU, no driver.

Modelled: the specialisation Triton's just-in-time compiler makes (integers equal to 1 are constants,
multiples of 16 and pointers are known as such), limits of the target checked here because Triton does not,
static instruction counts of PTX or AMD assembly. Not modelled: tensor descriptors as arguments, autotuned
configurations other than the one given.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.errors import TraceError, nearest
from dse.kernels import launch
from dse.kernels.targets import TARGETS
from dse.workloads.resources import Resources, read_resources

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dse.workloads.trace import Launch, Trace, Value

_POINTERS = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "float64": "fp64"}
_INTEGERS = re.compile(r"(u?)int(\d+)$")
_ALIGNED = 16
# Second components that tell instructions apart; of others only the operation matters.
_SPLIT = ("wgmma", "mma", "tcgen05", "cp", "ld", "st", "atom", "red", "bar", "mbarrier", "v_mfma")
_PTX = re.compile(r"^\s+(?:@!?%p\d+\s+)?([a-z][a-z0-9_]*(?:\.[a-z0-9_:]+)*)\b[^\n]*;", re.MULTILINE)
_AMD = re.compile(r"^\s+([vs]_[a-z0-9]+|ds_[a-z]+|(?:global|buffer|flat)_[a-z]+)", re.MULTILINE)
_USAGE = re.compile(r"REG:(\d+) STACK:(\d+)")


def with_resources(trace: Trace, targets: Sequence[str], num_warps: int = 4, num_stages: int = 3) -> Trace:
    """The trace with the resources of each of its launches on each target, in place of those it had.

    Raises
    ------
    MissingDependencyError
        If torch or triton is not installed.
    TraceError
        If a target is unknown, or a launch does not compile for one; names both.
    """
    found = compiled(trace, targets, [{"num_warps": num_warps, "num_stages": num_stages}])
    return dataclasses.replace(trace, resources=tuple(found))


def compiled(
    trace: Trace, targets: Sequence[str], options: Sequence[Mapping[str, int]]
) -> Iterator[Resources]:
    """Resources of each launch on each target, for one choice of ``num_warps`` and ``num_stages`` after another.

    Raises
    ------
    MissingDependencyError
        If torch or triton is not installed.
    TraceError
        If a target is unknown, or a launch does not compile for one; names both.
    """
    unknown = [name for name in targets if name not in TARGETS]
    if unknown:
        known = ", ".join(TARGETS)
        raise TraceError(f"unknown target '{unknown[0]}'{nearest(unknown[0], TARGETS)} (known: {known})")
    launch.require_packages()
    request = {
        "module": trace.kernel,
        "launches": [_request(item) for item in trace.launches],
        "targets": list(targets),
        "options": [dict(choice) for choice in options],
    }
    return map(read_resources, _compile_elsewhere(request))


def _request(item: Launch) -> dict[str, Any]:
    tensors = {name: _pointer(tensor.dtype) for name, tensor in item.tensors.items()}
    return {"kernel": item.kernel, "pointers": tensors, "arguments": dict(item.arguments)}


def _pointer(dtype: str) -> str:
    name = _POINTERS.get(dtype, dtype)
    integer = _INTEGERS.match(name)
    return f"*{'u' if integer[1] else 'i'}{integer[2]}" if integer else f"*{name}"


def _compile_elsewhere(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Answers of a process in which triton compiles, with a cache of its own."""
    environment = {name: value for name, value in os.environ.items() if name != launch.FLAG}
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TRITON_DEFAULT_FP_FUSION": "1"}
    with tempfile.TemporaryDirectory(prefix="dse-compile-") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "dse.kernels.resources"],
            env=environment | {"TRITON_CACHE_DIR": folder},
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=False,
        )
    lines = (done.stderr.strip() or "no message").splitlines()
    if done.returncode:
        raise TraceError(f"compiling '{request['module']}' failed: {lines[-1]}")
    answers: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return answers


def _answer(request: Mapping[str, Any]) -> Iterator[Resources]:
    """Resources of all launches on all targets, in a process where triton compiles."""
    module = launch.kernel_module(request["module"])
    asked = itertools.product(request["options"], enumerate(request["launches"]), request["targets"])
    for options, (number, item), name in asked:
        try:
            kernel = _compile(module, item, name, options)
        except Exception as error:
            detail = " ".join(str(error).split())[:300]
            raise TraceError(f"'{item['kernel']}' for {name}: {type(error).__name__}: {detail}") from error
        yield _resources(number, name, kernel)


def _compile(module: Any, item: Mapping[str, Any], name: str, options: Mapping[str, int]) -> Any:  # noqa: ANN401
    backends = importlib.import_module("triton.backends.compiler")
    compiler = importlib.import_module("triton.compiler")
    function = getattr(module, item["kernel"])
    while not hasattr(function, "params"):
        function = function.fn
    signature: dict[str, Any] = {}
    constants: dict[tuple[int, ...], Any] = {}
    attributes: dict[tuple[int, ...], list[list[Any]]] = {}
    for place, parameter in enumerate(function.params):
        if parameter.name in item["pointers"]:
            signature[parameter.name] = item["pointers"][parameter.name]
            attributes[place,] = [["tt.divisibility", _ALIGNED]]
        else:
            value = item["arguments"].get(parameter.name)
            fixed = parameter.is_constexpr
            signature[parameter.name] = _specialise(value, fixed, (place,), constants, attributes)
    target = TARGETS[name]
    source = compiler.ASTSource(function, signature, constants, attributes)
    gpu = backends.GPUTarget(target.backend, target.architecture, target.warp_size)
    return compiler.compile(source, target=gpu, options=dict(options))


def _specialise(
    value: Value | list[Value],
    fixed: bool,
    place: tuple[int, ...],
    constants: dict[tuple[int, ...], Any],
    attributes: dict[tuple[int, ...], list[list[Any]]],
) -> str | tuple[Any, ...]:
    """Type of an argument; constants and known multiples of 16 are noted at its place."""
    if isinstance(value, list) and not fixed:
        return tuple(
            _specialise(part, False, (*place, at), constants, attributes) for at, part in enumerate(value)
        )
    if fixed or value is None or isinstance(value, (bool, str)) or (isinstance(value, int) and value == 1):
        constants[place] = tuple(value) if isinstance(value, list) else value
        return "constexpr"
    if isinstance(value, float):
        return "fp32"
    if isinstance(value, int):
        if value % _ALIGNED == 0:
            attributes[place] = [["tt.divisibility", _ALIGNED]]
        return "i32" if -(1 << 31) <= value < 1 << 31 else "i64"
    raise TraceError(f"an argument of type {type(value).__name__} cannot be compiled")


def _resources(number: int, name: str, kernel: Any) -> Resources:  # noqa: ANN401 - triton carries no types
    target, metadata = TARGETS[name], kernel.metadata
    if target.backend == "cuda":
        registers, stack = _cuda_usage(kernel.asm["cubin"])
        instructions = _kinds(_PTX.findall(kernel.asm["ptx"]), ".")
    else:
        text = kernel.asm["amdgcn"]
        registers = _amd_field(text, "vgpr_count") + _amd_field(text, "agpr_count")
        stack = _amd_field(text, "private_segment_fixed_size")
        instructions = _kinds(_AMD.findall(text), "")
    return Resources(
        launch=number,
        target=name,
        num_warps=metadata.num_warps,
        num_stages=metadata.num_stages,
        shared_bytes=metadata.shared,
        registers=registers,
        stack_bytes=stack,
        instructions=instructions,
        exceeded=target.exceeded(metadata.shared, registers, metadata.num_warps),
        triton=importlib.metadata.version("triton"),
    )


def _cuda_usage(cubin: bytes) -> tuple[int, int]:
    """Registers and stack bytes of a thread, from the tool that comes with triton."""
    folder = Path(importlib.import_module("triton").__file__ or "").parent / "backends/nvidia/bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(folder / "cuobjdump"), "-res-usage", file.name]
        found = _USAGE.search(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    if found is None:
        raise TraceError("cuobjdump reports no register usage")
    return int(found[1]), int(found[2])


def _amd_field(text: str, name: str) -> int:
    found = re.search(rf"^\s+(?:- )?\.{name}:\s+(\d+)", text, re.MULTILINE)
    if found is None:
        raise TraceError(f"the assembly does not state {name}")
    return int(found[1])


def _kinds(names: Sequence[str], separator: str) -> dict[str, int]:
    """Instructions by kind, sorted: ``wgmma.mma_async``, ``ld.global``, ``ex2``, ``v_exp``."""
    kinds: Counter[str] = Counter()
    for name in names:
        parts = name.split(separator) if separator else [name]
        kinds[".".join(parts[: 2 if parts[0] in _SPLIT else 1])] += 1
    return dict(sorted(kinds.items()))


def main() -> int:
    """Answer a request on standard input with resources on standard output."""
    try:
        answers = [dataclasses.asdict(item) for item in _answer(json.load(sys.stdin))]
    except TraceError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(answers) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
