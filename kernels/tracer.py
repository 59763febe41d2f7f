"""Records what interpreted kernels do as program classes: the observer behind every trace.

Modelled: all programs of the grid, at one of three levels. ``events`` keeps the order of memory accesses,
dots, exponentials, selections, reductions and loops, ``counts`` merges equal ones; elementwise operations are
summed per program at both. ``values`` keeps tiles of scores as well. Not modelled: sampling, see ``sampler``.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.errors import TraceError
from dse.kernels.memory import Access, Memory, tensor_argument
from dse.kernels.observer import Observer
from dse.workloads.trace import LEVELS, Event, Launch, ProgramClass
from dse.workloads.values import CapturedProgram

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import FrameType

    import numpy.typing as npt

    from dse.kernels.observer import Grid, Handle
    from dse.workloads.trace import Coordinates, Value

EXPONENTIALS = ("exp", "exp2")


@dataclass(slots=True)
class _Program:
    """What the running program has done so far."""

    place: Grid
    number: int
    events: list[Event] = field(default_factory=list)
    elementwise: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    anchors: dict[str, Coordinates] = field(default_factory=dict)
    touched: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    trips: list[int] = field(default_factory=list)
    corner: int = 0
    corners: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    tiles: list[npt.NDArray[Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Capture:
    """Which tiles are scores: what goes into ``operator`` with the shape that two launch arguments give.

    ``loads`` is the argument whose tiles say where along the keys (its dimension ``axis``) a visit is,
    ``kept`` the one that is loaded only for tiles whose values are used.
    """

    operator: str
    shape: tuple[str, str]
    loads: str = ""
    axis: int = 0
    kept: str = ""


@dataclass(slots=True)
class _Class:
    """Programs seen so far with the same events."""

    places: list[Grid] = field(default_factory=list)
    anchors: dict[str, list[Coordinates]] = field(default_factory=dict)


class Tracer(Observer):
    """Collects launches in ``launches``; use it with ``dse.kernels.interpreter.session``.

    ``captures`` gives what to keep of each launch of a kernel function, in order.

    Raises
    ------
    TraceError
        From within the launch: an access outside the tensor arguments, arguments that share memory, or bf16
        arithmetic.
    """

    def __init__(
        self, level: str = "events", captures: Mapping[str, Sequence[Capture | None]] | None = None
    ) -> None:
        if level not in LEVELS:
            raise TraceError(f"trace level '{level}' is none of {', '.join(LEVELS)}")
        self.level = level
        self.launches: list[Launch] = []
        self.configurations: dict[str, str] = {}
        self.captured: list[tuple[CapturedProgram, ...]] = []
        self._captures = captures or {}
        self._capture: Capture | None = None
        self._scores: Coordinates = ()
        self._seen: list[CapturedProgram] = []
        self._kernel = ""
        self._file = ""
        self._grid: Grid = (1, 1, 1)
        self._arguments: dict[str, Value] = {}
        self._memory = Memory(())
        self._program = _Program((0, 0, 0), 0)
        self._classes: dict[tuple[Event, ...], _Class] = {}

    def begin_launch(self, kernel: str, file: str, arguments: Mapping[str, object], grid: Grid) -> None:
        """Note the arguments; tensors are told apart by their addresses from here on."""
        self._kernel, self._file, self._grid = kernel, file, grid
        self._program = _Program((0, 0, 0), 0)
        self._classes = {}
        self._arguments, tensors = {}, []
        for name, value in arguments.items():
            tensor = getattr(value, "base", value)
            if hasattr(tensor, "data_ptr"):
                tensors.append(tensor_argument(name, tensor))
            else:
                self._arguments[name] = _plain(value)
        self._memory = Memory(tensors)
        own = self._captures.get(kernel, ())
        number = sum(launch.kernel == kernel for launch in self.launches)
        self._capture = own[number] if number < len(own) else None
        self._seen = []
        if self._capture:
            sizes = (name if name.isdigit() else self._arguments.get(name) for name in self._capture.shape)
            self._scores = tuple(int(str(size)) for size in sizes)

    def configure(self, kernel: str, configurations: Sequence[str]) -> int:
        """Take the first configuration, by name."""
        self.configurations[kernel] = configurations[0]
        return 0

    def begin_program(self, place: Grid) -> None:
        """Start with no events."""
        self._program = _Program(place, self._program.number + 1)

    def end_program(self) -> None:
        """File the program under the class of its events."""
        program = self._program
        events = _merged(program.events) if self.level == "counts" else program.events
        key = (*events, *_sums(program))
        members = self._classes.setdefault(key, _Class())
        members.places.append(program.place)
        for tensor, anchor in program.anchors.items():
            members.anchors.setdefault(tensor, []).append(anchor)
        if self._capture:
            seen = CapturedProgram(
                program.place, tuple(program.corners), tuple(program.kept), tuple(program.tiles)
            )
            self._seen.append(seen)

    def end_launch(self) -> None:
        """Close the launch."""
        classes = tuple(
            ProgramClass(
                programs=tuple(members.places),
                multiplicity=len(members.places),
                anchors={tensor: tuple(corners) for tensor, corners in members.anchors.items()},
                events=events,
            )
            for events, members in self._classes.items()
        )
        tensors = {item.name: item.traced() for item in self._memory.arguments}
        tensors = dict(sorted(tensors.items()))
        self.captured.append(tuple(self._seen))
        self.launches.append(Launch(self._kernel, self._grid, self._arguments, tensors, classes))

    def begin_loop(self, count: int) -> Iterable[int]:
        """Enter a loop, all of it."""
        self._program.trips.append(-1)
        return range(count)

    def begin_trip(self, trip: int) -> None:
        """Enter an iteration."""
        self._program.trips[-1] = trip

    def end_loop(self, trips: int) -> None:
        """Leave a loop; the event stands behind those of its iterations."""
        self._program.trips.pop()
        self._add("loop", elements=trips)

    def memory(self, kind: str, pointers: Handle, mask: Handle | None) -> None:
        """A tile read or written; its corner is kept relative to the program's first in that tensor."""
        program = self._program
        lanes = np.True_ if mask is None else mask.data
        for direction in ("load", "store") if kind == "atomic" else (kind,):
            access = self._touch(direction, pointers, lanes)
            if access.tensor:
                new, touched = program.touched.get((access.tensor, direction), (0, 0))
                program.touched[access.tensor, direction] = new + access.new, touched + access.active
        anchor = program.anchors.setdefault(access.tensor, access.corner) if access.tensor else ()
        if self._capture and access.tensor:
            if access.tensor == self._capture.loads:
                program.corner = access.corner[self._capture.axis]
            if access.tensor == self._capture.kept:
                program.kept.append(len(program.tiles) - 1)
        self._add(
            kind,
            dtypes=(_name(pointers.dtype.element_ty),),
            shape=access.extent,
            elements=math.prod(pointers.data.shape),
            active=access.active,
            tensor=access.tensor,
            origin=tuple(at - base for at, base in zip(access.corner, anchor, strict=True)),
        )

    def _touch(self, kind: str, pointers: Handle, lanes: Any) -> Access:  # noqa: ANN401 - a numpy mask
        return self._memory.access(kind, pointers.data, lanes, self._program.number)

    def dot(self, left: Handle, right: Handle, result: Handle) -> None:
        """A matrix product; its lanes are multiply-adds."""
        shape = (*result.data.shape, left.data.shape[-1])
        self._add("dot", "dot", (_name(left.dtype), _name(result.dtype)), shape)

    def select(self, condition: Handle, result: Handle) -> None:
        """A choice; its active lanes took the first operand."""
        elements = result.data.size
        # A condition may be one lane that stands for all.
        active = int(condition.data.sum()) * (elements // condition.data.size)
        self._add("select", "select", (_name(result.dtype),), result.data.shape, active=active)

    def reduction(self, kind: str, operator: str, operand: Handle, axis: int | None) -> None:
        """A reduction or scan of all lanes of its operand."""
        along = -1 if axis is None else axis
        self._keep(operator, operand)
        self._add(kind, operator, (_name(operand.dtype),), operand.data.shape, axis=along)

    def operation(self, operator: str, operand: Handle, result: Handle) -> None:
        """An exponential in order, any other operation summed."""
        dtypes = _name(operand.dtype), _name(result.dtype)
        if operator in EXPONENTIALS:
            self._keep(operator, operand)
            self._add("exp", operator, dtypes, result.data.shape)
        else:
            self._program.elementwise[operator, *dtypes] += result.data.size

    def _keep(self, operator: str, operand: Handle) -> None:
        """Keep a tile of scores; the interpreter never changes an array it has made."""
        if self._capture and operator == self._capture.operator and operand.data.shape == self._scores:
            self._program.tiles.append(operand.data)
            self._program.corners.append(self._program.corner)

    def _add(
        self,
        kind: str,
        operator: str = "",
        dtypes: tuple[str, ...] = ("",),
        shape: tuple[int, ...] = (),
        elements: int | None = None,
        active: int | None = None,
        axis: int = -1,
        tensor: str = "",
        origin: Coordinates = (),
    ) -> None:
        """Append an event at the current line and trip; lanes default to the whole shape, all active."""
        program = self._program
        lanes = math.prod(shape) if elements is None else elements
        program.events.append(
            Event(
                kind=kind,
                operator=operator,
                tensor=tensor,
                dtype=dtypes[0],
                result=dtypes[-1],
                line=self._line(),
                trip=program.trips[-1] if program.trips else -1,
                axis=axis,
                elements=lanes,
                active=lanes if active is None else active,
                shape=tuple(shape),
                origin=origin,
            )
        )

    def _line(self) -> int:
        """Line of the kernel's file that is being interpreted, 0 if none is."""
        frame: FrameType | None = sys._getframe(3)
        while frame is not None and frame.f_code.co_filename != self._file:
            frame = frame.f_back
        return frame.f_lineno if frame is not None else 0


def _merged(events: list[Event]) -> tuple[Event, ...]:
    """Equal events counted, in order of first appearance, without trips and places."""
    counted = Counter(replace(event, trip=-1, origin=()) for event in events)
    return tuple(replace(event, count=count) for event, count in counted.items())


def _sums(program: _Program) -> tuple[Event, ...]:
    """Elementwise operations by operator and type, then what was touched of each tensor."""
    elementwise = [
        Event("elementwise", operator, dtype=dtype, result=result, elements=lanes, active=lanes)
        for (operator, dtype, result), lanes in sorted(program.elementwise.items())
    ]
    footprints = [
        Event("footprint", direction, tensor, elements=lanes, active=new)
        for (tensor, direction), (new, lanes) in sorted(program.touched.items())
    ]
    return (*elementwise, *footprints)


def _name(dtype: Any) -> str:  # noqa: ANN401 - a triton type
    """Short name of a triton type: ``fp16``, ``int32``, ``pointer``."""
    return "pointer" if hasattr(dtype, "element_ty") else str(dtype.name)


def _plain(value: object) -> Value:
    """A launch argument as the trace keeps it."""
    value = getattr(value, "value", value)
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)
