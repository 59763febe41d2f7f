"""The pipeline of one group of head rows as a Stream: as the hardware runs it, or in the released conventions.

As the hardware runs it: keys are fetched while earlier rows are computed, as far as the key buffer holds them; scores
start on the first keys and softmax on the first scores; a row whose low-order bits are needed runs through scores and
softmax twice, later rows slip in between and wait behind it; values are fetched when top-k is done, over the same
memory channels, in the order in which both become ready.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.spatten.fetch import latency_cycles
from dse.simulator.spatten.issue import issue_of, reorder_rows
from dse.simulator.stream import Stage, Stream, Wait
from dse.simulator.stream_plan import plan_of_stream

if TYPE_CHECKING:
    import numpy.typing as npt

    from dse.simulator.spatten.chip import Chip
    from dse.simulator.spatten.issue import Issue
    from dse.simulator.spatten.times import Times
    from dse.workloads.head_rows import HeadRows

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

VALUES = "value_fetch"
UNITS = ("dram", "array_qk", "softmax", "topk", "array_pv")


def released_stream(name: str, times: Times, passes: Ints, members: Ints, groups: Ints | None) -> Stream:
    """Rows through DRAM, scores, top-k and values in turn, as far ahead as the units allow."""
    dram = times.key_fetch + times.lsb_fetch + times.value_fetch
    columns = {
        "fetch": ("dram", dram),
        "scores": ("array_qk", times.scores * passes),
        "topk": ("topk", times.topk),
        "values": ("array_pv", times.values),
    }
    parts = None if times.parts is None else tuple(times.parts[row] for row in members)
    stages = tuple(
        Stage(stage, unit, cycles[members][None], parts=parts if stage == "topk" else None)
        for stage, (unit, cycles) in columns.items()
    )
    return Stream(name, stages, groups=groups)


def hardware_stream(
    name: str, chip: Chip, rows: HeadRows, times: Times, members: Ints, groups: Ints | None
) -> Stream:
    """Rows through the pipeline as the hardware runs it; see the module docstring."""
    issue = issue_of(chip, rows, times, members)
    stages = _stages(chip, rows, times, members, issue)
    waits = _waits(chip, rows, times, members, issue)
    everyone = None
    if groups is not None:
        late = np.array([groups[place] for place in issue.first_of], dtype=np.int64)
        everyone = np.concatenate([groups, late])
    alone = tuple(replace(s, unit="dram_values") if s.name == VALUES else s for s in stages)
    turns = _turns(Stream(name, alone, waits, everyone), chip)
    return Stream(name, stages, waits, everyone, {"dram": turns})


def _stages(chip: Chip, rows: HeadRows, times: Times, members: Ints, issue: Issue) -> tuple[Stage, ...]:
    first = np.array(list(issue.first_of), dtype=np.int64)
    replayed = rows.refetch[members]
    keys = np.where(times.opens[members], times.key_fetch[members], np.nan)
    early = np.concatenate([np.where(replayed, times.lsb_fetch[members], keys), keys[first]])
    scores = np.concatenate([times.scores[members], times.scores[members][first]])
    nothing = np.full(len(first), np.nan)

    def late(cycles: Floats) -> Floats:
        return np.concatenate([cycles[members], nothing])[None]

    parts = None
    if times.parts is not None:
        parts = (*(times.parts[row] for row in members), *(() for _ in first))
    order, latency = issue.order, chip.number
    memory = latency_cycles(chip)
    topk = times.topk
    if chip.machine.topk.bypass == "immediate":
        topk = np.where(rows.values < rows.keys, topk, np.nan)
    return (
        Stage("key_fetch", "dram", early[None], memory, order=order),
        Stage(
            "scores",
            "array_qk",
            scores[None],
            latency("array_qk", "latency_cycles"),
            through=True,
            order=order,
        ),
        Stage(
            "softmax",
            "softmax",
            scores[None],
            latency("softmax", "latency_cycles"),
            through=True,
            order=order,
        ),
        Stage("topk", "topk", late(topk), queue=float(reorder_rows(chip, rows, members)), parts=parts),
        Stage(VALUES, "dram", late(times.value_fetch), memory),
        Stage("values", "array_pv", late(times.values), latency("array_pv", "latency_cycles"), through=True),
    )


def _waits(chip: Chip, rows: HeadRows, times: Times, members: Ints, issue: Issue) -> tuple[Wait, ...]:
    """Replays wait for their decision, keys and values for room in their buffers."""
    replays = np.full(issue.items, -1)
    for place, first in issue.first_of.items():
        replays[place] = first
    keys = np.full(issue.items, -1)
    openers = np.flatnonzero(times.opens[members])
    closers = np.append(openers[1:] - 1, len(members) - 1)
    for number, place in enumerate(openers.tolist()):
        back = number - max(chip.resident("key_sram", int(rows.keys[members[place]])), 1)
        if back >= 0:
            keys[issue.first_of.get(place, place)] = closers[back]
    values = np.full(issue.items, -1)
    bringers = np.flatnonzero(times.brings[members])
    for number, place in enumerate(bringers.tolist()):
        back = number - max(chip.resident("value_sram", int(rows.values[members[place]])), 1)
        if back >= 0:
            values[place] = bringers[back + 1] - 1
    found = [Wait("key_fetch", "softmax", replays)] if issue.first_of else []
    freed = ("softmax", True) if rows.bits.lsb else ("scores", False)
    found.append(Wait("key_fetch", freed[0], keys, arrival=freed[1]))
    found.append(Wait(VALUES, "values", values, arrival=False))
    return tuple(found)


def _turns(stream: Stream, chip: Chip) -> tuple[tuple[int, int], ...]:
    """Fetches of keys and values in the order in which they would start if they did not disturb each other."""
    counts = tuple(int(chip.number("topk", "engines")) if u == "topk" else 1 for u in sorted(stream.units))
    queues = tuple(float(stage.queue[0]) for stage in stream.stages)
    plan = plan_of_stream(stream, counts, queues)
    busy = [stage.busy for stage in stream.stages]
    start, _ = plan.times(busy, [stage.latency for stage in stream.stages], 1)
    fetches = [
        (float(start[number, 0]), op.stage, number, op.item)
        for number, op in enumerate(plan.operations)
        if stream.stages[op.stage].unit in {"dram", "dram_values"}
    ]
    return tuple((stage, item) for _, stage, _, item in sorted(fetches))
