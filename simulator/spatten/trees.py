"""Program trees of head rows: layer after layer, all rows in one flow, stage after stage, or added up as released."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.simulator.program import Body, Loop, Seq, Step
from dse.simulator.spatten.charges import charges_of
from dse.simulator.spatten.stages import hardware_stream, released_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    import numpy.typing as npt

    from dse.simulator.program import Action, Node
    from dse.simulator.spatten.charges import Charges
    from dse.simulator.spatten.chip import Chip
    from dse.simulator.spatten.times import Times
    from dse.simulator.stream import Stream
    from dse.workloads.head_rows import HeadRows

    Ints = npt.NDArray[np.int64]
    Where = Mapping[str, tuple[str, ...]]

_RELEASED: Where = {
    "fetch": ("keys", "value_fetch"),
    "scores": ("scores",),
    "topk": ("topk",),
    "values": ("values",),
}
_HARDWARE: Where = {
    "key_fetch": ("keys",),
    "scores": ("scores",),
    "topk": ("topk",),
    "value_fetch": ("value_fetch",),
    "values": ("values",),
}


@dataclass(frozen=True, eq=False)
class Builder:
    """Builds the tree of head rows whose times are known; ``released`` by the released conventions."""

    chip: Chip
    rows: HeadRows
    times: Times
    released: bool

    def flow(self) -> Node:
        """All rows in one stream: nothing waits but for units, buffers and its own data."""
        return self._stream("rows", np.arange(len(self.rows)), None)

    def layers(self) -> Node:
        """Steps and layers one after another; those that are alike are built once."""
        return self._each(lambda name, members: self._stream(name, members, None))

    def serial(self) -> Node:
        """Each stage of all rows after the one before, for reference: no overlap at all."""
        return self._stages("stages", np.arange(len(self.rows)), (("", 0.0),))

    def added(self) -> Node:
        """The released behavioural simulator: DRAM, scores, one drain and top-k of each layer, added up."""

        def layer(name: str, members: Ints) -> Node:
            last = members[-1]
            latencies = sum(
                self.chip.number(unit, "latency_cycles") for unit in ("array_qk", "softmax", "array_pv")
            )
            # Requantisation and top-k, skipped, take a cycle each; softmax queues one row.
            drain = latencies + 2.0 + float(self.times.scores[last])
            return self._stages(name, members, (("drain", drain),), channels=True)

        return self._each(layer)

    def _each(self, build: Callable[[str, Ints], Node]) -> Node:
        alike: dict[Hashable, tuple[Ints, int]] = {}
        bounds = np.flatnonzero(np.diff(self.rows.group)) + 1
        for members in np.split(np.arange(len(self.rows)), bounds):
            key = self._key(members)
            first, count = alike.get(key, (members, 0))
            alike[key] = (first, count + 1)
        nodes = []
        for members, count in alike.values():
            name = f"layer {self.rows.layer[members[0]]} from step {self.rows.step[members[0]]}"
            nodes.append(Loop(f"{name}, {count} times", float(count), build("rows", members)))
        return nodes[0] if len(nodes) == 1 else Seq("layers", tuple(nodes))

    def _key(self, members: Ints) -> Hashable:
        times, rows = self.times, self.rows
        columns: list[npt.NDArray[Any]] = [
            times.key_fetch,
            times.lsb_fetch,
            times.value_fetch,
            times.scores,
            times.topk,
            times.values,
        ]
        columns += [times.compares, times.opens, times.brings, rows.refetch, rows.keys, rows.values]
        columns += [rows.scored, rows.weighted]
        return tuple(column[members].tobytes() for column in columns)

    def _stream(self, name: str, members: Ints, groups: Ints | None) -> Stream:
        charges = charges_of(self.chip.machine, self.rows, self.times, members, queries=not self.released)
        if self.released:
            return _charged(
                released_stream(name, self.times, self.rows.passes, members, groups), charges, _RELEASED
            )
        stream = hardware_stream(name, self.chip, self.rows, self.times, members, groups)
        return _charged(stream, charges, _HARDWARE)

    def _stages(
        self, name: str, members: Ints, more: tuple[tuple[str, float], ...], *, channels: bool = False
    ) -> Node:
        charges = charges_of(self.chip.machine, self.rows, self.times, members, queries=not self.released)
        t, passes = self.times, self.rows.passes
        dram = float((t.key_fetch + t.lsb_fetch + t.value_fetch)[members].sum())
        if channels:
            whole = np.ceil(t.key_fetch + t.lsb_fetch) + np.ceil(t.value_fetch)
            dram = float(whole[members].sum())
        steps = [
            ("fetch", "dram", dram, (*charges.keys, *charges.value_fetch)),
            ("scores", "array_qk", float((t.scores * passes)[members].sum()), charges.scores),
            ("topk", "topk", float(t.topk[members].sum()), charges.topk),
        ]
        if not channels:
            steps.append(("values", "array_pv", float(t.values[members].sum()), charges.values))
        nodes = [_step(stage, unit, busy, actions) for stage, unit, busy, actions in steps]
        nodes += [
            _step(stage, None, cycles, charges.values if channels else ()) for stage, cycles in more if stage
        ]
        return Seq(name, tuple(nodes))


def _step(name: str, unit: str | None, busy: float, actions: tuple[Action, ...]) -> Body:
    return Body(name, (Step(name, unit, busy, actions=actions),))


def _charged(stream: Stream, charges: Charges, where: Where) -> Stream:
    """The stream with its stages' actions."""
    stages = []
    for stage in stream.stages:
        actions = tuple(action for part in where.get(stage.name, ()) for action in getattr(charges, part))
        stages.append(replace(stage, actions=actions))
    return replace(stream, stages=tuple(stages))
