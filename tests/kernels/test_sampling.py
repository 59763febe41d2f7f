"""A sampled trace equals the full one exactly, or is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.errors import TraceError
from dse.workloads.annotation import load_annotation
from dse.workloads.cascade_file import load_cascade
from dse.workloads.lift import lift
from dse.workloads.trace import Launch, totals
from dse.workloads.trace_file import read_trace, write_trace

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from dse.kernels.observer import Grid
    from dse.workloads.trace import Event

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from dse.kernels.allocate import AllocateOnly  # noqa: E402
from dse.kernels.extrapolate import Grid3, SamplingRefusedError, union_volume  # noqa: E402
from dse.kernels.interpreter import session  # noqa: E402
from dse.kernels.sampler import Sampler  # noqa: E402
from dse.kernels.trace_kernel import trace_kernel  # noqa: E402
from tests.kernels import test_launches as launches  # noqa: E402

ANNOTATION = load_annotation("flash_forward")
CASCADE = load_cascade(ANNOTATION.cascade)
SMALL: dict[str, object] = {"head_dim": 16, "tile_queries": 16, "tile_keys": 16, "heads": 2}
CASES: dict[str, dict[str, object]] = {
    "causal": {"sequence": 320, "kv_heads": 1, "causal": True},
    "ragged edges and two tile sizes": {"sequence": 330, "queries": 250, "causal": True, "tile_keys": 32},
    "long tiles of queries": {"sequence": 200, "causal": True, "tile_queries": 32},
    "groups and sequences": {"sequence": 60, "heads": 8, "kv_heads": 2, "batch": 2, "head_dim": 20},
    "value heads": {"sequence": 60, "heads": 6, "kv_heads": 2, "value_heads": 3, "head_dim": 20},
    "one program": {"sequence": 200, "queries": 1, "heads": 1},
}


def by_events(launch: Launch) -> Counter[frozenset[Event]]:
    """Programs by what they did."""
    found: Counter[frozenset[Event]] = Counter()
    for members in launch.classes:
        found[frozenset(members.events)] += members.multiplicity
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_sampled_trace_equals_the_full_one(case: str) -> None:
    given = SMALL | CASES[case]
    sampled = trace_kernel("flash_forward", given, 0, "counts", sample=True)
    full = trace_kernel("flash_forward", given, 0, "counts")
    assert sampled.sampled
    assert not full.sampled
    one, other = sampled.launches[0], full.launches[0]
    assert totals(one) == totals(other)
    assert by_events(one) == by_events(other)
    assert one.tensors == other.tensors
    assert one.sampling is not None
    lifted = lift(sampled, ANNOTATION, CASCADE)
    assert replace(lift(full, ANNOTATION, CASCADE), trace_hash=lifted.trace_hash) == lifted


@pytest.mark.parametrize("name", ["importance", "mla_decode", "mla_prefill", "split_kv_decode", "unfused"])
def test_other_affine_kernels_sample_exactly(name: str) -> None:
    given = {"sequence": 96, "heads": 2, "kv_heads": 1, "head_dim": 16, "latent_dim": 32, "rope_dim": 16}
    given |= {"tile_queries": 16, "tile_keys": 16, "splits": 2}
    known = load_annotation(name).parameters
    small = {key: value for key, value in given.items() if key in known}
    sampled = trace_kernel(name, small, 0, "counts", sample=True)
    full = trace_kernel(name, small, 0, "counts")
    assert sampled.sampled
    for one, other in zip(sampled.launches, full.launches, strict=True):
        assert totals(one) == totals(other)
        assert by_events(one) == by_events(other)


def test_few_programs_and_iterations_run() -> None:
    given = SMALL | {"sequence": 4096, "heads": 8, "causal": True}
    launch = trace_kernel("flash_forward", given, 0, "counts", sample=True).launches[0]
    assert launch.sampling is not None
    assert launch.sampling.held_out == 6
    assert launch.sampling.fitted + launch.sampling.held_out < 40
    assert launch.sampling.trips < 300
    assert totals(launch).trips == 8 * 256 * 257 // 2


def test_a_sampled_trace_is_written_and_read_back(tmp_path: Path) -> None:
    trace = trace_kernel("flash_forward", SMALL | CASES["causal"], 0, "counts", sample=True)
    write_trace(trace, tmp_path / "trace.parquet")
    assert read_trace(tmp_path / "trace.parquet") == trace


LONG = """
import resource
from dse.kernels.trace_kernel import trace_kernel
from dse.workloads.trace import totals
given = {"sequence": "128K", "heads": 32, "causal": True}
launch = trace_kernel("flash_forward", given, 0, "counts", sample=True).launches[0]
total, tiles = totals(launch), 32 * 2048 * 2049 // 2
whole = 32 * 131072 * 64 * 2
assert launch.sampling.trips <= 1000
assert total.programs == 32 * 2048
assert total.trips == tiles
assert total.dot_flops == {"fp16": tiles * 4 * 64**3}
assert total.exps == {"exp2": tiles * (64 * 64 + 64)}
assert total.read_bytes == {"q": whole, "k": tiles * 64 * 64 * 2, "v": tiles * 64 * 64 * 2}
assert total.unique_read_bytes == {"q": whole, "k": whole, "v": whole}
assert total.unique_written_bytes == {"o": whole, "lse": 32 * 131072 * 4}
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024)
"""


def test_a_long_sequence_takes_seconds_and_no_memory() -> None:
    """128K tokens, 32 heads: the inputs alone would be 1.5 GiB; import included, in processor seconds."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", LONG], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seconds, mebibytes = map(float, done.stdout.split())
    assert seconds < 15
    assert mebibytes < 1024


