"""The Triton launches of a call, recorded so that they can be repeated by themselves.

A kernel's function checks its arguments, allocates outputs and prepares lists before it launches; a machine is asked
for the time of the launches, so these are recorded once and repeated with the same tensors. Warps and stages that are
asked for take the place of the compiler's defaults; those a kernel sets itself stay.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from triton.runtime.jit import JITFunction

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Recording:
    """Launches of one call, in order; tensors among their arguments are kept alive."""

    launches: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    compiled: list[dict[str, Any]] = field(default_factory=list)

    def repeat(self) -> None:
        """Launch everything once more."""
        for function, arguments, options in self.launches:
            function.run(*arguments, **options)


@contextmanager
def recording(warps: int = 0, stages: int = 0) -> Iterator[Recording]:
    """Record every launch within the context, with ``warps`` and ``stages`` where they are not 0."""
    found = Recording()
    original = JITFunction.run
    wanted = {name: value for name, value in (("num_warps", warps), ("num_stages", stages)) if value}

    def run(self: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        options = wanted | options
        kernel = original(self, *arguments, **options)
        found.launches.append((self, arguments, options))
        found.compiled.append(_resources(self, kernel, options))
        return kernel

    JITFunction.run = run
    try:
        yield found
    finally:
        JITFunction.run = original


def _resources(function: Any, kernel: Any, options: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    """What a compiled kernel needs of a multiprocessor, as the driver reports it."""
    grid = options["grid"]
    shape = [int(size) for size in (grid if isinstance(grid, tuple | list) else ())]
    return {
        "kernel": function.__name__,
        "grid": shape,
        "registers": getattr(kernel, "n_regs", None),
        "spilled": getattr(kernel, "n_spills", None),
        "shared_bytes": kernel.metadata.shared,
        "warps": kernel.metadata.num_warps,
        "stages": kernel.metadata.num_stages,
    }
