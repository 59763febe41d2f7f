"""Command by command: the published runs again, the closed form's witness, and the command streams themselves."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import DseError
from dse.simulator.dram_channel import ACCESS, MOVE, OPEN, READ, REFRESH, SIGNAL, Request
from dse.simulator.pim.attention import cost
from dse.simulator.pim.commands import requests, simulate
from dse.simulator.pim.counts import needed
from dse.simulator.pim.shape import Attention, Shape
from dse.simulator.pim.timeline import Timeline
from tests.simulator.pim.attacc import RUNS, STORED, Run, machine

ONE = np.ones(1)
MACHINES = ("attacc_bank", "attacc_bg", "attacc_buffer", "duplex_pim", "neupims")


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.label)
def test_cycles_of_published_runs(run: Run) -> None:
    """Fifteen of sixteen to the cycle; the buffer die's is four cycles early."""
    assert abs(simulate(run.shape, published=True).cycles - run.cycles) <= 4


@pytest.mark.parametrize("label", ["128-243-2-false", "129-243-2-true", "129-562-1-true", "512-84-2-true"])
def test_stored_cycles_of_the_older_controller(label: str) -> None:
    """Without rows opened ahead of barriers and with one command a cycle the stored cycles come out exactly."""
    run = next(run for run in STORED if run.label == f"attacc_bank-{label}")
    assert simulate(run.shape, published=True).cycles == run.cycles


def test_published_stream_holds_the_commands_of_a_channel() -> None:
    run = next(run for run in RUNS if run.label == "attacc_bank-2048-16-2-true")
    kinds = Counter(request.kind for request in requests(run.shape, published=True))
    assert kinds[ACCESS] * 16 == run.counts["mac"]
    assert kinds[SIGNAL] * 16 == run.counts["sfm"]
    assert kinds[MOVE] * 16 == run.counts["mvgb"] + run.counts["mvsb"] + run.counts["wrgb"]


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(MACHINES),
    st.integers(1, 40),
    st.integers(1, 700),
    st.sampled_from([64, 80, 128]),
    st.sampled_from([1, 2, 8]),
    st.sampled_from([1.0, 2.0]),
)
def test_every_command_of_the_mapping_is_issued(
    name: str, heads: int, keys: int, depth: int, queries: int, word: float
) -> None:
    work = Attention.of(heads, keys, depth, queries=queries, word_bytes=word)
    shape = Shape(work, machine(name), ONE)
    found, counts = simulate(shape, published=False), needed(shape)
    channels = min(heads, 16)
    scale = shape.waves[0] if channels == 16 else 1.0
    own = {kind: count / shape.parts[0] * scale for kind, count in vars(counts).items()}
    assert found.commands[ACCESS] == own["mac"][0]
    assert found.commands[MOVE] == own["wrgb"][0] + own["mvgb"][0] + own["mvsb"][0]
    assert found.commands[OPEN] >= own["act"][0] - 1


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize(("queries", "heads", "keys"), [(1, 16, 512), (1, 40, 640), (8, 16, 512)])
def test_closed_form_is_that_of_the_commands(name: str, queries: int, heads: int, keys: int) -> None:
    shape = Shape(Attention.of(heads, keys, 128, queries=queries), machine(name), ONE)
    closed = Timeline(shape, published=False)
    without_softmax = closed.cycles[0] - closed.softmax[0]
    found = simulate(shape, published=False)
    assert without_softmax == pytest.approx(found.cycles, rel=0.02 if queries == 1 else 0.05)


@pytest.mark.parametrize("name", MACHINES[:3])
@pytest.mark.parametrize("limited", ["true", "false"])
def test_published_closed_form_at_points_nobody_ran(name: str, limited: str) -> None:
    for heads, keys, depth, word in ((33, 200, 96, 2), (16, 500, 160, 1), (20, 1000, 64, 2)):
        work = Attention.of(heads, keys, depth, word_bytes=word)
        own = machine(name, limited)
        found = simulate(Shape(work, own, ONE), published=True)
        assert cost(own, work, accounting="paper").cycles[0] == pytest.approx(found.cycles, rel=0.02)


def test_reads_beside_attention_take_what_it_leaves() -> None:
    own = machine("duplex_pim")
    shape = Shape(Attention.of(16, 2048, 128), own, ONE)
    alone = simulate(shape, published=False)
    reads = [Request(READ, bank, 9000 + row) for row in range(4) for bank in range(32) for _ in range(8)]
    both = simulate(shape, published=False, others=reads)
    assert len(both.reads) == len(reads)
    assert both.cycles > alone.cycles
    assert both.commands[ACCESS] == alone.commands[ACCESS]


def test_without_refresh_there_is_none() -> None:
    shape = Shape(Attention.of(16, 4096, 128), machine("attacc_bank"), ONE)
    still, refreshed = (simulate(shape, published=False, refresh=on) for on in (False, True))
    assert REFRESH not in still.commands
    assert refreshed.commands[REFRESH] >= 1
    assert still.cycles < refreshed.cycles


def test_one_design_point_at_a_time() -> None:
    shape = Shape(Attention.of([1, 2], 64, 64), machine("attacc_bank"), ONE)
    with pytest.raises(DseError, match="one design point"):
        requests(shape, published=True)