def test_lengths_in_memory_steer_the_loop_and_are_traced_in_full() -> None:
    given = SMALL | {"sequence": 40, "batch": 2, "heads": 1, "key_lengths": (20, 40)}
    trace = trace_kernel("flash_forward", given, 0, "counts", sample=True)
    assert not trace.sampled
    assert trace == trace_kernel("flash_forward", given, 0, "counts")


def test_what_depends_on_values_is_refused() -> None:
    made = launches.tensors(q=(1, 16, 16), k=(1, 32, 16), v=(1, 32, 16))
    lists = [torch.tensor([0, 1], dtype=torch.int32), torch.tensor([1], dtype=torch.int32)]
    with session(Sampler(True)), pytest.raises(SamplingRefusedError, match="depends on loaded values"):
        launches.listed_kernel[(1, 1)](*made.values(), torch.zeros(1, 16, 16), *lists, 32, 0.0, 16, 16)


def test_a_sample_has_no_order_of_events() -> None:
    with pytest.raises(TraceError, match="a sampled trace has level counts, not events"):
        trace_kernel("flash_forward", {}, 0, "events", sample=True)


def explore(sizes: Grid, number: dict[Hashable, object]) -> Grid3:
    """A grid measured as planned; ``number`` maps names to functions of the place."""
    grid = Grid3(sizes)
    for place in grid.plan():
        grid.add(place, {name: function(*place) for name, function in number.items()})  # type: ignore[operator]
    return grid


@given(st.integers(1, 90), st.integers(1, 12), st.integers(1, 3), st.integers(0, 40), st.integers(1, 4))
def test_piecewise_and_periodic_counts_are_found(x: int, y: int, z: int, window: int, group: int) -> None:
    """Windows (a minimum), shared heads (a quotient), two tile sizes (a quotient) and a ragged last tile."""
    number: dict[Hashable, object] = {
        "window": lambda i, _j, _k: min(i, window),
        "group": lambda _i, j, _k: j // group,
        "tiles": lambda i, _j, k: (i * 3 + 2) // 2 + 5 * k,
        "last": lambda i, _j, _k: int(i == x - 1),
    }
    grid = explore((x, y, z), number)
    for place in np.ndindex(x, y, z):
        assert grid.predicted(place).tolist() == [function(*place) for function in number.values()]  # type: ignore[operator]


def test_axes_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(SamplingRefusedError, match="differs from what sampled programs lead to"):
        explore((20, 20, 1), {"product": lambda i, j, _k: i * j})


boxes = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 3), st.integers(0, 3))


@given(st.lists(boxes, max_size=12))
def test_the_volume_of_a_union_counts_elements_once(found: list[tuple[int, int, int, int]]) -> None:
    field = np.zeros((12, 12), dtype=bool)
    for x, y, width, height in found:
        field[x : x + width, y : y + height] = True
    array = np.array([[[x, y], [x + w, y + h]] for x, y, w, h in found], dtype=np.int64).reshape(-1, 2, 2)
    assert union_volume(array) == int(field.sum())


def test_allocating_fills_nothing_and_keeps_integers() -> None:
    with AllocateOnly():
        made = torch.randn((3, 4), generator=torch.Generator()).to(torch.float16)
        same = torch.zeros_like(made)
        lengths = torch.tensor([3, 1]).to(torch.int32)
        numbers = torch.arange(4) * 2
    assert (made.shape, made.dtype) == ((3, 4), torch.float16)
    assert not made.any()
    assert same.dtype == torch.float16
    assert lengths.tolist() == [3, 1]
    assert numbers.tolist() == [0, 2, 4, 6]
    assert prod(made.stride()) == 4
