"""Shape of decode attention on the units of a stack: what one head does on one channel, and how many heads there are.

Mapping: a head (or one of ``split`` parts of its keys) is one channel's; its keys are shared out over pseudo
channels, ranks and bank groups, its head dimension over the banks below where the placement says so; a wave is one
head on every channel. A column access is multiplied with up to ``queries`` query rows of the machine, then again for
the next ones while its row is open. Not modelled: heads of different lengths (``ragged``), layouts with gaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import Array, Values, as_array, ceil_div

if TYPE_CHECKING:
    from dse.arch.pim import Pim

# Outputs of a unit that one command moves: as many values of two bytes as a column access has room for.
SCORE_BYTES = 2.0


@dataclass(frozen=True)
class Attention:
    """Decode attention over design points: ``heads`` key heads of all requests, each with ``keys`` keys.

    ``queries`` rows share a key head (1 without grouping). ``shared`` says that values are the first ``value_dim``
    entries of the keys, stored once, as in latent attention. ``word_bytes`` is the size of a stored value.
    """

    heads: Array
    keys: Array
    queries: Array
    key_dim: Array
    value_dim: Array
    word_bytes: Array
    shared: bool = False

    @classmethod
    def of(
        cls,
        heads: Values,
        keys: Values,
        key_dim: Values,
        *,
        value_dim: Values | None = None,
        queries: Values = 1.0,
        word_bytes: Values = 2.0,
        window: Values | None = None,
        shared: bool = False,
    ) -> Attention:
        """The same from anything that makes an array; a sliding ``window`` leaves the last keys only."""
        length = as_array(keys)
        if window is not None:
            length = np.minimum(length, as_array(window))
        depth = as_array(key_dim)
        return cls(
            as_array(heads),
            length,
            as_array(queries),
            depth,
            depth if value_dim is None else as_array(value_dim),
            as_array(word_bytes),
            shared,
        )

    @property
    def stored_bytes(self) -> Array:
        """Keys and values of all heads."""
        depth = self.key_dim if self.shared else self.key_dim + self.value_dim
        return self.heads * self.keys * depth * self.word_bytes

    @property
    def flops(self) -> Array:
        """Multiply-adds × 2 of scores and values."""
        return 2.0 * self.heads * self.queries * self.keys * (self.key_dim + self.value_dim)


@dataclass(frozen=True)
class Shape:
    """What attention makes of a machine's channels; every number an array over design points."""

    work: Attention
    machine: Pim
    split: Array

    @property
    def columns(self) -> tuple[Array, ...]:
        """Everything that varies from design point to design point."""
        work = self.work
        sizes = (work.heads, work.keys, work.queries, work.key_dim, work.value_dim, work.word_bytes)
        return (*sizes, self.split)

    @property
    def size(self) -> int:
        """Design points."""
        return max(len(column) for column in self.columns)

    def at(self, point: int) -> Shape:
        """The shape of one design point."""
        own = [column if len(column) == 1 else column[point : point + 1] for column in self.columns]
        heads, keys, queries, key_dim, value_dim, word_bytes, split = own
        work = Attention(heads, keys, queries, key_dim, value_dim, word_bytes, self.work.shared)
        return Shape(work, self.machine, split)

    @cached_property
    def parts(self) -> Array:
        """Heads, or parts of heads, of one stack."""
        return ceil_div(self.work.heads * self.split, self.machine.stacks)

    @cached_property
    def keys(self) -> Array:
        """Keys of one part."""
        return ceil_div(self.work.keys, self.split)

    @cached_property
    def waves(self) -> Array:
        """Parts one channel works on, one after another."""
        return ceil_div(self.parts, self.machine.dram.channels)

    @cached_property
    def values_per_access(self) -> Array:
        """Stored values in one column access."""
        return self.machine.dram.access_bytes / self.work.word_bytes

    @cached_property
    def score_columns(self) -> Array:
        """Column accesses of a unit for one key."""
        return ceil_div(self.work.key_dim, self.machine.head_dim * self.values_per_access)

    @cached_property
    def value_columns(self) -> Array:
        """Column accesses of a unit for one row of values."""
        return ceil_div(self.work.value_dim, self.machine.head_dim * self.values_per_access)

    @cached_property
    def rows_of_keys(self) -> Array:
        """Keys of a unit."""
        return ceil_div(self.keys, self.machine.across_keys)

    @cached_property
    def passes(self) -> Array:
        """Times a column access is repeated until it has met every query row."""
        return ceil_div(self.work.queries, self.machine.queries)

    @cached_property
    def score_accesses(self) -> Array:
        """Multiply-accumulate commands of the scores of one part."""
        return self.passes * self.score_columns * self.rows_of_keys

    @cached_property
    def value_accesses(self) -> Array:
        """Multiply-accumulate commands of the values of one part."""
        return self.passes * self.value_columns * self.rows_of_keys

    @cached_property
    def outputs_per_move(self) -> Array:
        """Keys of a unit whose scores leave it with one command."""
        return self.machine.dram.access_bytes / SCORE_BYTES

    @cached_property
    def segments(self) -> Array:
        """Stretches of the scores between barriers: those that fill one move of each unit."""
        return ceil_div(self.rows_of_keys, self.outputs_per_move)

    @cached_property
    def movers(self) -> Array:
        """Places of a pseudo channel that scores are moved from and to, one after another."""
        return self.machine.units / self.machine.head_dim

    @cached_property
    def query_moves(self) -> Array:
        """Commands that bring the query rows of one part to the units."""
        return self.work.queries * self.machine.head_dim * self.score_columns

    @cached_property
    def score_moves(self) -> Array:
        """Commands that move scores of one segment to the softmax unit."""
        return self.work.queries * self.movers

    @cached_property
    def weight_moves(self) -> Array:
        """Commands that bring the softmax of one part back to the units."""
        return (
            self.work.queries
            * self.movers
            * ceil_div(self.keys, self.machine.across_keys * self.values_per_access)
        )

    @cached_property
    def output_moves(self) -> Array:
        """Commands that move one column of results to the buffer die: of each rank, and each bank that has its own."""
        ranks = np.minimum(self.machine.dram.ranks, self.movers)
        return self.work.queries * self.machine.head_dim * ranks

    @cached_property
    def row_columns(self) -> Array:
        """Column accesses to a row while it is open, every query row included."""
        return self.machine.dram.columns * self.passes

    @cached_property
    def score_rows(self) -> Array:
        """Rows a unit opens for the scores of one part."""
        return ceil_div(self.score_columns * self.rows_of_keys, self.machine.dram.columns)

    @cached_property
    def value_rows(self) -> Array:
        """Rows a unit opens for the values of one part; those of the keys where both are stored once."""
        if self.work.shared:
            return self.score_rows
        return ceil_div(self.value_columns * self.rows_of_keys, self.machine.dram.columns)
