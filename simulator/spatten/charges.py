"""What head rows are charged for: bytes from DRAM, SRAM accesses, multiply-adds and comparisons, by stage.

Energies are the machine file's. The softmax unit's operations are counted among vector operations and cost nothing
here, as no source gives their energy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.simulator.program import Action

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from dse.arch.spatten import SpAtten, Sram
    from dse.simulator.spatten.times import Times
    from dse.workloads.head_rows import HeadRows


@dataclass(frozen=True)
class Charges:
    """Actions of a group of rows at each part of the pipeline."""

    keys: tuple[Action, ...]
    scores: tuple[Action, ...]
    topk: tuple[Action, ...]
    value_fetch: tuple[Action, ...]
    values: tuple[Action, ...]


def charges_of(
    machine: SpAtten, rows: HeadRows, times: Times, members: npt.NDArray[np.int64], *, queries: bool
) -> Charges:
    """Charges of the rows ``members``; with ``queries`` their queries come from DRAM, too."""
    bits, depth = rows.bits, float(rows.depth)
    keys = float((rows.key_bytes * times.opens)[members].sum())
    lsb = float(rows.lsb_bytes[members].sum())
    values = float((rows.value_bytes * times.brings)[members].sum())
    asked = rows.query_bytes * len(members) if queries else 0.0
    once = float(rows.scored[members].sum()) * depth
    again = float((rows.scored * rows.refetch)[members].sum()) * depth
    weighted = float(rows.weighted[members].sum()) * depth
    compares = float(times.compares[members].sum())
    whole = (bits.key + bits.lsb) / 8.0
    scores = (
        _sram(machine.key_sram, "key_sram", "QK", "K", "read", once * bits.key / 8.0 + again * whole),
        _operation("array_qk", "QK", "mac", once + again, float(machine.array_qk.mac_j[0])),
    )
    return Charges(
        keys=(
            *_moved(machine, "QK", "K", keys),
            *_moved(machine, "QK", "K_lsb", lsb),
            *_moved(machine, "QK", "Q", asked),
            _sram(machine.key_sram, "key_sram", "QK", "K", "write", keys + lsb),
        ),
        scores=scores,
        topk=(_operation("topk", "TK", "compare", compares, float(machine.topk.compare_j[0])),)
        if compares
        else (),
        value_fetch=(
            *_moved(machine, "AV", "V", values),
            _sram(machine.value_sram, "value_sram", "AV", "V", "write", values),
        ),
        values=(
            _sram(machine.value_sram, "value_sram", "AV", "V", "read", weighted * bits.value / 8.0),
            _operation("array_pv", "AV", "mac", weighted, float(machine.array_pv.mac_j[0])),
        ),
    )


def _moved(machine: SpAtten, einsum: str, tensor: str, size: float) -> tuple[Action, ...]:
    if not size:
        return ()
    each = float(machine.dram.read_j_per_byte[0])
    pieces = size / float(machine.dram.interleave_bytes[0])
    return (Action("dram", einsum, tensor, "read", pieces, size, size * each),)


def _sram(memory: Sram, name: str, einsum: str, tensor: str, action: str, size: float) -> Action:
    each = float((memory.read_j_per_byte if action == "read" else memory.write_j_per_byte)[0])
    return Action(name, einsum, tensor, action, size, size, size * each)


def _operation(unit: str, einsum: str, action: str, count: float, each: float) -> Action:
    return Action(unit, einsum, "", action, count, 0.0, count * each)
