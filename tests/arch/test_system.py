"""System and roofline machines: what they read, what they refuse, how links count."""

from __future__ import annotations

import numpy as np
import pytest

from dse.arch.machine import load_machine
from dse.arch.roofline import Roofline
from dse.arch.system import Link, System
from dse.errors import ConfigError

ONE = np.ones(1)


def system(name: str, **changes: str) -> System:
    found = load_machine(name, {key.replace("__", "."): value for key, value in changes.items()})
    assert isinstance(found, System)
    return found


def test_devices_are_machines_of_their_own() -> None:
    duplex = system("duplex", devices__xpu__count="8", devices__pim__count="8")
    pim = duplex.devices["pim"].machine
    assert isinstance(pim, Roofline)
    assert pim.peak_flop_per_s / pim.byte_per_s == pytest.approx(8.0)
    assert duplex.devices["xpu"].count == 8
    names = [name for name, _ in duplex.scaled_resources(2.0)]
    assert names == [
        "devices.xpu.compute", "devices.xpu.memory.bandwidth", "devices.pim.compute",
        "devices.pim.memory.bandwidth", "links.peers.bandwidth",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"devices.xpu.count": "8"}, "needs as many devices"),
        ({"devices.pim.memory": "peers"}, "is xpu or left out"),
        ({"devices.xpu.machine": "h1000"}, "h1000"),
    ],
)
def test_systems_that_do_not_fit_together_are_refused(changes: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_machine("duplex", changes)


def test_an_all_reduce_goes_around_the_ring() -> None:
    link = Link(np.array([450e9]), np.array([0.8e-6]), ONE, np.array([2.0]))
    seconds = link.all_reduce_s(np.array([262144.0]), np.array([4.0]))
    assert seconds[0] == pytest.approx(6 * (0.8e-6 + 65536 / 450e9))
    assert link.all_reduce_s(np.array([262144.0]), ONE)[0] == 0
