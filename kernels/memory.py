"""Which tensor, which tile and which new elements an array of addresses touches.

Modelled: dense and strided tensor arguments, tiles of any shape (boxes, gathers, masked edges), elements
touched for the first time by a program and by the launch. Not modelled: arguments that share memory, which
are refused.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from dse.errors import TraceError
from dse.workloads.trace import TracedTensor

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from dse.workloads.trace import Coordinates

    Offsets: TypeAlias = npt.NDArray[np.int64]
    Addresses: TypeAlias = npt.NDArray[np.uint64]
    Mask: TypeAlias = npt.NDArray[np.bool_]

# Wide integer tensors up to this many elements keep their values: lengths and index lists; int8 is data.
KEPT_VALUES = 65_536
_STEERING = ("int32", "int64")
_SHORT_NAMES = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "float64": "fp64"}


@dataclass(frozen=True, slots=True)
class Access:
    """One access: the box around its active elements, and how many the program had not touched before."""

    tensor: str = ""
    corner: Coordinates = ()
    extent: Coordinates = ()
    active: int = 0
    new: int = 0


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Offsets of an access relative to its first element; the same ones elsewhere are the same box, moved."""

    relative: Offsets
    distinct: Offsets
    contiguous: bool
    lead: Coordinates
    extent: Coordinates


@dataclass(slots=True)
class _Touched:
    """Number of the program that last touched each element (0 never), and how many elements ever were."""

    last: npt.NDArray[np.int32]
    unique: int = 0


