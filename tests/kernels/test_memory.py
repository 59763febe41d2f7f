"""Addresses become tiles of the right tensor; elements count once for a program and once for a launch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.errors import TraceError
from dse.kernels.memory import Access, Argument, Memory

BASE = 1 << 40


def tensor(
    name: str = "x",
    shape: tuple[int, ...] = (8, 16),
    strides: tuple[int, ...] = (16, 1),
    address: int = BASE,
    item_bytes: int = 2,
) -> Argument:
    return Argument(name, address, "fp16", item_bytes, shape, strides)


def addresses(item: Argument, offsets: object) -> np.ndarray:
    return np.asarray(offsets, dtype=np.uint64) * np.uint64(item.item_bytes) + np.uint64(item.address)


def box(item: Argument, rows: range, columns: range) -> np.ndarray:
    row, column = np.meshgrid(np.array(rows), np.array(columns), indexing="ij")
    return addresses(item, row * item.strides[0] + column * item.strides[1])


EVERY = np.True_


def test_a_box_is_found_wherever_it_lies() -> None:
    item = tensor()
    memory = Memory([item])
    first = memory.access("load", box(item, range(2), range(4)), EVERY, 1)
    moved = memory.access("load", box(item, range(5, 7), range(12, 16)), EVERY, 1)
    assert first == Access("x", (0, 0), (2, 4), 8, 8)
    assert moved == Access("x", (5, 12), (2, 4), 8, 8)


def test_a_moved_pattern_that_wraps_around_a_row_is_another_box() -> None:
    item = tensor()
    memory = Memory([item])
    inside = memory.access("load", addresses(item, np.arange(4)), EVERY, 1)
    wrapped = memory.access("load", addresses(item, np.arange(14, 18)), EVERY, 1)
    assert inside.extent == (1, 4)
    assert (wrapped.corner, wrapped.extent) == ((0, 0), (2, 16))


def test_a_mask_of_integers_is_a_mask() -> None:
    """The interpreter gives one where a mask is combined with a scalar condition."""
    item = tensor()
    mask = np.array([1, 0, 1, 0], dtype=np.int8)
    access = Memory([item]).access("load", addresses(item, np.arange(4)), mask, 1)  # type: ignore[arg-type]
    assert (access.extent, access.active) == ((1, 3), 2)


def test_masked_elements_do_not_count() -> None:
    item = tensor()
    memory = Memory([item])
    mask = np.array([[True, True, False], [True, True, False]])
    assert memory.access("load", box(item, range(2), range(14, 17)), mask, 1).active == 4
    assert memory.access("load", box(item, range(2), range(3)), np.zeros((2, 3), bool), 1) == Access()


def test_unique_elements_of_a_program_and_of_a_launch() -> None:
    item = tensor()
    memory = Memory([item])
    tile = box(item, range(2), range(4))
    assert [memory.access("load", tile, EVERY, program).new for program in (1, 1, 2)] == [8, 0, 8]
    assert memory.access("store", tile, EVERY, 2).new == 8
    traced = item.traced()
    assert (traced.unique_read_bytes, traced.unique_written_bytes) == (16, 16)


def test_repeated_elements_of_a_gather_count_once() -> None:
    item = tensor()
    access = Memory([item]).access("load", addresses(item, [3, 3, 40, 3]), EVERY, 1)
    assert (access.active, access.new, access.corner, access.extent) == (4, 2, (0, 3), (3, 6))


def test_tensors_are_told_apart_by_address() -> None:
    left, right = tensor("left"), tensor("right", address=BASE + 8 * 16 * 2)
    memory = Memory([right, left])
    assert memory.access("load", box(left, range(1), range(16)), EVERY, 1).tensor == "left"
    assert memory.access("load", box(right, range(1), range(16)), EVERY, 1).tensor == "right"


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([127, 128], "reaches outside"),
        ([200], "outside every tensor argument"),
        ([-1, 0], "outside every tensor argument"),
    ],
)
def test_accesses_outside_a_tensor_are_errors(offsets: list[int], message: str) -> None:
    item = tensor()
    where = (np.array(offsets) * 2 + BASE).astype(np.uint64)
    with pytest.raises(TraceError, match=message):
        Memory([item]).access("load", where, EVERY, 1)


def test_accesses_in_a_gap_between_elements_are_errors() -> None:
    padded, spread = tensor(shape=(4, 8)), tensor(shape=(4, 8), strides=(32, 2))
    with pytest.raises(TraceError, match="falls between"):
        Memory([padded]).access("load", addresses(padded, [8]), EVERY, 1)
    memory = Memory([spread])
    memory.access("load", addresses(spread, [0, 2]), EVERY, 1)
    with pytest.raises(TraceError, match="falls between"):
        memory.access("load", addresses(spread, [1, 3]), EVERY, 1)


def test_arguments_that_share_memory_are_refused() -> None:
    with pytest.raises(TraceError, match="'x' and 'y' share memory"):
        Memory([tensor("y", address=BASE + 2), tensor("x")])


@given(st.data())
def test_any_box_of_any_layout_is_found_and_counted(data: st.DataObject) -> None:
    """Strided tensors of up to three dimensions in any order, boxes placed anywhere, twice."""
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    order = data.draw(st.permutations(range(len(shape))))
    strides, step = [0] * len(shape), data.draw(st.integers(1, 2))
    for axis in order:
        strides[axis] = step
        step *= shape[axis] + data.draw(st.integers(0, 2))
    item = tensor(shape=shape, strides=tuple(strides))
    memory = Memory([item])
    touched = np.zeros(shape, bool)
    for _ in range(2):
        low = [data.draw(st.integers(0, size - 1)) for size in shape]
        high = [data.draw(st.integers(at + 1, size)) for at, size in zip(low, shape, strict=True)]
        grids = np.meshgrid(*map(np.arange, low, high), indexing="ij")
        offsets = sum(grid * stride for grid, stride in zip(grids, strides, strict=True))
        access = memory.access("load", addresses(item, offsets), EVERY, 1)
        where = tuple(map(slice, low, high))
        assert access.corner == tuple(low)
        assert access.extent == tuple(at - start for at, start in zip(high, low, strict=True))
        assert access.new == np.count_nonzero(~touched[where])
        touched[where] = True
    assert item.traced().unique_read_bytes == 2 * np.count_nonzero(touched)
