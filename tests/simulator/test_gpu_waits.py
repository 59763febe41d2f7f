"""What blocks wait for, what the cache keeps of a sequence, what launches cost where one number is calibrated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dse.arch.calibration.constants import Calibration
from dse.arch.gpu import Gpu
from dse.arch.machine import load_machine
from dse.simulator.gpu.law import predict
from dse.simulator.gpu.traffic import kept
from dse.workloads.launches import NOTHING, ONCE, Blocks, Demand, Launch, Resources, Traffic


def gpu() -> Gpu:
    found = load_machine("h200")
    assert isinstance(found, Gpu)
    return replace(found, calibration=Calibration())


def launch(blocks: float, bytes_moved: float = 0.0, steps: float = 1.0, trips: float = 2.0) -> Launch:
    """Equal blocks of some tensor work, alone on their SM."""
    tile = Demand({"bf16": np.full(1, 4096.0 * 1000.0)})  # 1,000 cycles of an SM
    tensors = {"T": Traffic(np.full(1, bytes_moved), np.full(1, bytes_moved))} if bytes_moved else {}
    runs = (Blocks(np.full(1, steps), NOTHING, ONCE, np.full(1, blocks), tile),)
    trip = np.full(1, trips)
    return Launch("one", "other", runs, tensors, Resources(co_resident=ONCE), round_trips=trip, flops=NOTHING)


def test_blocks_wait_for_their_round_trips_one_after_another() -> None:
    machine = gpu()
    known = Calibration().replaced({"round_trip": 1e-6})
    trip = 1e-6 * float(machine.clock_hz[0])
    for waves in (1, 2, 5):
        cycles = predict((launch(132.0 * waves),), machine, known).cycles[0]
        assert cycles == pytest.approx(waves * (1000.0 + 2.0 * trip))
    free = predict((launch(132.0, trips=0.0),), machine, known).cycles[0]
    assert free == pytest.approx(1000.0)


def test_transfers_do_not_hide_what_blocks_wait_for() -> None:
    machine = gpu()
    known = Calibration().replaced({"round_trip": 1e-6})
    moved = 4.8e12 * 100e-6  # 100 us of the memory
    for waves in (1.0, 3.0):
        seconds = predict((launch(132.0 * waves, moved),), machine, known).seconds[0]
        assert seconds == pytest.approx(100e-6 + waves * 2e-6, rel=1e-6)


def test_start_trips_are_paid_once_and_every_launch_costs_the_same_unless_a_gap_is_named() -> None:
    machine = gpu()
    first = replace(launch(1.0), start_trips=np.full(1, 3.0), round_trips=NOTHING)
    work = 1000.0 / float(machine.clock_hz[0])
    known = Calibration().replaced({"launch": 2e-6, "round_trip": 1e-6})
    assert predict((first,), machine, known).seconds[0] == pytest.approx(5e-6 + work)
    assert predict((first, launch(1.0, trips=0.0)), machine, known).seconds[0] == pytest.approx(
        7e-6 + 2 * work
    )
    named = known.replaced({"gap": 5e-7})
    assert predict((first, launch(1.0, trips=0.0)), machine, named).seconds[0] == pytest.approx(
        2e-6 + 3e-6 + 5e-7 + 2 * work
    )


def test_the_cache_keeps_a_sequence_whole_or_not_at_all() -> None:
    machine = gpu()
    size = float(machine.l2_bytes[0])
    part = launch(132.0, size / 2)
    assert kept((part,), machine).tolist() == [True]
    assert kept((part, part), machine).tolist() == [True]  # the same tensor twice
    other = replace(part, tensors={"U": Traffic(np.full(1, size / 2 + 1.0), np.full(1, size / 2 + 1.0))})
    assert kept((part, other), machine).tolist() == [False]
    cold, warm = (predict((part,), machine, Calibration(), warm=state) for state in (False, True))
    assert cold.dram_bytes[0] == pytest.approx(size / 2)
    assert warm.dram_bytes[0] == 0.0
    both = predict((part, other), machine, Calibration(), warm=True)
    assert both.dram_bytes[0] == pytest.approx(size + 1.0)
    mixed = predict((part,), machine, Calibration(), warm=np.array([True, False]))
    assert mixed.dram_bytes.tolist() == pytest.approx([0.0, size / 2])
