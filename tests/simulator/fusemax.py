"""FuseMax's tile, built by hand: the example whose cycles are known from an independent list scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.simulator.program import Action, Body, Edge, Hold, Loop, Program, Step, Unit

if TYPE_CHECKING:
    from dse.simulator.arrays import Values

REDUCTION = 256.0
EDGES = (
    *(Edge(s, t) for s, t in (("QK", "LM"), ("LM", "RM"), ("RM", "SLN"), ("SLN", "SLD"), ("SLN", "SLNV"))),
    *(Edge(s, t) for s, t in (("RM", "PRM"), ("PRM", "SPD"), ("PRM", "SPNV"), ("SPD", "RD"), ("SLD", "RD"))),
    *(Edge(s, t) for s, t in (("SPNV", "RNV"), ("SLNV", "RNV"))),
    *(Edge(s, t, 1.0) for s, t in (("RM", "RM"), ("RM", "PRM"), ("RD", "SPD"), ("RNV", "SPNV"))),
)


def steps(e: Values, f: Values, mac_joules: Values = 1.0) -> tuple[Step, ...]:
    def step(name: str, unit: str, busy: Values, latency: float = 0.0) -> Step:
        return Step(name, unit, busy, latency, (Action(unit, name, name, "mac", busy, 0.0, mac_joules),))

    return (
        step("QK", "2D", e),
        step("LM", "2D", 1.0, REDUCTION),
        step("RM", "1D", 1.0),
        step("SLN", "2D", 7.0),
        step("SLD", "2D", 1.0, REDUCTION),
        step("SLNV", "2D", f, REDUCTION),
        step("PRM", "1D", 7.0),
        step("SPD", "1D", 1.0),
        step("RD", "1D", 1.0),
        step("SPNV", "1D", f),
        step("RNV", "1D", f),
    )


def units(*more: str) -> dict[str, Unit]:
    return {name: Unit(name) for name in ("2D", "1D", *more)}


def tile(e: Values = 64.0, f: Values = 64.0, window: Values = 6.0, count: Values = 256.0) -> Program:
    """The tile of 256 x 256 scores, ``count`` times, ``window`` of them holding registers at a time."""
    loop = Loop("tiles", count, Body("tile", steps(e, f), EDGES), (Hold("registers", "QK", "SLNV", window),))
    return Program(loop, units(), 940e6)


def with_memory(
    e: Values, f: Values, window: Values, count: Values, dram: Values, mac_joules: Values = 17e-12
) -> Program:
    """The same with loads of K and V from DRAM, two tiles ahead, and a division in every eighth tile."""
    moved = tuple(Action("dram", "QK", name, "read", 256.0, 32768.0, 1e-6) for name in ("K", "V"))
    memory = (
        Step("LK", "dram", dram, 100.0, moved[:1]),
        Step("LV", "dram", dram, 100.0, moved[1:]),
        Step("AV", "1D", f, 0.0, (Action("1D", "AV", "AV", "div", f, 0.0, 1e-12),), every=8.0),
    )
    edges = (*EDGES, Edge("LK", "QK"), Edge("LV", "SLNV"), Edge("RNV", "AV"))
    holds = (
        Hold("registers", "QK", "SLNV", window),
        Hold("K", "LK", "QK", 2.0),
        Hold("V", "LV", "SLNV", 2.0),
    )
    body = Body("tile", (*memory[:2], *steps(e, f, mac_joules), memory[2]), edges)
    return Program(Loop("tiles", count, body, holds), units("dram"), 940e6)
