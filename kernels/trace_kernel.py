"""Run a kernel in the interpreter, compare it with its naive reference, and give its trace.

Works in this process if triton is not imported yet or was imported as an interpreter, in a fresh process
otherwise. Modelled: any kernel with an annotation, a module that defines ``make_inputs`` and a function of
the kernel's name, and a naive reference beside it. Not modelled: tracing on a GPU, sampling.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse import errors
from dse.errors import DseError, TraceError
from dse.kernels import launch
from dse.kernels.reference import kernel_hash, largest_error
from dse.workloads.annotation import load_annotation
from dse.workloads.trace import LEVELS, Trace
from dse.workloads.trace_file import read_trace, write_trace
from dse.workloads.values import launch_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import ModuleType

    from dse.kernels.tracer import Tracer
    from dse.workloads.annotation import Annotation, LaunchNote
    from dse.workloads.trace import Value
    from dse.workloads.values import LaunchValues

# The naive reference holds every score; above this many it would not fit an ordinary machine.
LARGEST_COMPARISON = 1 << 28
_RECORDED = ("torch", "triton", "numpy")


class TooSlowError(TraceError):
    """Tracing took more time than it was given."""


def trace_kernel(
    name: str,
    parameters: Mapping[str, object],
    seed: int = 0,
    level: str = "events",
    bits: int | None = None,
    sample: bool = False,
) -> Trace:
    """Run the shipped kernel ``name`` and trace it; the same arguments give the same trace.

    Parameters
    ----------
    parameters
        Values of the kernel's parameters, typed or as text; the others take the defaults of its annotation.
    seed
        Of the inputs.
    level
        ``events`` keeps the order of events and the place of tiles, ``counts`` does not; ``values`` keeps the
        scores as well.
    bits
        Of the scores kept, quantised as a machine would see them; None keeps them exact.
    sample
        Run some programs on inputs that are not filled, verify on others that the rest follows, and give a
        sampled trace of level ``counts``, without comparing outputs. A kernel that cannot be sampled (its
        control flow depends on values, or its counts are not piecewise affine) is traced in full.

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
    _check_level(annotation, name, level, sample)
    launch.require_packages()
    if values.get("precision") == "bf16":
        raise TraceError(launch.BF16_REFUSED)
    if launch.can_interpret():
        launch.start_interpreter()
        sampled = _sample_here(name, values, seed) if sample else None
        return sampled or _trace_here(name, annotation, values, seed, level, bits)
    request = {"parameters": dict(parameters), "seed": seed, "level": level, "bits": bits, "sample": sample}
    return _trace_in_new_process({"name": name, **request})


def _check_level(annotation: Annotation, name: str, level: str, sample: bool) -> None:
    """Refuse a level that does not exist, or that the kernel or a sample does not have."""
    if level not in LEVELS:
        raise TraceError(f"trace level '{level}' is none of {', '.join(LEVELS)}")
    if level == "values" and not any(note.values for note in annotation.launches.values()):
        raise TraceError(f"the annotation of '{name}' names no values to keep; trace it at level events")
    if sample and level != "counts":
        raise TraceError(
            f"a sampled trace has level counts, not {level}: it does not keep the order of events"
        )


def _trace_here(
    name: str,
    annotation: Annotation,
    values: Mapping[str, Value],
    seed: int,
    level: str,
    bits: int | None,
) -> Trace:
    interpreter = importlib.import_module("dse.kernels.interpreter")
    tracing = importlib.import_module("dse.kernels.tracer")
    notes: dict[str, list[LaunchNote]] = {}
    for label, note in annotation.launches.items():
        notes.setdefault(note.kernel or label, []).append(note)
    captures = {kernel: [_capture(tracing, note) for note in listed] for kernel, listed in notes.items()}
    tracer = tracing.Tracer(level, captures if level == "values" else {})
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
        configurations=tracer.configurations,
        values=tuple(_values(tracer, notes, bits)) if level == "values" else (),
    )


def _values(
    tracer: Tracer, notes: Mapping[str, Sequence[LaunchNote]], bits: int | None
) -> Iterator[LaunchValues]:
    """Scores of every launch whose annotation says where they pass."""
    seen: Counter[str] = Counter()
    for number, (item, programs) in enumerate(zip(tracer.launches, tracer.captured, strict=True)):
        place, known = seen[item.kernel], notes.get(item.kernel, ())
        seen[item.kernel] += 1
        if place < len(known) and known[place].values:
            note = known[place]
            branched = any(step.inside for step in note.steps.values())
            yield launch_values(number, programs, _unit(note), branched, bits)


def _sample_here(name: str, values: Mapping[str, Value], seed: int) -> Trace | None:
    """A sampled trace, first with long loops cut short, then without; None if neither can be verified."""
    interpreter = importlib.import_module("dse.kernels.interpreter")
    sampling = importlib.import_module("dse.kernels.sampler")
    allocate = importlib.import_module("dse.kernels.allocate")
    module = launch.kernel_module(name)
    for skip_trips in (True, False):
        sampler = sampling.Sampler(skip_trips)
        try:
            with allocate.AllocateOnly(), interpreter.session(sampler):
                getattr(module, name)(**module.make_inputs(values, seed))
        except sampling.SamplingRefusedError:
            continue
        return Trace(
            kernel=name,
            kernel_hash=kernel_hash(name),
            parameters=values,
            seed=seed,
            level="counts",
            sampled=True,
            versions=_versions(),
            max_error=None,
            launches=tuple(sampler.launches),
            configurations=sampler.configurations,
        )
    return None


def _capture(tracing: ModuleType, note: LaunchNote) -> Any:  # noqa: ANN401 - a Capture, which needs numpy
    """Which tiles of a launch are scores, as its annotation says."""
    if note.values is None or note.mask is None:
        return None
    step = note.steps.get(note.scoring_step)
    loads = step.loads if step else ""
    axis = note.tensors[loads].ranks.index(step.rank) if step and loads in note.tensors else 0
    branches = [branch.loads for branch in note.steps.values() if branch.inside]
    shape = tuple(note.tiles[rank] for rank in note.mask.scores)
    return tracing.Capture(note.values.operator, shape, loads, axis, branches[0] if branches else "")


def _unit(note: LaunchNote) -> float:
    """One unit of the kernel's scores in natural logits."""
    return math.log(2) if note.values and note.values.base == "2" else 1.0


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
    error = max(largest_error(got, wanted) for got, wanted in zip(outputs, reference, strict=True))
    tolerance = annotation.tolerance[str(values["precision"])]
    if not error <= tolerance:
        raise TraceError(f"'{name}' differs from its naive reference by {error:.3g}, more than {tolerance:g}")
    return error


def _trace_in_new_process(request: Mapping[str, object]) -> Trace:
    with tempfile.TemporaryDirectory(prefix="dse-trace-") as folder:
        output = Path(folder, "trace.parquet")
        trace_elsewhere(request, output)
        return read_trace(output)


def trace_elsewhere(request: Mapping[str, object], output: Path, seconds: float | None = None) -> None:
    """Write the trace that ``trace_kernel(**request)`` gives to a file, from a fresh process.

    Raises
    ------
    DseError
        What tracing raised there; TraceError if it took more than ``seconds``: nothing is written then.
    """
    environment = os.environ | {launch.FLAG: "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "dse.kernels.trace_kernel", str(output), json.dumps(request)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise TooSlowError(f"tracing took more than {seconds:g} s") from None
    if done.returncode:
        raise _rebuilt(done.returncode, done.stderr)


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
