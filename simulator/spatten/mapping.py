"""Mapping of head rows onto a pruning accelerator: model of the top-k engines, convention of its cycles, order."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from dse.simulator.mapping import MappingFile


class File(MappingFile):
    """A mapping file of kind spatten."""

    counts: ClassVar[str] = (
        "pipelines with their latencies, key and value buffers, replays, straggling lanes, rows and refresh of DRAM, "
        "queries counted"
    )

    topk: Literal["closed_form", "random_integer", "trace"] = Field(
        default="closed_form", description="model of the top-k cycles: mean, drawn ranks, or recorded streams"
    )
    convention: Literal["scala", "behavioural", "rtl"] = Field(
        default="scala", description="published way to count the cycles of a top-k request"
    )
    order: Literal["layer", "free", "serial"] = Field(
        default="layer",
        description="what waits: layers and tokens for those before, nothing but units, or every stage for every other",
    )
    survivors: Literal["drawn", "first"] = Field(
        default="drawn",
        description="positions of what is fetched where no record says: drawn at random, or the first ones",
    )
