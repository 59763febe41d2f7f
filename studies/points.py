"""The design points of a sweep by number: what each asks for, as places on axes rather than one object for each.

A point's key is the hash of what the whole sweep depends on, of its part and of its texts on the axes.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dse.errors import ConfigError, Problem
from dse.studies.frames import digest
from dse.studies.store import point_hash
from dse.studies.sweep_file import REQUEST_AXES, check_axes, is_parameter, is_trace, request_of, values_of
from dse.units import parse_count

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from dse.studies.batch import Pairs, Request
    from dse.studies.grid import Codes
    from dse.studies.sweep_file import Part

MAX_POINTS = 10_000_000


@dataclass(frozen=True)
class Aspect:
    """A machine or a workload, the axes that vary it with their texts, and values that are the same everywhere."""

    source: str
    axes: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    fixed: Pairs

    def values(self, texts: Sequence[str]) -> dict[str, Any]:
        """Every value given for one combination of texts."""
        return dict(self.fixed) | dict(zip(self.axes, texts, strict=True))

    @property
    def size(self) -> int:
        """Combinations of its axes' texts."""
        return math.prod(len(texts) for texts in self.texts)

    def places(self, codes: Mapping[str, Codes], size: int) -> Codes:
        """Place in the product of its axes for each point of a selection."""
        place = np.zeros(size, dtype=np.int64)
        for axis, texts in zip(self.axes, self.texts, strict=True):
            place = place * len(texts) + codes[axis]
        return place


class Subject(NamedTuple):
    """What points ask for, but for the texts of machine and workload axes."""

    head: Request
    machine: Aspect
    workload: Aspect


@dataclass(frozen=True)
class Selection:
    """Some points of one subject: their positions among those asked for, and their codes on each axis."""

    part: Part
    subject: Subject
    baseline: Subject | None
    positions: Codes
    chosen: dict[str, str]
    codes: dict[str, Codes]
    texts: dict[str, tuple[str, ...]]


class Grid:
    """Points of one part of a sweep: the product of its axes, the first varying slowest.

    Axes of workload parameters do not apply to traces: of points that differ in these alone one is left.

    Raises
    ------
    ConfigError
        An axis, or a value of accounting, that does not exist; or too many points.
    """

    def __init__(self, part: Part) -> None:
        check_axes(part.axes, part.names)
        self.part = part
        self.texts = {name: _different(values_of(part.axes, name)) for name in part.names}
        self.shape = tuple(len(texts) for texts in self.texts.values())
        if math.prod(self.shape) > MAX_POINTS:
            size = f"{math.prod(self.shape):.3g} design points, more than {MAX_POINTS:,}"
            raise ConfigError(Problem(f"the axes span {size}", path="sweep"))
        places = np.arange(np.prod(self.shape, dtype=np.int64))
        codes = self._codes(places)
        repeated = np.zeros(len(places), dtype=bool)
        for name, values in codes.items():
            if is_parameter(name):
                repeated |= values > 0
        traced = [is_trace(text) for text in self.texts.get("workload", ())]
        if any(traced):
            places = places[~(repeated & np.array(traced)[codes["workload"]])]
        self.places = places

    def _codes(self, places: Codes) -> dict[str, Codes]:
        found = np.unravel_index(places, self.shape) if self.shape else ()
        return {name: code.astype(np.int64) for name, code in zip(self.texts, found, strict=True)}

    def keys(self, base: str) -> Iterator[str]:
        """Key of every point."""
        columns = [
            np.array(texts, dtype=object)[codes]
            for texts, codes in zip(self.texts.values(), self._codes(self.places).values(), strict=True)
        ]
        start = "\x1e".join((base, self.part.name, *self.texts))
        for texts in zip(*columns, strict=True):
            yield digest("\x1f".join((start, *texts)).encode())

    def values(self, number: int) -> dict[str, str]:
        """Text of one point on each axis."""
        codes = self._codes(self.places[number : number + 1])
        return {name: texts[int(codes[name][0])] for name, texts in self.texts.items()}

    def subjects(self) -> Iterator[tuple[dict[str, str], Subject]]:
        """Each combination of machine, workload, accounting, mapper and mapping, and what its points ask for."""
        heads = [name for name in self.texts if name in REQUEST_AXES]
        for texts in itertools.product(*(self.texts[name] for name in heads)):
            chosen = dict(zip(heads, texts, strict=True))
            yield chosen, self._subject(chosen)

    def select(self, numbers: Codes, positions: Codes) -> Iterator[Selection]:
        """The points of some numbers, one selection for each subject; ``positions`` is what to call them."""
        codes = self._codes(self.places[numbers])
        for chosen, subject in self.subjects():
            mine = np.ones(len(numbers), dtype=bool)
            for name, text in chosen.items():
                mine &= codes[name] == self.texts[name].index(text)
            if mine.any():
                here = {name: values[mine] for name, values in codes.items()}
                yield Selection(
                    self.part, subject, self.baseline(subject), positions[mine], chosen, here, self.texts
                )

    def _subject(self, chosen: Mapping[str, str]) -> Subject:
        axes = self.part.axes
        head = request_of({**axes.set, **chosen})
        varied = [name for name in self.texts if name not in REQUEST_AXES]
        fixed = {key: value for key, value in axes.set.items() if key not in self.texts}
        parameters = () if is_trace(head.workload) else tuple(name for name in varied if is_parameter(name))
        set_here = {} if is_trace(head.workload) else {k: v for k, v in fixed.items() if is_parameter(k)}
        overrides = tuple(name for name in varied if not is_parameter(name))
        changed = {k: v for k, v in fixed.items() if k not in REQUEST_AXES and not is_parameter(k)}
        return Subject(
            replace(head, parameters=(), overrides=()),
            self._aspect(head.machine, overrides, changed),
            self._aspect(head.workload, parameters, set_here),
        )

    def baseline(self, subject: Subject) -> Subject | None:
        """What the points of a subject are compared with; None if the sweep names no baseline.

        Changes of the machine do not carry over to a baseline that is another machine.
        """
        given = self.part.axes.baseline
        if not given:
            return None
        direct: dict[str, Any] = {key: value for key, value in given.items() if key in REQUEST_AXES}
        head = replace(subject.head, **direct)
        changed = {k: v for k, v in given.items() if k not in REQUEST_AXES and not is_parameter(k)}
        parameters = {k: v for k, v in given.items() if is_parameter(k)}
        own = subject.machine if head.machine == subject.head.machine else replace_all(subject.machine)
        return Subject(
            head,
            self._aspect(head.machine, own.axes, dict(own.fixed) | changed),
            self._aspect(head.workload, subject.workload.axes, dict(subject.workload.fixed) | parameters),
        )

    def _aspect(self, source: str, axes: Sequence[str], fixed: Mapping[str, str]) -> Aspect:
        """An aspect whose fixed values take the place of axes of the same name."""
        varied = tuple(axis for axis in axes if axis not in fixed)
        return Aspect(source, varied, tuple(self.texts[axis] for axis in varied), tuple(fixed.items()))


