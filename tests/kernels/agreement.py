"""What the tests of all kernels share: errors against references, lifted traces, visited tiles."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.kernels.interpreter import session
from dse.kernels.trace_kernel import trace_kernel
from dse.workloads.annotation import load_annotation
from dse.workloads.cascade_file import load_cascade
from dse.workloads.lift import LiftedTrace, lift

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.workloads.trace import Launch, Trace

TOLERANCE = {"fp16": 2e-3, "fp32": 1e-5}


def inputs(kernel: str, parameters: Mapping[str, object], seed: int = 0) -> dict[str, Any]:
    """Arguments of a kernel for parameters of its annotation."""
    values = load_annotation(kernel).resolve(parameters)
    arguments: dict[str, Any] = import_module(f"dse.kernels.{kernel}").make_inputs(values, seed)
    return arguments


def outputs(kernel: str, arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a kernel computes in the interpreter."""
    with session():
        found: tuple[Any, ...] = getattr(import_module(f"dse.kernels.{kernel}"), kernel)(**arguments)
    return found


def references(kernel: str, arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    """What its naive reference computes."""
    module = import_module(f"dse.kernels.{kernel}_naive")
    found: tuple[Any, ...] = getattr(module, f"{kernel}_naive")(**arguments)
    return found


def difference(found: Sequence[Any], wanted: Sequence[Any]) -> float:
    """Largest absolute difference of finite elements; infinities must be at the same places, NaN nowhere."""
    worst = 0.0
    for got, reference in zip(found, wanted, strict=True):
        left, right = (np.asarray(tensor, dtype=np.float64) for tensor in (got, reference))
        assert left.shape == right.shape
        assert not np.isnan(left).any()
        np.testing.assert_array_equal(np.isinf(left), np.isinf(right))
        finite = np.isfinite(right)
        if finite.any():
            worst = max(worst, float(np.abs(left[finite] - right[finite]).max()))
    return worst


def error(kernel: str, parameters: Mapping[str, object]) -> float:
    """Largest error of a kernel on the inputs of its parameters."""
    arguments = inputs(kernel, parameters)
    return difference(outputs(kernel, arguments), references(kernel, arguments))


def lifted(kernel: str, parameters: Mapping[str, object], cascade: str = "") -> tuple[Trace, LiftedTrace]:
    """A trace of a kernel, and what it lifts to: with its own cascade unless another is named."""
    annotation = load_annotation(kernel)
    trace = trace_kernel(kernel, parameters)
    return trace, lift(trace, annotation, load_cascade(cascade or annotation.cascade))


def visited_tiles(
    launch: Launch, tensor: str = "k", tile: str = "BLOCK_N"
) -> dict[tuple[int, ...], list[int]]:
    """Tiles of rows of ``tensor`` that each program read, in order, by its place in the grid."""
    size = int(str(launch.arguments[tile]))
    return {
        place: [corner[2] // size for corner, _ in members.boxes(number, tensor)]
        if tensor in members.anchors
        else []
        for members in launch.classes
        for number, place in enumerate(members.programs)
    }


def float64(tensor: Any) -> Any:  # noqa: ANN401 - torch and numpy arrays
    """A tensor as an array of float64."""
    return np.asarray(tensor, dtype=np.float64)


def float_heads(arguments: Mapping[str, Any], *names: str) -> list[Any]:
    """Tensors of the first sequence and head in float64."""
    return [np.asarray(arguments[name], dtype=np.float64)[0, 0] for name in names]
