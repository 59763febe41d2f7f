"""Every shipped kernel is traced in full at 4,096 keys and lifts; where it can be sampled, the sample is equal."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from dse.kernels.trace_kernel import trace_kernel
from dse.spec import shipped
from dse.workloads.annotation import ROOM, load_annotation
from dse.workloads.cascade_file import load_cascade
from dse.workloads.lift import lift
from dse.workloads.trace import totals

if TYPE_CHECKING:
    from dse.workloads.trace import Event, Launch

pytest.importorskip("torch")
pytest.importorskip("triton")

SEQUENCE = 4096
# One head and large tiles: the cost is that of the interpreter, tile by tile.
GIVEN: dict[str, object] = {
    "sequence": SEQUENCE,
    "heads": 1,
    "kv_heads": 1,
    "causal": True,
    "tile_queries": 128,
    "tile_keys": 128,
    "query_tile": 128,
    "key_tile": 128,
}


def by_events(launch: Launch) -> Counter[frozenset[Event]]:
    """Programs by what they did."""
    found: Counter[frozenset[Event]] = Counter()
    for members in launch.classes:
        found[frozenset(members.events)] += members.multiplicity
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped(ROOM))
def test_long_sequences_trace_in_full_and_lift(name: str) -> None:
    annotation = load_annotation(name)
    given = {key: value for key, value in GIVEN.items() if key in annotation.parameters}
    # A branch belongs to the tile before it, so its trace keeps the order of events and cannot be sampled.
    branched = any(step.inside for note in annotation.launches.values() for step in note.steps.values())
    if branched:
        full = trace_kernel(name, given)
    else:
        sampled = trace_kernel(name, given, level="counts", sample=True)
        full = trace_kernel(name, given, level="counts") if sampled.sampled else sampled
        for one, other in zip(sampled.launches, full.launches, strict=True):
            assert totals(one) == totals(other)
            assert by_events(one) == by_events(other)
    assert not full.sampled
    assert full.max_error is not None
    assert "sequence" not in given or full.parameters["sequence"] == SEQUENCE
    lifted = lift(full, annotation, load_cascade(annotation.cascade))
    assert lifted.useful_flops <= lifted.executed_flops
    dots = any(note.dots for note in annotation.launches.values())
    assert (lifted.executed_flops > 0) == dots