@dataclass(slots=True)
class Argument:
    """A tensor argument: its place in memory, its layout in elements, and what has been touched of it.

    ``span`` is the number of elements from the first to the last one, gaps included; ``end`` the address
    behind it.
    """

    name: str
    address: int
    dtype: str
    item_bytes: int
    shape: Coordinates
    strides: Coordinates
    values: Coordinates = ()
    span: int = field(init=False)
    end: int = field(init=False)
    _order: tuple[int, ...] = field(init=False)
    _touched: dict[str, _Touched] = field(default_factory=dict)
    _patterns: dict[Coordinates, _Pattern] = field(default_factory=dict)

    def __post_init__(self) -> None:
        reach = ((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        self.span = 1 + sum(reach)
        self.end = self.address + self.span * self.item_bytes
        moving = [axis for axis, size in enumerate(self.shape) if size > 1 and self.strides[axis]]
        self._order = tuple(sorted(moving, key=lambda axis: -self.strides[axis]))

    def access(self, kind: str, offsets: Offsets, lanes: Coordinates, program: int) -> Access:
        """Box of the elements at ``offsets`` (at least one); ``program`` touches them unless it is 0.

        Raises
        ------
        TraceError
            If an element lies outside the tensor or in a gap between its rows.
        """
        if int(offsets.min()) < 0 or int(offsets.max()) >= self.span:
            raise TraceError(f"an access to tensor '{self.name}' reaches outside of it; check its mask")
        first = int(offsets[0])
        pattern, corner = self._place(lanes, offsets, first)
        new = self._touch(kind, first, pattern, program) if program else 0
        return Access(self.name, corner, pattern.extent, offsets.size, new)

    def traced(self) -> TracedTensor:
        """What the trace keeps of this argument."""
        unique = {kind: touched.unique * self.item_bytes for kind, touched in self._touched.items()}
        return TracedTensor(
            dtype=self.dtype,
            item_bytes=self.item_bytes,
            shape=self.shape,
            strides=self.strides,
            unique_read_bytes=unique.get("load", 0),
            unique_written_bytes=unique.get("store", 0),
            values=self.values,
        )

    def _place(self, lanes: Coordinates, offsets: Offsets, first: int) -> tuple[_Pattern, Coordinates]:
        """Pattern of an access and the corner of its box; patterns seen before only need to be moved."""
        relative = offsets - first
        key = (*lanes, offsets.size)
        known = self._patterns.get(key)
        if known is not None and np.array_equal(known.relative, relative):
            start = self._start(first)
            corner = tuple(at - lead for at, lead in zip(start, known.lead, strict=True))
            ends = (at + size for at, size in zip(corner, known.extent, strict=True))
            if min(corner) >= 0 and all(end <= size for end, size in zip(ends, self.shape, strict=True)):
                return known, corner
        axes = self._coordinates(offsets)
        corner = tuple(int(axis.min()) for axis in axes)
        distinct = np.unique(relative)
        pattern = _Pattern(
            relative=relative,
            distinct=distinct,
            contiguous=int(distinct[-1] - distinct[0]) + 1 == distinct.size,
            lead=tuple(int(axis[0]) - low for axis, low in zip(axes, corner, strict=True)),
            extent=tuple(int(axis.max()) - low + 1 for axis, low in zip(axes, corner, strict=True)),
        )
        self._patterns[key] = pattern
        return pattern, corner

    def _start(self, offset: int) -> list[int]:
        """Coordinates of one element offset of a known pattern."""
        found = [0] * len(self.shape)
        for axis in self._order:
            found[axis], offset = divmod(offset, self.strides[axis])
        if offset:
            raise self._in_gap()
        return found

    def _coordinates(self, offsets: Offsets) -> list[Offsets]:
        """Coordinates of element offsets, one array per dimension."""
        found = [np.zeros_like(offsets) for _ in self.shape]
        for axis in self._order:
            found[axis], offsets = np.divmod(offsets, self.strides[axis])
        outside = any(int(axis.max()) >= size for axis, size in zip(found, self.shape, strict=True))
        if outside or bool(offsets.any()):
            raise self._in_gap()
        return found

    def _in_gap(self) -> TraceError:
        return TraceError(f"an access to tensor '{self.name}' falls between its elements")

    def _touch(self, kind: str, first: int, pattern: _Pattern, program: int) -> int:
        """Mark the elements; the number not touched by this program before."""
        touched = self._touched.get(kind)
        if touched is None:
            # Zeros are mapped lazily by the system, so untouched parts of large tensors cost nothing.
            touched = self._touched[kind] = _Touched(np.zeros(self.span, dtype=np.int32))
        low = first + int(pattern.distinct[0])
        where = slice(low, low + pattern.distinct.size) if pattern.contiguous else pattern.distinct + first
        before = touched.last[where]
        new = int(np.count_nonzero(before != program))
        if new:
            touched.unique += int(np.count_nonzero(before == 0))
            touched.last[where] = program
        return new


def tensor_argument(name: str, tensor: Any) -> Argument:  # noqa: ANN401 - a torch tensor
    """Describe a torch tensor on the CPU."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    steering = dtype in _STEERING and tensor.numel() <= KEPT_VALUES
    return Argument(
        name=name,
        address=tensor.data_ptr(),
        dtype=_SHORT_NAMES.get(dtype, dtype),
        item_bytes=tensor.element_size(),
        shape=tuple(tensor.shape) or (1,),
        strides=tuple(tensor.stride()) or (1,),
        values=tuple(int(value) for value in tensor.flatten().tolist()) if steering else (),
    )


class Memory:
    """The tensor arguments of one launch, found by address."""

    def __init__(self, arguments: Iterable[Argument]) -> None:
        self.arguments = sorted(arguments, key=lambda item: item.address)
        self._starts = [item.address for item in self.arguments]
        for below, above in zip(self.arguments, self.arguments[1:], strict=False):
            if below.end > above.address:
                raise TraceError(
                    f"arguments '{below.name}' and '{above.name}' share memory, so accesses to them "
                    "cannot be told apart; give each its own tensor"
                )

    def access(self, kind: str, addresses: Addresses, mask: Mask | np.bool_, program: int) -> Access:
        """What a ``load`` or ``store`` touches; an access without active element has no tensor.

        Raises
        ------
        TraceError
            If an active element lies outside every tensor argument.
        """
        flat = addresses.reshape(-1)
        if not mask.all():
            # A mask combined with a scalar condition arrives as integers, which would index instead.
            flat = flat[np.broadcast_to(mask, addresses.shape).reshape(-1).astype(np.bool_, copy=False)]
        if not flat.size:
            return Access()
        place = bisect.bisect_right(self._starts, int(flat[0])) - 1
        if place < 0 or int(flat[0]) >= self.arguments[place].end:
            raise TraceError("an access lies outside every tensor argument; check its mask")
        item = self.arguments[place]
        offsets = (flat.astype(np.int64) - item.address) // item.item_bytes
        return item.access(kind, offsets, addresses.shape, program)
