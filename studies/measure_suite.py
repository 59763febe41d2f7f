"""Suites of kernels to be measured: YAML files, resolved to jobs that a GPU machine runs without this package's YAML.

A suite has classes of kernels; a class has groups of shapes, each with the split it belongs to, values that hold for
the group, and axes whose product it spans. Splits are stated before anything is measured.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from dse import spec
from dse.errors import ConfigError, DseError, Problem
from dse.units import Count, PositiveCount, Seconds
from dse.workloads.annotation import Annotation, load_annotation
from dse.workloads.measurement import CACHES, MICROBENCHMARK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dse.kernels.measuring.jobs import Job, Suite
    from dse.workloads.trace import Value

ROOM = "studies/gpu/suites"
Split = Literal["calibration", "new_shapes", "new_classes"]
# The naive reference holds every score in fp32 and a few more tensors of that size; it runs on the same GPU.
LARGEST_COMPARISON = 1 << 27


class GroupFile(spec.Spec):
    """Shapes of one split: ``set`` holds for all, ``axes`` are multiplied."""

    split: Split
    set: dict[str, str] = Field(default_factory=dict, description="values of all shapes of the group")
    axes: dict[str, list[str]] = Field(default_factory=dict, description="values that are multiplied")
    warps: list[PositiveCount] = Field(default_factory=list, description="warps of a thread block to measure")
    stages: list[PositiveCount] = Field(default_factory=list, description="pipeline stages to measure")

    def points(self) -> Iterator[tuple[dict[str, str], int, int]]:
        """Values, warps and stages of every shape."""
        names = list(self.axes)
        for chosen in itertools.product(*self.axes.values()):
            values = self.set | dict(zip(names, chosen, strict=True))
            for warps, stages in itertools.product(self.warps or [0], self.stages or [0]):
                yield values, int(warps), int(stages)


class ClassFile(spec.Spec):
    """Kernels of one class, whose errors are reported together."""

    kernel: str
    set: dict[str, str] = Field(default_factory=dict, description="values of all groups")
    groups: dict[str, GroupFile]


class TimingFile(spec.Spec):
    """How rows are timed."""

    blocks: PositiveCount = 6
    block: Seconds = Field(default=0.05, description="time that a block of repeats takes")
    flushed_repeats: PositiveCount = 10
    together: PositiveCount = Field(default=8, description="jobs whose blocks are interleaved")
    energy_from: Seconds = Field(default=1e-3, description="latency from which energy is measured")
    energy_block: Seconds = Field(default=0.5, description="time over which energy is measured")
    caches: list[Literal["hot", "flushed"]] = ["hot", "flushed"]


class SuiteFile(spec.Spec):
    """A suite file."""

    title: str
    source: str
    seed: Count = 0
    timing: TimingFile = TimingFile()
    microbenchmarks: dict[str, GroupFile] = Field(default_factory=dict)
    classes: dict[str, ClassFile]


def load_suite(source: str | Path) -> Suite:
    """The jobs of a suite by path or shipped name.

    Raises
    ------
    ConfigError
        The file is wrong, or names kernels or parameters that do not exist; all problems together.
    """
    from dse.kernels.measuring.jobs import Suite

    file = spec.load(source, SuiteFile, ROOM)
    problems: list[Problem] = []
    jobs = [*_microbenchmarks(file), *_kernels(file, problems)]
    if problems:
        raise ConfigError(*problems)
    timing = file.timing
    return Suite(
        name=spec.origin(file).stem,
        jobs=tuple(jobs),
        seed=int(file.seed),
        blocks=int(timing.blocks),
        block_s=float(timing.block),
        flushed_repeats=int(timing.flushed_repeats),
        together=int(timing.together),
        energy_from_s=float(timing.energy_from),
        energy_block_s=float(timing.energy_block),
        caches=tuple(cache for cache in CACHES if cache in timing.caches),
    )


def _microbenchmarks(file: SuiteFile) -> Iterator[Job]:
    from dse.kernels.measuring.jobs import Job
    from dse.units import parse_count

    for name, group in file.microbenchmarks.items():
        for values, warps, stages in group.points():
            amounts: dict[str, Value] = {key: parse_count(value) for key, value in values.items()}
            yield Job(MICROBENCHMARK, group.split, name, amounts, warps, stages)


def _kernels(file: SuiteFile, problems: list[Problem]) -> Iterator[Job]:
    from dse.kernels.measuring.jobs import Job

    for kind, entry in file.classes.items():
        at = f"classes.{kind}"
        try:
            annotation = load_annotation(entry.kernel)
        except DseError as error:
            problems += _placed(file, f"{at}.kernel", error)
            continue
        for name, group in entry.groups.items():
            for given, warps, stages in group.points():
                try:
                    values = annotation.resolve({**entry.set, **given})
                except DseError as error:
                    problems += [p for p in _placed(file, f"{at}.groups.{name}", error) if p not in problems]
                    continue
                compare = _scores(annotation, values) <= LARGEST_COMPARISON
                tolerance = annotation.tolerance[str(values["precision"])]
                yield Job(kind, group.split, entry.kernel, values, warps, stages, compare, tolerance)


def _scores(annotation: Annotation, values: dict[str, Any]) -> int:
    """Elements of the largest tensor that the naive reference holds."""
    return math.prod(int(values[annotation.ranks[rank]]) for rank in annotation.reference)


def _placed(file: SuiteFile, path: str, error: DseError) -> list[Problem]:
    """Problems of an error at a place of the suite."""
    place = spec.place_of(file, path)
    return [Problem(f"{p.path}: {p.message}" if p.path else p.message, place, path) for p in error.problems]