def _different(texts: Sequence[str]) -> tuple[str, ...]:
    """Texts of an axis without repetition; a count is the same however it is written: ``1K`` and ``1024``."""
    found: dict[str, str] = {}
    for text in texts:
        try:
            found.setdefault(str(parse_count(text)), text)
        except ConfigError:
            found.setdefault(text, text)
    return tuple(found.values())


def replace_all(aspect: Aspect) -> Aspect:
    """The aspect without anything that varies or is set."""
    return replace(aspect, axes=(), texts=(), fixed=())


class Points:
    """Every design point of a sweep in canonical order; ``content`` goes into each key."""

    def __init__(self, parts: Sequence[Part], content: Mapping[str, str]) -> None:
        self.grids = [Grid(part) for part in parts]
        self.starts = np.cumsum([0, *(len(grid.places) for grid in self.grids)])
        self._base = point_hash(content)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @cached_property
    def keys(self) -> list[str]:
        """Key of each point."""
        return [key for grid in self.grids for key in grid.keys(self._base)]

    def listed(self) -> Iterator[tuple[Part, dict[str, str]]]:
        """Part of each point, and its text on each axis."""
        for grid in self.grids:
            for number in range(len(grid.places)):
                yield grid.part, grid.values(number)

    def left(self, finished: Collection[str]) -> Codes:
        """Numbers of the points whose keys are not finished."""
        return np.array([i for i, key in enumerate(self.keys) if key not in finished], dtype=np.int64)

    def select(self, numbers: Codes) -> Iterator[Selection]:
        """The points of some numbers, one selection for each part and subject."""
        for grid, start, stop in zip(self.grids, self.starts[:-1], self.starts[1:], strict=True):
            positions = np.flatnonzero((numbers >= start) & (numbers < stop)).astype(np.int64)
            if len(positions):
                yield from grid.select(numbers[positions] - start, positions)

    def subjects(self) -> dict[Subject, None]:
        """Everything points or their baselines ask for, but for the texts of axes."""
        found: dict[Subject, None] = {}
        for grid in self.grids:
            for _, subject in grid.subjects():
                base = grid.baseline(subject)
                found |= {subject: None} if base is None else {subject: None, base: None}
        return found
