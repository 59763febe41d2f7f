"""Policy of a system: which device runs what, what runs side by side, what a published model leaves out.

Modelled: tensor parallelism over the devices of a kind, experts spread over them whole, a processor chosen for every
operator by its time, experts shared out between xpu and PIM, attention on PIM overlapped head by head with projections,
feed-forward work split between both sides. Not modelled: pipeline parallelism, replicas.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from dse import spec
from dse.simulator.mapping import MappingFile, PaperFile
from dse.units import Count, PositiveCount

Side = Literal["xpu", "pim"]


class PassFile(spec.Spec):
    """An element-wise pass of every layer: how often, tensors of activations and vectors of weights it moves."""

    times: PositiveCount
    tensors: PositiveCount
    weights: Count = 0


class Conventions(PaperFile):
    """What a published model counts in its own way; every key left out is as in physical accounting."""

    waves: bool = Field(default=False, description="peaks shrink by the last, partly filled wave of blocks")
    unfused: bool = Field(default=False, description="xpu attention moves its scores through memory")
    bare_pim: bool = Field(
        default=False, description="PIM attention moves keys and values only, softmax is free"
    )
    whole_transfers: bool = Field(
        default=False, description="energy of an all-reduce: all data once from each"
    )
    hidden_transfers: bool = Field(
        default=False, description="transfers to PIM overlap attention, overlap or not"
    )
    free_banks: bool = Field(default=False, description="both sides read the stack at full speed at once")
    published_split: bool = Field(
        default=False, description="experts are shared out by the published estimate"
    )
    unchecked_capacity: bool = Field(default=False, description="batches may exceed the memories")
    nominal_multiple: dict[str, dict[str, float]] | None = Field(
        default=None,
        description="bandwidth of PIM over the stack's that feed-forward work is split by: level, spacing in cycles",
    )
    activation_tensors: PositiveCount | None = None
    expert_passes: dict[str, PassFile] | None = Field(
        default=None, description="passes of layers with experts"
    )


class File(MappingFile):
    """A policy file."""

    machines: ClassVar[tuple[str, ...]] = ("system", "roofline")
    counts: ClassVar[str] = (
        "shares of peaks that are sustained, banks that both sides read, queries and outputs of PIM"
    )

    placement: dict[Literal["attention", "experts"], list[Side]] = Field(
        default_factory=dict, description="devices that may run it, the fastest does; else the xpu"
    )
    coprocess: bool = Field(default=False, description="experts run on both sides at once")
    contention: bool = Field(default=True, description="both sides share the banks they read")
    overlap: Literal["none", "heads"] = Field(
        default="none", description="attention on PIM runs beside projections, head by head"
    )
    split_feed_forward: bool = Field(
        default=False, description="PIM takes a share of feed-forward work by its bandwidth"
    )
    split_heads: bool = Field(
        default=False, description="PIM may cut a head along its keys over several channels"
    )
    passes: dict[str, PassFile] = Field(default_factory=dict, description="element-wise passes of a layer")
    paper: Conventions | None = None
