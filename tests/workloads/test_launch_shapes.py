"""Launches by shape: tiles as a kernel counts them, work and bytes in closed form, splits by the public rule."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from dse.spec import shipped
from dse.workloads.launch_shapes import attention, decode, gemm, linear_attention, splits_to_fill
from dse.workloads.traced import load_traced

if TYPE_CHECKING:
    from dse.workloads.launches import Launch

SIZES = [16, 32, 64, 128]
one_head = partial(attention, batch=1, heads=1, kv_heads=1, depth=64)


def tiles_of(launch: Launch) -> list[float]:
    """Tiles that each block visits."""
    found: list[float] = []
    for run in launch.blocks:
        for number in range(int(run.classes[0])):
            found += [float(run.first[0] + number * run.step[0])] * int(run.each[0])
    return sorted(found)


@settings(max_examples=300)
@given(
    st.integers(1, 3000),
    st.integers(0, 500),
    st.sampled_from([16, 32, 64, 128]),
    st.sampled_from([16, 32, 64, 128]),
)
def test_causal_blocks_visit_the_tiles_their_rows_see(rows: int, more: int, tall: int, wide: int) -> None:
    keys = rows + more
    launch = one_head(queries=rows, keys=keys, tile_queries=tall, tile_keys=wide)
    blocks = range(math.ceil(rows / tall))
    expected = sorted(math.ceil(min(more + (i + 1) * tall, keys) / wide) for i in blocks)
    assert tiles_of(launch) == expected
    assert sum(float(run.tiles[0]) for run in launch.blocks) == sum(expected)
    assert launch.count[0] == len(expected)


@given(st.integers(64, 4000), st.integers(1, 4000))
@example(2945, 2818)
def test_a_window_leaves_the_pairs_of_its_rows(rows: int, window: int) -> None:
    launch = one_head(queries=rows, keys=rows, window=window)
    pairs = sum(min(row + 1, window) for row in range(rows))
    assert launch.flops[0] == 2 * pairs * 128
    everything = one_head(queries=rows, keys=rows)
    assert sum(tiles_of(launch)) <= sum(tiles_of(everything)) + len(tiles_of(launch))
    assert max(tiles_of(launch)) <= math.ceil((128 + window - 1) / 128)


@pytest.mark.parametrize("name", ["flash_forward", "flash_forward_causal"])
def test_a_description_agrees_with_the_trace_of_its_kernel(name: str) -> None:
    traced = load_traced(shipped("workloads/traces", ".parquet")[name]).launches[0]
    told = attention(batch=1, heads=4, kv_heads=4, queries=1024, keys=1024, depth=64, precision="fp16",
                     causal=name.endswith("causal"), tile_queries=64, tile_keys=64)  # fmt: skip
    assert tiles_of(told) == tiles_of(traced)
    assert told.flops[0] == traced.flops[0]

    def total(launch: Launch, what: str) -> float:
        found = 0.0
        for run in launch.blocks:
            for demand, times in ((run.tile, run.tiles), (run.once, run.count)):
                value = sum(demand.flops.values()) if what == "flops" else getattr(demand, what)
                found += float(np.sum(value * times))
        return found

    assert total(told, "flops") == total(traced, "flops")
    assert total(told, "exps") == total(traced, "exps")
    assert total(told, "read_bytes") == total(traced, "read_bytes")
    assert total(told, "fp32") == pytest.approx(total(traced, "fp32"), rel=0.05)
    assert total(told, "shared_bytes") == pytest.approx(total(traced, "shared_bytes"))
    moved = {name.partition(" ")[0]: tensor for name, tensor in traced.tensors.items()}
    for tensor, traffic in told.tensors.items():
        assert traffic.unique[0] == moved[tensor].unique[0], tensor
        assert traffic.total[0] == moved[tensor].total[0], tensor


@given(st.integers(1, 300), st.integers(1, 200), st.integers(1, 40))
def test_splits_share_all_tiles(heads: int, tiles: int, splits: int) -> None:
    assume(splits <= tiles)
    main, combine = decode(batch=1, heads=heads, kv_heads=heads, keys=tiles * 128, depth=64, splits=splits)
    assert sum(tiles_of(main)) == tiles * heads
    assert main.count[0] == heads * splits
    assert combine.count[0] == (heads if splits > 1 else 0)


def by_search(blocks: int, tiles: int, sms: int) -> int:
    """The public rule, written as it is told: a loop over numbers of splits."""
    if blocks >= 0.8 * sms or tiles <= 4:
        return 1
    best, filled = 0.0, []
    for splits in range(1, min(128, sms, tiles) + 1):
        waves = blocks * splits / sms
        filled.append(waves / math.ceil(waves))
        best = max(best, filled[-1])
    return next(splits for splits, share in enumerate(filled, start=1) if share >= 0.85 * best)


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([30, 80, 108, 132]))
def test_splits_follow_the_public_rule(blocks: int, tiles: int, sms: int) -> None:
    assert splits_to_fill(blocks, tiles, sms)[0] == by_search(blocks, tiles, sms)
    several = splits_to_fill(np.array([blocks, 7.0]), np.array([tiles, 100.0]), sms)
    assert several.tolist() == [by_search(blocks, tiles, sms), by_search(7, 100, sms)]


def test_a_product_reads_its_operands_once_for_each_tile_across() -> None:
    found = gemm(m=512, n=1024, k=256, tile_m=128, tile_n=256)
    assert found.count[0] == 16
    assert found.flops[0] == 2 * 512 * 1024 * 256
    assert found.tensors["A"].total[0] == 4 * found.tensors["A"].unique[0] == 4 * 512 * 256 * 2
    assert found.tensors["W"].total[0] == 4 * found.tensors["W"].unique[0]
    assert float(found.blocks[0].tiles[0] * found.blocks[0].tile.read_bytes[0]) == sum(
        float(found.tensors[name].total[0]) for name in "AW"
    )


def test_chunks_follow_one_another() -> None:
    found = linear_attention(batch=2, heads=3, length=1000, chunk=64, depth=64)
    assert found.carried
    assert tiles_of(found) == [16] * 6
