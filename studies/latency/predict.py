"""Seconds a machine takes for every row of a table: launches behind the rows, timed by the law of the machine's kind.

Where a library chooses among several ways to run a row, the fastest is taken. Not modelled: rows of several classes
that share a launch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import ConfigError, Problem
from dse.simulator.stack import stack, structure
from dse.studies.latency.kernels import alternatives
from dse.studies.latency.own import own_alternatives
from dse.studies.latency.table import CLASS, OWN

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from dse.arch.calibration.constants import Calibration
    from dse.arch.gpu import Gpu
    from dse.studies.latency.kernels import Alternative
    from dse.studies.latency.table import LatencyTable
    from dse.studies.latency.tracing import Tracing

    Floats = NDArray[np.float64]
    Part: TypeAlias = tuple[NDArray[np.int64], Sequence[Alternative], float]


@dataclass(frozen=True)
class Chosen:
    """What a machine takes for every row: seconds, cycles of the nominal clock, calibrated joules, work done."""

    seconds: Floats
    cycles: Floats
    joules: Floats
    multiply_adds: Floats
    dram_bits: Floats

    def where(self, mask: NDArray[np.bool_]) -> Chosen:
        """The rows of a mask."""
        return Chosen(*(getattr(self, one.name)[mask] for one in fields(self)))


@dataclass(frozen=True)
class Rows:
    """Launches behind the rows of a table on one machine, class by class; rows of no class have none.

    ``parts`` holds for each class its rows' positions, the ways they may have run, and the seconds that the way of
    measuring adds to each.
    """

    gpu: Gpu
    count: int
    parts: tuple[Part, ...]

    def seconds(self, constants: Calibration) -> Floats:
        """Predicted time of every row, NaN for rows of no class."""
        from dse.simulator.gpu.law import predict

        found = np.full(self.count, np.nan)
        for places, ways, added in self.parts:
            best = np.full(len(places), np.inf)
            for way in ways:
                time = predict(way.launches, self.gpu, constants, warm=way.warm).seconds
                best = np.where(way.possible, np.minimum(best, time), best)
            found[places] = best + added
        return found

    def chosen(self, constants: Calibration) -> Chosen:
        """Seconds, cycles, joules and work of every row under its fastest way, NaN for rows of no class."""
        from dse.simulator.gpu.law import predict

        found = np.full((5, self.count), np.nan)
        for places, ways, added in self.parts:
            best = np.full((5, len(places)), np.inf)
            for way in ways:
                times = predict(way.launches, self.gpu, constants, warm=way.warm)
                macs = sum((part.executed_flops for part in times.launches), np.zeros(1)) / 2.0
                values = (times.seconds, times.cycles, times.joules, macs, 8.0 * times.dram_bytes)
                here = np.stack([np.broadcast_to(value, len(places)) for value in values])
                best = np.where(way.possible & (here[0] < best[0]), here, best)
            best[0] += added
            found[:, places] = best
        return Chosen(*found)

    def keys(self) -> list[bytes]:
        """For every row something that is equal for rows whose launches are, empty for rows of no class."""
        found = [b""] * self.count
        for places, ways, _ in self.parts:
            columns = np.concatenate([_numbers(way, len(places)) for way in ways])
            for i, place in enumerate(places):
                found[place] = np.ascontiguousarray(columns[:, i]).tobytes()
        return found

    def roofline(self) -> Floats:
        """Seconds by data-sheet peaks alone: useful FLOPs, or distinct bytes, whichever takes longer."""
        peak = float(self.gpu.peak_flop_per_s[0])
        found = np.full(self.count, np.nan)
        for places, ways, added in self.parts:
            flops, moved = work(ways, len(places))
            found[places] = np.maximum(flops / peak, moved / float(self.gpu.dram_byte_per_s[0])) + added
        return found

    def work(self) -> tuple[Floats, Floats]:
        """Useful FLOPs and distinct bytes of every row, NaN for rows of no class."""
        flops, moved = np.full(self.count, np.nan), np.full(self.count, np.nan)
        for places, ways, _ in self.parts:
            flops[places], moved[places] = work(ways, len(places))
        return flops, moved


def rows_of(table: LatencyTable, gpu: Gpu, tracing: Tracing | None = None) -> Rows:
    """Launches behind the rows of a table; those of own kernels without a closed form are traced.

    Raises
    ------
    ConfigError
        A kernel is unknown, or a column it needs is missing.
    """
    parts: list[Part] = []
    if table.file is None:
        parts = _grouped(own_alternatives(table.rows, gpu, tracing))
    for name, (kernel, options) in table.kernels.items():
        places = np.flatnonzero(np.asarray(table.rows[CLASS] == name))
        if len(places) and kernel != OWN:
            added = table.file.classes[name].added if table.file else 0.0
            parts.append((places, alternatives(kernel, table.rows.iloc[places], options, gpu), added))
    if not parts:
        why = (Problem(text) for text in (tracing.left_out() if tracing else ()))
        raise ConfigError(f"{table.name}: no row is of a kernel whose launches are known", *why)
    return Rows(gpu, len(table.rows), tuple(parts))


def _grouped(found: Iterable[tuple[int, Alternative]]) -> list[Part]:
    """Rows of like launches together, as arrays; rows without launches are left out."""
    groups: dict[Hashable, list[tuple[int, Alternative]]] = {}
    for place, way in found:
        if way.launches:
            groups.setdefault(structure(way), []).append((place, way))
    return [
        (np.array([place for place, _ in members]), (stack([way for _, way in members]),), 0.0)
        for members in groups.values()
    ]


def work(ways: Sequence[Alternative], n: int) -> tuple[Floats, Floats]:
    """Useful FLOPs and distinct bytes of rows: those of the first way, whose tensors no way can do without.

    A tensor that several launches of a sequence name counts once.
    """
    flops = np.zeros(n)
    moved: dict[str, Floats] = {}
    for launch in ways[0].launches:
        flops += np.nan_to_num(np.broadcast_to(launch.flops, n))
        for name, tensor in launch.tensors.items():
            moved[name] = np.maximum(moved.get(name, np.zeros(n)), np.broadcast_to(tensor.unique, n))
    return flops, np.sum(list(moved.values()), axis=0)


def _numbers(way: Alternative, n: int) -> Floats:
    """Everything the law reads of the launches of a way, one column for each row."""
    found: list[Floats] = [way.possible.astype(np.float64)]
    for launch in way.launches:
        for run in launch.blocks:
            found += [
                run.first,
                run.step,
                run.classes,
                run.each,
                run.masked,
                run.tile.exps,
                run.tile.read_bytes,
            ]
            found += [*run.tile.flops.values(), run.once.read_bytes, run.once.written_bytes]
        found += [part for tensor in launch.tensors.values() for part in (tensor.unique, tensor.total)]
    return np.stack([np.broadcast_to(one, n) for one in found])
