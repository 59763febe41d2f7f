"""Cycles of a channel in closed form: two heads in turn, scores of the second during the softmax of the first.

Commands of a channel, in order, with barriers between segments: query rows of the first head; its scores with the
query rows of the second; scores of the second with the softmax of the first and its way back; values of the first
with the same of the second; values of the second. A head without a partner waits for its own softmax.
Multiply-accumulate commands follow each other at the machine's spacing, or after a change of row where no other set
of banks hides it; data move beside them and count only where they take longer than the segment they share. A refresh
closes all rows.

Derived from the command order of the public AttAcc simulator and checked against a command scheduler, not fitted. Not
modelled: the last few cycles of interplay in segments of a few commands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import Array, ceil_div

if TYPE_CHECKING:
    from dse.simulator.pim.shape import Shape


@dataclass(frozen=True)
class Phase:
    """A run of column accesses over whole rows: cycles from first to last, and from there to a row elsewhere."""

    accesses: Array
    segments: Array
    stream: Array
    leave: Array


@dataclass(frozen=True)
class Timeline:
    """Cycles of one channel for all its waves; ``published`` follows the public simulator's command streams."""

    shape: Shape
    published: bool

    @cached_property
    def reopen(self) -> Array:
        """Last access to a row to the first of another row of the same banks."""
        timing = self.shape.machine.dram.timing
        return timing.rtp_l + timing.rp + self._open

    @cached_property
    def _open(self) -> Array:
        """First activation of a set of banks to the first access."""
        return self.shape.machine.dram.timing.rcd + self.shape.machine.opening_cycles

    @cached_property
    def scores(self) -> Phase:
        """Scores of one head."""
        shape = self.shape
        return self._phase(shape.score_accesses, shape.score_rows, shape.segments)

    @cached_property
    def values(self) -> Phase:
        """Values of one head."""
        shape = self.shape
        return self._phase(shape.value_accesses, shape.value_rows, shape.value_columns)

    def _phase(self, accesses: Array, rows: Array, segments: Array) -> Phase:
        machine, timing = self.shape.machine, self.shape.machine.dram.timing
        spacing, sets = machine.spacing_cycles, machine.bank_sets
        each = accesses / rows
        full = np.minimum(self.shape.row_columns, each) if self.shape.work.shared else self.shape.row_columns
        last = np.maximum(accesses - (rows - 1.0) * full, 1.0)
        least = timing.ras - timing.rcd + timing.rp + timing.rcd
        fine = machine.level == "buffer"
        hidden = (sets - 1.0) * spacing * (1.0 if fine else full)
        turn = np.maximum(least, (full - 1.0) * spacing + self.reopen) - full * spacing
        turns = np.maximum(rows - 1.0, 0.0)
        stream = (accesses - 1.0) * spacing + turns * np.maximum(turn - hidden, 0.0)
        return Phase(accesses, segments, stream, self._leave(accesses, rows, last))

    def _leave(self, accesses: Array, rows: Array, last: Array) -> Array:
        """Last access of a phase to the first of the next, whose first set of banks has to change its row."""
        machine, timing = self.shape.machine, self.shape.machine.dram.timing
        spacing, sets = machine.spacing_cycles, machine.bank_sets
        least = timing.ras + timing.rp
        if machine.level == "buffer":
            since = (np.minimum(accesses, sets) - 1.0) * spacing
            return np.maximum(np.maximum(spacing, self.reopen - since), least - (accesses - 1.0) * spacing)
        since = (last - 1.0) * spacing
        same = np.mod(rows - 1.0, sets) == 0.0
        return np.where(
            same, np.maximum(self.reopen, least - since), np.maximum(spacing, self.reopen - since)
        )

    @cached_property
    def move(self) -> Array:
        """Cycles of one move of scores or results: to another bank group where there are several."""
        timing = self.shape.machine.dram.timing
        return np.where(self.shape.movers > 1.0, np.maximum(timing.burst, timing.ccd_s), timing.ccd_l)

    @cached_property
    def outputs(self) -> Array:
        """Cycles of the moves of one column of results."""
        timing, shape = self.shape.machine.dram.timing, self.shape
        spacing = np.where(
            shape.output_moves > shape.work.queries, np.maximum(timing.burst, timing.ccd_s), timing.ccd_l
        )
        return shape.output_moves * spacing

    @cached_property
    def broadcast(self) -> Array:
        """Cycles of the moves that bring the query rows of one head."""
        return self.shape.query_moves * self.shape.machine.dram.timing.ccd_l

    def _late(self, phase: Phase, base: Array, extra: Array, loaded: Array, slack: Array) -> Array:
        """Cycles by which moves outlast the accesses of their segments.

        Every segment moves ``base`` cycles, the last ``loaded`` ones ``extra`` more each. The published stream puts
        moves behind the accesses of a segment: they come into view as those leave the queue. The last segment may use
        the ``slack`` until the next phase.
        """
        spacing, queue = self.shape.machine.spacing_cycles, self.shape.machine.queue
        each = phase.accesses / phase.segments
        unseen = np.maximum(each - queue, 0.0) * spacing if self.published else 0.0
        span = (phase.stream + spacing) / phase.segments
        light = np.maximum(unseen + base - span, 0.0)
        heavy = np.maximum(unseen + base + extra - span, 0.0)
        last = np.maximum(unseen + base + extra - span - slack, 0.0)
        return (phase.segments - loaded) * light + (loaded - 1.0) * heavy + last

    @cached_property
    def _pair_moves(self) -> Array:
        """Cycles by which moves outlast the accesses of two heads."""
        shape, scores, values = self.shape, self.scores, self.values
        spacing = shape.machine.spacing_cycles
        score, back = shape.score_moves * self.move, shape.weight_moves * self.move
        half, column_half = ceil_div(scores.segments, 2.0), ceil_div(values.segments, 2.0)
        first = self._late(
            scores, score, self.broadcast / scores.segments, scores.segments, scores.leave - spacing
        )
        second = self._late(scores, score, back / half, half, scores.leave - spacing)
        third = self._late(values, self.outputs, back / column_half, column_half, self._again - spacing)
        return first + second + third + self._last_moves

    @cached_property
    def _last_moves(self) -> Array:
        """Cycles by which moves of results outlast the accesses of the last values."""
        values = self.values
        return self._late(values, self.outputs, self.outputs * 0.0, values.segments, self.outputs)

    @cached_property
    def _again(self) -> Array:
        """Values of the first head to those of the second; the published stream reads the first head's again."""
        if not self.published:
            return self.values.leave
        machine = self.shape.machine
        fine = machine.level == "buffer"
        reach = machine.bank_sets * (machine.dram.columns if fine else 1.0)
        rows = self.values.accesses if fine else self.shape.value_rows
        return np.where(rows <= reach, machine.spacing_cycles, self.values.leave)

    @cached_property
    def _pairs(self) -> Array:
        """Pairs of heads."""
        return np.floor(self.shape.waves / 2.0)

    @cached_property
    def _odd(self) -> Array:
        """1 where a head is left without a partner."""
        return self.shape.waves - 2.0 * self._pairs

    @cached_property
    def _joins(self) -> Array:
        """Changes from one pair, or the last head, to the next."""
        return self._pairs + self._odd - 1.0

    @cached_property
    def accesses(self) -> Array:
        """Cycles of multiply-accumulate commands at the machine's spacing."""
        shape = self.shape
        return shape.waves * (shape.score_accesses + shape.value_accesses) * shape.machine.spacing_cycles

    @cached_property
    def row_changes(self) -> Array:
        """Cycles in which the units wait for a row."""
        shape, scores, values = self.shape, self.scores, self.values
        spacing = shape.machine.spacing_cycles
        inside = scores.stream - (scores.accesses - 1.0) * spacing
        inside = inside + values.stream - (values.accesses - 1.0) * spacing
        between = self._pairs * (2.0 * (scores.leave - spacing) + self._again - spacing)
        between = between + self._odd * (scores.leave - spacing) + self._joins * (self._part.leave - spacing)
        # The first row has been open for longer than its accesses took where query rows were late.
        restored = np.clip(self._late_start, 0.0, np.maximum(scores.leave - self.reopen, 0.0))
        return shape.waves * inside + between + self._opened - spacing - restored

    @cached_property
    def _late_start(self) -> Array:
        """Cycles from when the first access could be, but for the query rows, to when it is."""
        burst, spacing = self.shape.machine.dram.timing.burst, self.shape.machine.spacing_cycles
        early = np.where(self._pairs > 0.0, spacing, 0.0) if self.published else 0.0
        return np.maximum(self.broadcast - burst - self._opened, 0.0) + early

    @cached_property
    def _part(self) -> Phase:
        """Values of the last head of a pair; those of the first again have had their rows open for longer."""
        values, shape = self.values, self.shape
        again = self._again == shape.machine.spacing_cycles
        last = np.maximum(values.accesses - (shape.value_rows - 1.0) * shape.row_columns, 1.0)
        accesses = values.accesses * np.where(again, 2.0, 1.0)
        leave = self._leave(accesses, shape.value_rows, last + np.where(again, values.accesses, 0.0))
        return replace(values, leave=leave)

    @cached_property
    def _opened(self) -> Array:
        """Cycles until the first access can be: its row is opened while the query rows arrive."""
        opened = 1.0 + self._open
        if self.published:
            opened = opened + np.where(self._pairs > 0.0, self.shape.machine.spacing_cycles, 0.0)
        return opened

    @cached_property
    def movement(self) -> Array:
        """Cycles in which the units wait for data to move."""
        shape, scores = self.shape, self.scores
        burst = shape.machine.dram.timing.burst
        start = np.maximum(self.broadcast - burst - self._opened, 0.0)
        alone = self._exposed(self._turnaround, scores) + self._last_moves
        score = shape.score_moves * self.move
        alone = alone + self._late(scores, score, score * 0.0, scores.segments, score)
        # Query rows of the next head can arrive during these values; the published stream moves them afterwards.
        after = self.broadcast if self.published else 0.0
        join = self._exposed(self.outputs + after - burst, self._part)
        ends = self.outputs - 1.0
        return start + self._pairs * self._pair_moves + self._odd * alone + self._joins * join + ends

    def _exposed(self, moves: Array, before: Phase) -> Array:
        """Cycles that moves between two phases cost: what outlasts the change of row, or all before that begins."""
        timing, machine = self.shape.machine.dram.timing, self.shape.machine
        if machine.ahead:
            return np.maximum(moves - before.leave, 0.0)
        turned = np.maximum(moves, timing.rtp_l) + timing.rp + self._open
        return np.maximum(np.where(before.leave >= self.reopen, turned, moves) - before.leave, 0.0)

    @cached_property
    def _turnaround(self) -> Array:
        """Cycles from the scores of a lone head to its values but for the softmax unit's own work."""
        moves = (self.shape.score_moves + self.shape.weight_moves) * self.move
        return moves + self.move if self.published else moves

    @cached_property
    def softmax_busy(self) -> Array:
        """Cycles the softmax unit works on one head; the published stream gives it none."""
        unit, shape = self.shape.machine.softmax, self.shape
        if self.published or unit is None:
            return shape.keys * 0.0
        return unit.passes * ceil_div(shape.keys * shape.work.queries, unit.values_per_cycle)

    @cached_property
    def softmax(self) -> Array:
        """Cycles in which the units wait for the softmax unit."""
        scores, values, busy = self.scores, self.values, self.softmax_busy
        paired = np.maximum(busy - scores.stream, 0.0) + np.maximum(busy - values.stream, 0.0)
        moved = self._exposed(self._turnaround, scores)
        alone = self._exposed(self._turnaround + busy, scores) - moved
        waited: Array = self._pairs * paired + self._odd * alone
        return waited

    @cached_property
    def merge(self) -> Array:
        """Cycles to merge the parts of the last heads: results, maximum and sum of each, pair by pair of channels."""
        shape, timing = self.shape, self.shape.machine.dram.timing
        words = shape.work.queries * (shape.work.value_dim + 2.0)
        moves = ceil_div(words * 4.0, shape.machine.dram.access_bytes)
        rounds = np.ceil(np.log2(shape.split))
        return rounds * moves * np.maximum(timing.burst, timing.ccd_s)

    @cached_property
    def busy(self) -> Array:
        """Cycles without refreshes: the parts left to right."""
        return self.accesses + self.row_changes + self.movement + self.softmax + self.merge

    @cached_property
    def refresh(self) -> Array:
        """Cycles of refreshes: one each interval while there is work, all rows closed before and opened after."""
        return self.with_refresh(self.busy) - self.busy

    def with_refresh(self, busy: Array) -> Array:
        """Cycles of a channel that is busy this long, refreshes included."""
        machine, timing = self.shape.machine, self.shape.machine.dram.timing
        # With one set of banks a refresh replaces a change of row; else it interrupts, and rows are opened once more.
        after = np.where(machine.bank_sets == 1.0, 1.0 - timing.rp, self._open + 2.0)
        cost = timing.rfc + after + (0.0 if self.published else timing.rp)
        return busy + cost * np.maximum(np.ceil((busy - cost) / (timing.refi - cost)) - 1.0, 0.0)

    @cached_property
    def cycles(self) -> Array:
        """Cycles until the last command of the channel."""
        return self.with_refresh(self.busy)
