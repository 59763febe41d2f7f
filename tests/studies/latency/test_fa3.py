"""The rebuilt kernel of published attention tables: tiles visited, splits, blocks, checked by brute force."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.arch.machine import load_machine
from dse.errors import ConfigError
from dse.studies.latency.kernels import alternatives
from dse.studies.latency.kernels.fa3 import plan
from dse.studies.latency.kernels.paged import Shape, static_parts, tiles_visited
from dse.studies.latency.kernels.runs import segments

SHAPES = st.builds(
    Shape,
    batch=st.integers(1, 3),
    kv_heads=st.integers(1, 4),
    group=st.integers(1, 8),
    queries=st.integers(2, 40),
    keys=st.integers(40, 60),
    depth=st.sampled_from([64, 128, 256]),
    window=st.sampled_from([0, 0, 5, 16]),
)


@settings(max_examples=50)
@given(SHAPES, st.sampled_from([4, 8, 16]), st.sampled_from([4, 8, 16]))
def test_visited_tiles_are_those_that_hold_a_visible_pair(shape: Shape, rows: int, cols: int) -> None:
    found = tiles_visited(shape, rows, cols, causal=True)
    offset = shape.keys - shape.queries
    for block, visited in enumerate(found):
        packed = range(block * rows, min((block + 1) * rows, shape.rows))
        seen = set()
        for row in packed:
            last = row // shape.group + offset
            first = max(last - shape.window, 0) if shape.window else 0
            seen |= {key // cols for key in range(first, last + 1)}
        assert visited == max(seen) - min(seen) + 1 == len(seen)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_segments_hold_every_block(tiles: list[int]) -> None:
    found = [
        int(first + i * step)
        for first, step, classes, each in segments(np.array(tiles))
        for i in range(int(classes))
        for _ in range(int(each))
    ]
    assert sorted(found) == sorted(tile for tile in tiles if tile)


@settings(max_examples=60)
@given(SHAPES, st.sampled_from(["sm90", "sm80"]))
def test_parts_of_a_row_tile_cover_its_tiles(shape: Shape, target: str) -> None:
    found = plan(shape, target, 132)
    whole = tiles_visited(shape, found.tile_rows, found.tile_keys, causal=True).sum()
    parts = sum(each * (n * first + step * n * (n - 1) / 2) for first, step, n, each in found.tiles)
    assert parts == whole
    assert found.split or found.parts == 1


def test_the_split_rule_on_worked_cases() -> None:
    # 33 parts of 8 row tiles fill two waves of 132 SMs; 15 parts fill 91% of one, 14 only 84.8%.
    assert static_parts(8, 132, 64) == 15
    assert static_parts(106, 132, 64) == 1
    assert static_parts(8, 132, 4) == 1
    decode = plan(Shape(1, 8, 4, 1, 4096, 128, 0), "sm90", 132)
    assert (decode.tile_rows, decode.tile_keys, decode.parts) == (64, 128, 11)
    assert plan(Shape(64, 8, 4, 1, 4096, 128, 0), "sm90", 132).parts == 1
    assert plan(Shape(1, 8, 1, 512, 512, 128, 0), "sm80", 108).split


def test_launches_hold_the_whole_work() -> None:
    rows = pd.DataFrame(
        {"batch_size": ["2", "1"], "num_heads": ["16", "8"], "num_key_value_heads": ["4", "8"], "head_dim": ["128"] * 2,
         "window_size": ["0"] * 2, "seq_len": ["512", "1024"]}
    )  # fmt: skip
    gpu = load_machine("h200")
    (way,) = alternatives("fa3", rows, {"phase": "prefill", "target": "sm90"}, gpu)  # type: ignore[arg-type]
    main = next(launch for launch in way.launches if launch.name == "attention")
    pairs = np.array([2 * 16 * 512 * 513 / 2, 8 * 1024 * 1025 / 2])
    assert main.flops.tolist() == (4.0 * 128 * pairs).tolist()
    done = sum(run.tiles * run.tile.flops["bf16"] for run in main.blocks)
    assert (done >= main.flops).all()
    assert (done <= 1.3 * main.flops).all()
    store = way.launches[0]
    assert store.unique_bytes.tolist() == [2 * 2 * 2 * 4 * 512 * 128 * 2, 2 * 2 * 8 * 1024 * 128 * 2]
    combined = way.launches[-1]
    assert combined.count.tolist() == [0.0, 132.0]  # the second row's keys are split


def test_missing_options_and_columns_are_named() -> None:
    gpu = load_machine("h200")
    with pytest.raises(ConfigError, match="needs the option phase: prefill or decode"):
        alternatives("fa3", pd.DataFrame(), {"target": "sm90"}, gpu)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="needs the columns batch_size, num_heads"):
        alternatives("fa3", pd.DataFrame({"seq_len": ["1"]}), {"phase": "prefill", "target": "sm90"}, gpu)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no library kernel 'fa4'; did you mean 'fa3'"):
        alternatives("fa4", pd.DataFrame(), {}, gpu)  # type: ignore[arg-type]
