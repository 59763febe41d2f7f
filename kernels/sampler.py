"""Traces a launch by running a few of its programs, and of long loops a few iterations.

Modelled: what ``extrapolate`` can fit and verify. A skipped iteration is taken to do what the iterations
around it do, its tiles moved by the same distance; three held-out iterations must agree. Refused: branches,
loop bounds, addresses and masks that depend on loaded values, selections over tiles that do, accesses with
gaps, and whatever a held-out program contradicts. Not modelled: the order of events (such a trace has level
``counts``), values, atomics.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from dse.kernels.extrapolate import (
    Grid3,
    SamplingRefusedError,
    added,
    boxes_of_all,
    classes,
    union_volume,
)
from dse.kernels.observer import LOADED
from dse.kernels.tracer import Tracer
from dse.workloads.trace import Event, Launch, ProgramClass, Sampling

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping

    import numpy.typing as npt

    from dse.kernels.memory import Access
    from dse.kernels.observer import Grid, Handle
    from dse.workloads.trace import TracedTensor

    Boxes: TypeAlias = npt.NDArray[np.int64]

# Iterations that run at each end of a loop longer than all that run.
ENDS = 3
_INNER = (0.5, 0.29)
SHORTEST_SKIPPED = 2 * ENDS + len(_INNER)


@dataclass(slots=True)
class _Frame:
    """Counts of a program, or of one iteration, and the boxes it touched by tensor and direction."""

    counts: Counter[Hashable] = field(default_factory=Counter)
    boxes: dict[tuple[str, str], list[Boxes]] = field(default_factory=dict)

    def add(self, other: _Frame, times: int = 1) -> None:
        """Add the counts of another frame, and its boxes if it ran once."""
        added(self.counts, other.counts, times)
        if times == 1:
            for key, boxes in other.boxes.items():
                self.boxes.setdefault(key, []).extend(boxes)

    def touched(self) -> dict[tuple[str, str], Boxes]:
        """All boxes by tensor and direction, shape (n, 2, dimensions)."""
        return {key: np.concatenate(boxes) for key, boxes in self.boxes.items()}


@dataclass(slots=True)
class _Loop:
    count: int
    run: tuple[int, ...]
    trips: dict[int, _Frame] = field(default_factory=dict)


class Sampler(Tracer):
    """Collects launches like a ``Tracer`` of level ``counts``, from some of their programs.

    Raises
    ------
    SamplingRefusedError
        From within the launch; the reason says why all programs must run.
    """

    follows_loads = True

    def __init__(self, skip_trips: bool) -> None:
        super().__init__("counts")
        self._skip = skip_trips
        self._grid3 = Grid3((1, 1, 1))
        self._root = _Frame()
        self._loops: list[_Loop] = []
        self._refusal = ""
        self._trips = 0

    def programs(self, grid: Grid) -> Iterable[Grid]:
        """The programs that the fit asks for, then held-out ones."""
        self._grid3 = Grid3(grid)
        self._trips = 0
        return self._grid3.plan()

    def begin_program(self, place: Grid) -> None:
        """Start with no counts."""
        super().begin_program(place)
        self._root, self._loops, self._refusal = _Frame(), [], ""

    def end_program(self) -> None:
        """Measure the program."""
        if self._refusal:
            raise SamplingRefusedError(self._refusal)
        measure: dict[Hashable, int] = dict(self._root.counts)
        for (tensor, direction), boxes in self._root.touched().items():
            low, high = boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)
            different = union_volume(boxes)
            if different != math.prod((high - low).tolist()):
                raise SamplingRefusedError(f"a program touches scattered parts of tensor '{tensor}'")
            measure["elements", tensor, direction] = int((boxes[:, 1] - boxes[:, 0]).prod(axis=1).sum())
            measure["different", tensor, direction] = different
            for axis, (start, stop) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
                measure["box", tensor, direction, 0, axis] = start
                measure["box", tensor, direction, 1, axis] = stop
        self._grid3.add(self._program.place, measure)

    def end_launch(self) -> None:
        """Extrapolate to the whole grid."""
        grid = self._grid3
        names: list[Any] = list(grid.names)
        columns = [at for at, name in enumerate(names) if name[0] != "box"]
        found = []
        for place, many, row in classes(grid, columns):
            if int(row.min(initial=0)) < 0:
                raise SamplingRefusedError(f"sampled programs lead to negative counts at program {place}")
            counts = dict(zip((names[at] for at in columns), row.tolist(), strict=True))
            found.append(ProgramClass((place,), many, {}, tuple(_events(counts))))
        tensors = {item.name: self._unique(item.name, item.traced()) for item in self._memory.arguments}
        sampling = Sampling(
            fitted=grid.fitted,
            held_out=len(grid.measured) - grid.fitted,
            trips=self._trips,
            pieces=tuple(tuple((p.start, p.stop, p.period) for p in axis) for axis in grid.pieces),
        )
        self.captured.append(())
        self.launches.append(
            Launch(
                kernel=self._kernel,
                grid=self._grid,
                arguments=self._arguments,
                tensors=dict(sorted(tensors.items())),
                classes=tuple(found),
                sampling=sampling,
            )
        )

    def begin_loop(self, count: int) -> Iterable[int]:
        """Enter a loop; of a long one run a few iterations at its ends and inside."""
        run = tuple(range(count))
        if self._skip and count > SHORTEST_SKIPPED:
            inner = {max(ENDS, int(count * share)) for share in _INNER}
            run = (*run[:ENDS], *sorted(inner), *run[-ENDS:])
        self._loops.append(_Loop(count, run))
        return run

    def begin_trip(self, trip: int) -> None:
        """Enter an iteration."""
        self._loops[-1].trips[trip] = _Frame()

    def end_loop(self, trips: int) -> None:
        """Leave a loop; what it skipped is made up for."""
        loop = self._loops.pop()
        self._trips += trips
        whole = len(loop.run) == loop.count
        if trips < len(loop.run) and not whole:
            # Raising here would be lost: a loop that is left early is closed by the garbage collector.
            self._refusal = "a loop ends early"
        for frame in loop.trips.values():
            self._frame.add(frame)
        if trips == len(loop.run) and not whole:
            self._make_up(loop)
        self._add("loop", elements=trips if whole else loop.count)

    def control(self, value: Handle) -> None:
        """Refuse control flow that depends on loaded values."""
        if LOADED in value.attr:
            raise SamplingRefusedError("a branch or the bound of a loop depends on loaded values")

    def memory(self, kind: str, pointers: Handle, mask: Handle | None) -> None:
        """A tile, wherever it lies."""
        if LOADED in pointers.attr or (mask is not None and LOADED in mask.attr):
            raise SamplingRefusedError("an address or its mask depends on loaded values")
        super().memory(kind, pointers, mask)

    def select(self, condition: Handle, result: Handle) -> None:
        """A choice; over a tile it must not depend on values."""
        if LOADED in condition.attr and condition.data.ndim > 1:
            raise SamplingRefusedError("a selection over a tile depends on loaded values")
        super().select(condition, result)

    def operation(self, operator: str, operand: Handle, result: Handle) -> None:
        """As traced, but counted by iteration."""
        before = self._program.elementwise
        super().operation(operator, operand, result)
        for name, lanes in before.items():
            self._frame.counts["lanes", *name] += lanes
        before.clear()

    @property
    def _frame(self) -> _Frame:
        """The innermost iteration, or the program outside loops."""
        if not self._loops:
            return self._root
        trips = self._loops[-1].trips
        return trips[next(reversed(trips))]

    def _touch(self, kind: str, pointers: Handle, lanes: Any) -> Access:  # noqa: ANN401 - a numpy mask
        access = self._memory.access(kind, pointers.data, lanes, 0)
        if access.tensor:
            if access.active != math.prod(access.extent):
                raise SamplingRefusedError(f"an access to tensor '{access.tensor}' has gaps")
            ends = [at + size for at, size in zip(access.corner, access.extent, strict=True)]
            box = np.array([[access.corner, ends]], dtype=np.int64)
            self._frame.boxes.setdefault((access.tensor, kind), []).append(box)
        return access

    def _add(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - as in the base class
        super()._add(*arguments, **options)
        event = replace(self._program.events.pop(), trip=-1, origin=())
        if event.kind == "loop":
            bare = replace(event, elements=0, active=0)
            self._frame.counts["loops", bare] += 1
            self._frame.counts["trips", bare] += event.elements
        else:
            self._frame.counts["event", event] += 1

    def _make_up(self, loop: _Loop) -> None:
        """Add the skipped iterations, after checking that those that ran inside are alike."""
        inside = loop.run[ENDS - 1 : -ENDS + 1]
        first, last = inside[0], inside[-1]
        base = loop.trips[first]
        touched = {trip: loop.trips[trip].touched() for trip in inside}
        skipped = np.array([trip for trip in range(loop.count) if trip not in set(loop.run)])
        self._frame.add(_Frame(base.counts), len(skipped))
        for trip in inside:
            if loop.trips[trip].counts != base.counts or touched[trip].keys() != touched[first].keys():
                raise SamplingRefusedError(f"iterations {first} and {trip} of a loop differ")
        for key, start in touched[first].items():
            steps, rest = np.divmod(touched[last][key] - start, last - first)
            for trip in inside:
                if rest.any() or not np.array_equal(touched[trip][key], start + (trip - first) * steps):
                    raise SamplingRefusedError(f"a loop visits tensor '{key[0]}' in uneven steps")
            moved = start + (skipped - first)[:, None, None, None] * steps
            self._frame.boxes.setdefault(key, []).append(moved.reshape(-1, *start.shape[1:]))

    def _unique(self, name: str, tensor: TracedTensor) -> TracedTensor:
        """The tensor with the bytes that all programs touch together."""
        found = {}
        for direction in ("load", "store"):
            sides = [
                ("box", name, direction, side, axis) for side in (0, 1) for axis in range(len(tensor.shape))
            ]
            columns = [self._grid3.names[side] for side in sides if side in self._grid3.names]
            boxes = boxes_of_all(self._grid3, columns).reshape(-1, 2, len(tensor.shape)) if columns else None
            found[direction] = 0 if boxes is None else union_volume(boxes) * tensor.item_bytes
        return replace(tensor, unique_read_bytes=found["load"], unique_written_bytes=found["store"])


def _events(counts: Mapping[Any, int]) -> Iterator[Event]:
    """Events of a program with these counts: in order of discovery, then sums as a full trace has them."""
    lanes, footprints = [], []
    for name, count in counts.items():
        if name[0] == "event" and count:
            yield _times(name[1], count)
        elif name[0] == "loops" and count:
            trips = counts["trips", name[1]]
            yield replace(name[1], elements=trips, active=trips)
        elif name[0] == "lanes" and count:
            _, operator, dtype, result = name
            lanes.append(
                Event("elementwise", operator, dtype=dtype, result=result, elements=count, active=count)
            )
        elif name[0] == "different" and count:
            _, tensor, direction = name
            touched = counts["elements", tensor, direction]
            footprints.append(Event("footprint", direction, tensor, elements=touched, active=count))
    yield from sorted(lanes, key=lambda event: (event.operator, event.dtype, event.result))
    yield from sorted(footprints, key=lambda event: (event.tensor, event.operator))


def _times(event: Event, count: int) -> Event:
    """``count`` equal events; thousands of classes would feel the cost of ``dataclasses.replace``."""
    return Event(
        event.kind,
        event.operator,
        event.tensor,
        event.dtype,
        event.result,
        event.line,
        event.trip,
        event.axis,
        count,
        event.elements,
        event.active,
        event.shape,
        event.origin,
    )
