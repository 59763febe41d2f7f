"""Ledger of a kernel launch: operations, bytes at every level of memory, and their energy.

Energies are those of the machine's file; where a calibration knows the energy of a multiply-add and of an off-chip bit,
these stand for everything on the SMs and for the transfers, and idle power is charged for the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ZERO, Array
from dse.simulator.program import Action

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.arch.gpu import Gpu
    from dse.simulator.gpu.law import LaunchTime, Times

BOARD = "board"


def charges(part: LaunchTime, gpu: Gpu) -> Iterator[tuple[str, Action]]:
    """Actions of one launch, with labels."""
    launch = part.launch
    energies = _energies(part, gpu)
    for component, count in (
        ("tensor", part.tensor_flops(gpu) / 2.0),
        ("exp", part.executed("exps")),
        ("fp32", part.executed("fp32") + part.lane_flops(gpu) / 2.0),
    ):
        joules = count * energies[component]
        yield component, Action(component, launch.name, "", "compute", count, ZERO, joules)
    shared = part.executed("shared_bytes")
    yield "shared", Action("shared", launch.name, "", "access", shared, shared, shared * energies["shared"])
    for name, tensor in launch.tensors.items():
        action = "write" if tensor.written else "read"
        moved = part.dram_bytes[name]
        asked = tensor.total
        yield "l2", Action("l2", launch.name, name, action, asked, asked, asked * energies["l2"])
        yield "dram", Action("dram", launch.name, name, action, moved, moved, moved * energies["dram"])


def board_charges(times: Times) -> tuple[Action, ...]:
    """Idle power of the board over the whole time, where it was calibrated."""
    joules = times.idle_w * times.seconds
    if np.all(np.isnan(joules)):
        return ()
    return (Action(BOARD, "", "", "idle", times.seconds, ZERO, joules),)


def _energies(part: LaunchTime, gpu: Gpu) -> dict[str, Array]:
    """Joules of one operation or byte of each component."""
    family = part.launch.family
    product = gpu.calibration.get("tensor_energy", family)
    transfer = gpu.calibration.get("dram_energy", family) * 8.0
    known = ~np.isnan(product) & ~np.isnan(transfer)
    found = {name: np.where(known, 0.0, joules) for name, joules in gpu.joules.items()}
    found["tensor"] = np.where(known, product, gpu.joules["tensor"])
    found["fp32"] = np.where(known & bool(not gpu.tensor_flops), product, found["fp32"])
    found["dram"] = np.where(known, transfer, gpu.joules["dram"])
    return found
