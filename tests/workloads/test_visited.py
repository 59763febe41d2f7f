"""Visited tiles of committed traces lie where the kernels' loops put them."""

from __future__ import annotations

import dataclasses

import pytest

from dse.errors import TraceError
from dse.workloads.annotation import load_annotation
from dse.workloads.trace_file import load_trace
from dse.workloads.visited import visited_tiles

CAUSAL = load_trace("flash_forward_causal")
ANNOTATION = load_annotation("flash_forward")
KERNEL = "flash_forward_kernel"


def test_a_causal_program_visits_the_tiles_up_to_its_own() -> None:
    found = visited_tiles(CAUSAL, ANNOTATION, KERNEL, "keys")
    assert len(found) == 64
    for (tile, _, _), corners in found.items():
        assert corners == tuple(range(0, 64 * (tile + 1), 64))


def test_listed_tiles_are_those_of_the_list() -> None:
    """The committed block-sparse trace visits exactly the key blocks that its index list names."""
    trace = load_trace("block_sparse")
    annotation = load_annotation("block_sparse")
    (launch,) = trace.launches
    bounds, columns = launch.tensors["bounds"], launch.tensors["columns"].values
    _, heads, blocks, _ = bounds.shape
    found = visited_tiles(trace, annotation, launch.kernel, "keys")
    assert len(found) == heads * blocks
    for (block, head, _), corners in found.items():
        start, stop = bounds.values[2 * (head * blocks + block) :][:2]
        assert corners == tuple(32 * column for column in columns[start:stop])


def test_what_has_no_place_is_refused() -> None:
    with pytest.raises(TraceError, match="need a trace of level events"):
        visited_tiles(dataclasses.replace(CAUSAL, level="counts"), ANNOTATION, KERNEL, "keys")
    with pytest.raises(TraceError, match="no launch 'flash'"):
        visited_tiles(CAUSAL, ANNOTATION, "flash", "keys")
    with pytest.raises(TraceError, match="has no step 'key'; did you mean 'keys'"):
        visited_tiles(CAUSAL, ANNOTATION, KERNEL, "key")
