"""Time of recorded launches on a CUDA GPU, in blocks of repeats.

A block replays a CUDA graph of several repeats between two events, or, flushed, runs repeats one by one, each after the
L2 cache was overwritten. Nothing of the GPU's settings is changed.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from dse.kernels.measuring.jobs import Suite

WARM_UP = 3
# Launches in one graph: enough that replaying it costs little beside them.
GRAPH_REPEATS = 64
MOST_REPEATS = 4096
# More than the L2 cache of any GPU today, so that writing it leaves nothing of a kernel's tensors there.
FLUSH_BYTES = 512 << 20


@dataclass
class Timed:
    """Launches ready to be timed: ``repeats`` of them make up a block."""

    replay: Callable[[int], None]
    once: Callable[[], None]
    repeats: int
    timer: str

    def hot_s(self, repeats: int = 0) -> float:
        """Seconds of one repeat, in a block of repeats that follow each other."""
        count = repeats or self.repeats
        return _elapsed_s(lambda: self.replay(count)) / count

    def flushed_s(self, repeats: int, buffer: torch.Tensor) -> float:
        """Median seconds of repeats that each find nothing of their own in the L2 cache."""
        pairs = []
        for _ in range(repeats):
            buffer.zero_()
            start, end = _event(), _event()
            start.record()
            self.once()
            end.record()
            pairs.append((start, end))
        torch.cuda.synchronize()
        return statistics.median(float(start.elapsed_time(end)) * 1e-3 for start, end in pairs)


def prepare(repeat: Callable[[], None], suite: Suite) -> Timed:
    """Warm up, find out how many repeats fill a block, and capture them as a graph where that is possible."""
    for _ in range(WARM_UP):
        repeat()
    estimate = max(_elapsed_s(lambda: [repeat() for _ in range(WARM_UP)]) / WARM_UP, 1e-6)  # type: ignore[func-returns-value]
    inside = max(1, min(GRAPH_REPEATS, math.ceil(suite.block_s / estimate)))
    graph = _captured(repeat, inside)

    def replay(count: int) -> None:
        for _ in range(count // inside if graph is not None else count):
            graph.replay() if graph is not None else repeat()

    whole = inside * max(1, min(MOST_REPEATS, round(suite.block_s / estimate)) // inside)
    return Timed(replay, repeat, whole, "events" if graph is None else "graph")


def flush_buffer() -> torch.Tensor:
    """A tensor that is larger than the L2 cache."""
    return torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")


def _captured(repeat: Callable[[], None], count: int) -> torch.cuda.CUDAGraph | None:
    """A graph of ``count`` repeats; None where a launch cannot be captured."""
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            for _ in range(count):
                repeat()
    except RuntimeError:
        torch.cuda.synchronize()
        return None
    return graph


def _elapsed_s(work: Callable[[], object]) -> float:
    start, end = _event(), _event()
    torch.cuda.synchronize()
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) * 1e-3


def _event() -> Any:  # noqa: ANN401
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
