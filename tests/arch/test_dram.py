"""DRAM devices: organisation, refresh and energies against their public descriptions."""

from __future__ import annotations

import pytest

from dse import spec
from dse.arch.memories.dram import ROOM, File, load_dram
from dse.errors import ConfigError


@pytest.mark.parametrize("name", sorted(spec.shipped(ROOM)))
def test_every_device_loads(name: str) -> None:
    dram = load_dram(name)
    assert dram.timing.ras[0] + dram.timing.rp[0] <= dram.timing.rc[0] + 3.0
    assert dram.timing.rfc[0] < dram.timing.refi[0] / 4.0


def test_hbm3_is_as_published() -> None:
    dram = load_dram("hbm3_5200")
    assert dram.byte_per_s[0] == 665.6e9
    assert dram.capacity_bytes[0] == 16 * 2**30
    assert dram.banks_each[0] * dram.pseudo_channel_count[0] == 1024
    assert dram.row_bytes[0] == 1024
    assert dram.energy.read_j_per_byte[0] == pytest.approx(8 * 3.48e-12)
    assert dram.energy.activate_j[0] / dram.row_bytes[0] / 8 == pytest.approx(0.11e-12, rel=0.01)


@pytest.mark.parametrize(
    ("rate", "cycles"), [(4800, 421), (5200, 456), (5600, 491), (6000, 526), (6400, 560)]
)
def test_refresh_is_350_ns_at_every_rate(rate: int, cycles: int) -> None:
    dram = load_dram(f"hbm3_{rate}")
    assert dram.clock_hz[0] == rate / 4 * 1e6
    assert dram.timing.rfc[0] == cycles
    assert dram.timing.rfc[0] / dram.clock_hz[0] == pytest.approx(350e-9, rel=3e-3)
    assert dram.timing.refi[0] / dram.clock_hz[0] == pytest.approx(3.9e-6)


def test_rates_of_other_devices() -> None:
    assert load_dram("hbm2").byte_per_s[0] == 256e9
    assert load_dram("hbm2").capacity_bytes[0] == 8 * 2**30
    assert load_dram("gddr6_aim").byte_per_s[0] == 32 * 32e9


def test_nonsense_is_refused() -> None:
    values = spec.load("hbm3_5200", File, ROOM).model_dump(by_alias=True, exclude_unset=True)
    text = {"refi": "400 cycles", "ccd_l": "1 cycle"}
    for key, value in text.items():
        timing = {name: f"{number:g} cycles" for name, number in values["timing"].items()} | {key: value}
        changed = {
            "title": "x",
            "source": "x",
            "clock": "1 GHz",
            "timing": timing,
            "organisation": {**values["organisation"], "access": "32 B"},
        }
        with pytest.raises(ConfigError, match=r"refi must exceed|cannot be faster alone"):
            spec.checked(changed, File, "x")
