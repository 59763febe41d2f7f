"""``dse trace``: run a Triton kernel in the interpreter, check it against its cascade, keep the trace."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dse.errors import ConfigError, Problem
from dse.studies.requests import pairs

if TYPE_CHECKING:
    from pathlib import Path

SUFFIX = ".parquet"


def trace(
    kernel: str,
    parameters: list[str],
    output: Path,
    seed: int,
    level: str,
    bits: int | None,
    sample: bool,
    targets: list[str],
) -> None:
    """Trace a kernel and write what it did; nothing is written if it disagrees with its cascade.

    Raises
    ------
    ConfigError
        No such kernel, a wrong parameter, or a file name of another kind.
    TraceError
        The kernel's result differs from its reference, or its counts from its cascade, or it does not compile.
    MissingDependencyError
        torch or triton is not installed.
    """
    if output.suffix != SUFFIX:
        raise ConfigError(Problem(f"'{output}' must end in {SUFFIX}", path="-o"))
    if not output.parent.is_dir():
        raise ConfigError(Problem(f"there is no folder {output.parent}", path="-o"))
    from dse.kernels.resources import with_resources
    from dse.kernels.trace_kernel import trace_kernel
    from dse.workloads.annotation import load_annotation
    from dse.workloads.cascade_file import load_cascade
    from dse.workloads.lift import lift
    from dse.workloads.trace_file import write_trace

    found = trace_kernel(kernel, dict(pairs(parameters, "-p")), seed, level, bits, sample)
    annotation = load_annotation(found.kernel)
    lifted = lift(found, annotation, load_cascade(annotation.cascade))
    found = with_resources(found, targets) if targets else found
    write_trace(found, output)
    sys.stdout.write(
        f"{output}: {lifted.kernel} equals cascade {lifted.cascade}; "
        f"{'sampled and verified' if found.sampled else 'every program run'}; "
        f"{lifted.executed_flops} FLOP executed, {lifted.useful_flops} useful; "
        f"{lifted.tiles_full} tiles full, {lifted.tiles_masked} masked, {lifted.tiles_skipped} skipped\n"
    )
    for item in found.resources:
        fits = f"exceeds {'; '.join(item.exceeded)}" if item.exceeded else "fits"
        name = found.launches[item.launch].kernel
        sys.stdout.write(
            f"{item.target} {name}: {item.shared_bytes} B shared memory, {item.registers} registers, "
            f"{item.stack_bytes} B stack; {fits} (triton {item.triton})\n"
        )
