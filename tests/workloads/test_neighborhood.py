"""Tile lists of neighborhoods: element masks spread to the definition, tile counts equal published bounds."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import WorkloadError
from dse.workloads.neighborhood import Neighborhood, TileList, tile_list


def spread(listed: TileList, tokens: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Visible pairs of tokens that a tile list stands for."""
    seen = np.zeros((tokens + 1, tokens + 1), dtype=np.int64)
    _, rows, keys = listed.table.shape
    for tile, (start, masked, stop) in enumerate(listed.bounds):
        for entry in range(start, stop):
            mask = listed.table[listed.masks[entry]] if entry >= masked else np.ones((rows, keys), np.uint8)
            queries = listed.query_order[tile * rows : (tile + 1) * rows]
            places = listed.key_order[listed.tiles[entry] * keys : (listed.tiles[entry] + 1) * keys]
            # Row and column -1 collect what hangs over the end; nothing may be visible there.
            seen[np.ix_(queries, places)] += mask
    assert not seen[-1].any()
    assert not seen[:, -1].any()
    assert seen.max() <= 1
    return seen[:-1, :-1].astype(bool)


@st.composite
def neighborhoods(draw: st.DrawFn) -> tuple[Neighborhood, tuple[int, ...], tuple[int, ...]]:
    axes, window, stride, dilation, rows, keys = [], [], [], [], [], []
    for _ in range(draw(st.integers(1, 3))):
        axes.append(draw(st.integers(1, 9)))
        dilation.append(draw(st.integers(1, axes[-1])))
        window.append(draw(st.integers(1, axes[-1] // dilation[-1])))
        stride.append(draw(st.integers(1, window[-1])))
        rows.append(draw(st.integers(1, 4)))
        keys.append(draw(st.integers(1, 4)))
    mask = Neighborhood(
        tuple(axes),
        tuple(window),
        tuple(stride),
        tuple(dilation),
        causal=draw(st.booleans()),
        sinks=draw(st.integers(0, axes[0])) if len(axes) == 1 else 0,
    )
    return mask, tuple(rows), tuple(keys)


@settings(max_examples=60)
@given(neighborhoods())
def test_a_tile_list_spreads_to_the_product_of_its_axes(
    case: tuple[Neighborhood, tuple[int, ...], tuple[int, ...]],
) -> None:
    mask, rows, keys = case
    wanted = np.ones((1, 1), dtype=bool)
    for axis, length in enumerate(mask.axes):
        wanted = np.kron(wanted, mask.visible(axis, np.arange(length)))
    listed = tile_list(mask, rows, keys)
    np.testing.assert_array_equal(spread(listed, prod(mask.axes)), wanted)
    for start, masked, stop in listed.bounds:
        for part in (listed.tiles[start:masked], listed.tiles[masked:stop]):
            assert (np.diff(part) > 0).all()


@settings(max_examples=40)
@given(st.integers(1, 12), st.data())
def test_every_query_sees_a_full_window_around_it(length: int, data: st.DataObject) -> None:
    """With stride 1: exactly ``window`` keys, next to each other, the query among them, as centred as fits."""
    window = data.draw(st.integers(1, length))
    mask = Neighborhood((length,), (window,), (1,), (1,))
    seen = mask.visible(0, np.arange(length))
    first = seen.argmax(axis=1)
    queries = np.arange(length)
    np.testing.assert_array_equal(first, np.clip(queries - window // 2, 0, length - window))
    np.testing.assert_array_equal(seen.sum(axis=1), window)
    assert seen[queries, queries].all()


def test_causal_windows_end_at_the_query() -> None:
    seen = Neighborhood((7,), (3,), (1,), (1,), causal=True, sinks=1).visible(0, np.arange(7))
    wanted = np.tril(np.ones((7, 7), bool)) & ~np.tril(np.ones((7, 7), bool), -3)
    wanted[:, 0] = True
    np.testing.assert_array_equal(seen, wanted)


def test_a_stride_of_the_window_gives_blocks() -> None:
    listed = tile_list(Neighborhood((64,), (16,), (16,), (1,)), (16,), (16,))
    np.testing.assert_array_equal(listed.tiles, np.arange(4))
    assert listed.masked == 0


# Dense tiles over visited ones, to the digits printed in the GNA paper's analysis of its tile sizes.
VIDEO, IMAGE = (30, 48, 80), (256, 256)
BOUNDS = [
    (IMAGE, (80, 80), (1, 1), (16, 8), (16, 8), 7.51),
    (IMAGE, (80, 80), (16, 16), (16, 8), (16, 8), 10.24),
    (IMAGE, (80, 80), (1, 1), (16, 16), (16, 8), 7.06),
    (VIDEO, (18, 24, 24), (1, 1, 1), (2, 8, 8), (2, 8, 8), 5.44),
    (VIDEO, (18, 24, 24), (16, 8, 8), (2, 8, 8), (2, 8, 8), 11.11),
    (VIDEO, (18, 24, 24), (1, 1, 1), (4, 8, 8), (2, 8, 8), 5.24),
    pytest.param((32768,), (2048,), (1,), (128,), (128,), 15.11, marks=pytest.mark.slow),
    pytest.param((32768,), (2048,), (256,), (128,), (128,), 16.0, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("axes", "window", "stride", "rows", "keys", "bound"), BOUNDS)
def test_tile_bounds_of_neighborhood_attention(
    axes: tuple[int, ...],
    window: tuple[int, ...],
    stride: tuple[int, ...],
    rows: tuple[int, ...],
    keys: tuple[int, ...],
    bound: float,
) -> None:
    listed = tile_list(Neighborhood(axes, window, stride, (1,) * len(axes)), rows, keys)
    dense = prod(-(-size // box) for sizes in (rows, keys) for size, box in zip(axes, sizes, strict=True))
    assert round(dense / listed.visited, 2) == bound
    # Tiles never do better than the pairs they hold.
    assert dense / listed.visited <= prod(axes) / prod(window) + 1e-9


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (Neighborhood((8,), (9,), (1,), (1,)), "window 9 x dilation 1 must fit in 8"),
        (Neighborhood((8,), (4,), (5,), (1,)), "stride 5 must lie from 1 to the window, 4"),
        (Neighborhood((8,), (4,), (1,), (3,)), "window 4 x dilation 3 must fit in 8"),
        (Neighborhood((8, 8), (4,), (1, 1), (1, 1)), r"window \(4,\) must have one entry"),
        (Neighborhood((8, 8), (4, 4), (1, 1), (1, 1), sinks=2), "sinks need one axis, not 2"),
        (Neighborhood((2, 2, 2, 2), (1,) * 4, (1,) * 4, (1,) * 4), "4 given, 1 to 3 are possible"),
        (Neighborhood((8,), (4,), (1,), (1,), sinks=9), "sinks 9 must lie from 0 to 8"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask: Neighborhood, message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        tile_list(mask, (4,) * len(mask.axes), (4,) * len(mask.axes))


def test_boxes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(WorkloadError, match=r"key tile \(4, 4\) must have one extent"):
        tile_list(Neighborhood((8,), (4,), (1,), (1,)), (4,), (4, 4))
