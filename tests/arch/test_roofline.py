"""What DRAM timing leaves of a stack's peak, next to command-by-command runs and to published runs."""

from __future__ import annotations

import numpy as np
import pytest

from dse.arch.machine import load_machine
from dse.arch.memories.dram import load_dram
from dse.arch.memories.stream import lock_step_share, pins_share
from dse.arch.roofline import Roofline


def share(name: str) -> float:
    machine = load_machine(name)
    assert isinstance(machine, Roofline)
    return float(machine.sustained_memory[0])


def test_shares_follow_from_the_timing() -> None:
    dram = load_dram("hbm3_5200")
    # 32 columns of 2 cycles, or 2 x 34 commands; rows turn in 44 cycles; refresh takes 585 and opens 32 banks again.
    pins = 2048 / (32 * 68 + 49) * (1 - (44 + 585 + 69) / 5070)
    assert pins_share(dram, 450e-9)[0] == pytest.approx(pins, rel=1e-3)
    lock_step = 128 / (128 + 40) * (1 - (44 + 585) / 5070)
    assert lock_step_share(dram, 450e-9)[0] == pytest.approx(lock_step, rel=1e-3)
    assert pins_share(dram, 350e-9)[0] > pins


def test_machines_with_timing_sustain_their_share() -> None:
    assert share("h100_roofline") == 1.0
    assert share("h100_timed") == pytest.approx(0.788, abs=0.001)
    assert share("logic_pim_timed") == share("bank_pim_timed") == pytest.approx(0.663, abs=0.001)


def test_energy_and_peaks_are_the_same_with_and_without_timing() -> None:
    plain, timed = load_machine("h100_roofline"), load_machine("h100_timed")
    assert isinstance(plain, Roofline)
    assert isinstance(timed, Roofline)
    for name in ("peak_flop_per_s", "byte_per_s", "access_j_per_byte", "activate_j", "mac_j"):
        assert np.array_equal(getattr(plain, name), getattr(timed, name))
