"""Run a kernel in the interpreter, compare it with its naive reference, and give its trace.

Works in this process if triton is not imported yet or was imported as an interpreter, in a fresh process
otherwise. Modelled: any kernel with an annotation, a module that defines ``make_inputs`` and a function of
the kernel's name, and a naive reference beside it. Not modelled: tracing on a GPU, sampling.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse import errors
from dse.errors import DseError, TraceError
from dse.kernels import launch
from dse.workloads.annotation import load_annotation
from dse.workloads.trace import LEVELS, Trace
from dse.workloads.trace_file import read_trace, write_trace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.workloads.annotation import Annotation
    from dse.workloads.trace import Value

# The naive reference holds every score; above this many it would not fit an ordinary machine.
LARGEST_COMPARISON = 1 << 28
_RECORDED = ("torch", "triton", "numpy")


def trace_kernel(name: str, parameters: Mapping[str, object], seed: int = 0, level: str = "events") -> Trace:
    """Run the shipped kernel ``name`` and trace it; the same arguments give the same trace.

    Parameters
    ----------
    parameters
        Values of the kernel's parameters, typed or as text; the others take the defaults of its annotation.
    seed
        Of the inputs.
    level
        ``events`` keeps the order of events and the place of tiles, ``counts`` does not.

    Raises
    ------
    ConfigError
        If there is no such kernel.
    WorkloadError
        If parameters are unknown, malformed, or do not fit together.
    TraceError
        If the kernel cannot be traced (bf16), fails, or does not agree with its naive reference.
    MissingDependencyError
        If torch or triton is not installed.
    """
    annotation = load_annotation(name)
    values = annotation.resolve(parameters)
    if level not in LEVELS:
        raise TraceError(f"trace level '{level}' is none of {', '.join(LEVELS)}")
    launch.require_packages()
    if values.get("precision") == "bf16":
        raise TraceError(launch.BF16_REFUSED)
    if launch.can_interpret():
        launch.start_interpreter()
        return _trace_here(name, annotation, values, seed, level)
    return _trace_in_new_process(name, parameters, seed, level)


def kernel_hash(name: str) -> str:
    """SHA-256 of the kernel's source file; needs neither torch nor triton."""
    return hashlib.sha256(Path(__file__).with_name(f"{name}.py").read_bytes()).hexdigest()


def _trace_here(
    name: str, annotation: Annotation, values: Mapping[str, Value], seed: int, level: str
) -> Trace:
    interpreter = importlib.import_module("dse.kernels.interpreter")
    tracer = importlib.import_module("dse.kernels.tracer").Tracer(level)
    module = launch.kernel_module(name)
    inputs = module.make_inputs(values, seed)
    with interpreter.session(tracer):
        outputs = getattr(module, name)(**inputs)
    return Trace(
        kernel=name,
        kernel_hash=kernel_hash(name),
        parameters=values,
        seed=seed,
        level=level,
        sampled=False,
        versions=_versions(),
        max_error=_compare(name, annotation, values, inputs, outputs),
        launches=tuple(tracer.launches),
    )


def _versions() -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in _RECORDED}
    return {"python": platform.python_version(), **found}


def _compare(
    name: str,
    annotation: Annotation,
    values: Mapping[str, Value],
    inputs: Mapping[str, object],
    outputs: Sequence[object],
) -> float | None:
    """Largest error against the naive reference, or None where that would be too large to run."""
    names = [annotation.ranks[rank] for rank in annotation.reference]
    if math.prod(int(str(values[name])) for name in names) > LARGEST_COMPARISON:
        return None
    reference = getattr(launch.kernel_module(f"{name}_naive"), f"{name}_naive")(**inputs)
    error = max(_error(got, wanted) for got, wanted in zip(outputs, reference, strict=True))
    tolerance = annotation.tolerance[str(values["precision"])]
    if not error <= tolerance:
        raise TraceError(f"'{name}' differs from its naive reference by {error:.3g}, more than {tolerance:g}")
    return error


def _error(got: Any, wanted: Any) -> float:  # noqa: ANN401 - torch tensors
    """Largest absolute difference; equal infinities agree, NaN and unequal ones give infinity."""
    difference = (got.double() - wanted.double()).abs()
    difference = difference.masked_fill(got.double() == wanted.double(), 0.0)
    return float(difference.nan_to_num(nan=math.inf).max())


def _trace_in_new_process(name: str, parameters: Mapping[str, object], seed: int, level: str) -> Trace:
    request = {"name": name, "parameters": dict(parameters), "seed": seed, "level": level}
    environment = os.environ | {launch.FLAG: "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryDirectory(prefix="dse-trace-") as folder:
        output = Path(folder, "trace.parquet")
        command = [sys.executable, "-m", "dse.kernels.trace_kernel", str(output), json.dumps(request)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise _rebuilt(done.returncode, done.stderr)
        return read_trace(output)


def _rebuilt(code: int, report: str) -> DseError:
    """The error another process reported on its last line."""
    last = (report.strip().splitlines() or [""])[-1]
    try:
        failure = json.loads(last)
        kind: type[DseError] = getattr(errors, failure["type"])
        return kind(*failure["problems"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return TraceError(f"the interpreter's process ended with code {code}: {last}")


def main(arguments: Sequence[str]) -> int:
    """Answer ``trace_kernel`` in another process: write a trace to a path, or an error to standard error."""
    output, request = arguments
    try:
        write_trace(trace_kernel(**json.loads(request)), output)
    except DseError as error:
        failure = {"type": type(error).__name__, "problems": [str(problem) for problem in error.problems]}
        sys.stderr.write(json.dumps(failure) + "\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
