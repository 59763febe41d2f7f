"""Mapping of decode attention onto units in memory: a head to a channel, or cut along its keys over several."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dse.simulator.mapping import MappingFile
from dse.units import PositiveCount  # noqa: TC001 - pydantic reads it

if TYPE_CHECKING:
    from collections.abc import Mapping as Dict


class File(MappingFile):
    """A mapping of heads onto channels."""

    numbers: ClassVar[Dict[str, str]] = {
        "split": "channels a head is cut over along its keys; 1 if left out",
    }

    families: list[str] = Field(description="families of cascades it runs")
    timing: Literal["closed", "commands"] = Field(
        default="closed", description="closed form, or every command of a channel scheduled"
    )
    split: PositiveCount | None = Field(
        default=None, description="channels one head is cut over along its keys"
    )
