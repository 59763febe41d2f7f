"""Descriptions of latency tables: ``F.yaml`` beside ``F.csv`` says what its rows are and which kernels are assumed.

A class is a rule on columns, the kernel assumed behind its rows and what that assumes. A row belongs to the first class
whose rules it fulfils; rows of no class are not compared, and are counted. Tables written by ``dse measure`` describe
themselves and need no such file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from dse import spec
from dse.errors import ConfigError, nearest
from dse.studies.latency.rules import Rule, parse
from dse.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROOM = "studies/gpu"
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class LatencyFile(spec.Spec):
    """Where the latency stands."""

    column: str
    unit: Literal["us", "ms", "s"]


class MachinesFile(spec.Spec):
    """The column that names the GPU, and its names for machines; without a column all rows are of one machine."""

    column: str | None = None
    names: dict[str, str] = Field(description="name of the machine here: its name in the column")

    @model_validator(mode="after")
    def _one_or_column(self) -> MachinesFile:
        if self.column is None and len(self.names) != 1:
            raise ValueError("without a column there is one machine")
        return self


class ClassFile(spec.Spec):
    """Rows of one kernel class, and the kernel assumed behind them."""

    rows: list[str] = Field(min_length=1, description="rules on columns, all of which hold")
    kernel: str = Field(
        description="how launches follow from the columns; one module of studies/latency/kernels each"
    )
    options: dict[str, str] = Field(default_factory=dict, description="choices of that kernel")
    assumes: list[str] = Field(min_length=1, description="what is not in the table")
    added: Seconds = Field(
        default=0.0, description="what the way of measuring adds to every row, as its publisher states"
    )


class TableFile(spec.Spec):
    """Description of a latency table."""

    title: str
    source: str
    licence: str
    latency: LatencyFile
    machines: MachinesFile
    classes: dict[str, ClassFile] = Field(min_length=1)
    unassigned: str = Field(
        default="no kernel is assumed", description="why rows of no class are not compared"
    )
    calibrations: dict[str, str] = Field(default_factory=dict, description="machine: default calibration")
    splits: dict[str, list[list[str]]] = Field(
        default_factory=dict, description="named sets of rows: lists of rules, one of which holds"
    )
    notes: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _rules_parse(self) -> TableFile:
        try:
            for one in self.classes.values():
                _ = rules(one.rows)
            for name in self.splits:
                _ = self.split(name)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    def split(self, name: str) -> list[list[Rule]]:
        """The alternatives of a named split.

        Raises
        ------
        ConfigError
            There is no such split.
        """
        if name not in self.splits:
            raise ConfigError(f"no split '{name}'{nearest(name, self.splits) or _known(self.splits)}")
        return [rules(one) for one in self.splits[name]]


def rules(texts: list[str]) -> list[Rule]:
    """Parsed rules.

    Raises
    ------
    ConfigError
        A text is no rule.
    """
    return [parse(text) for text in texts]


def _known(splits: Mapping[str, object]) -> str:
    return f"; there are {', '.join(splits)}" if splits else "; this table has none"


def find_table(source: str) -> Path:
    """The CSV of a path, or of a table shipped below ``studies/gpu``.

    Raises
    ------
    ConfigError
        There is none.
    """
    return spec.find(source, ROOM, ".csv")


def description(table: Path) -> TableFile | None:
    """The description beside a table, None if it has none.

    Raises
    ------
    ConfigError
        The description is wrong.
    """
    beside = table.with_suffix(".yaml")
    return spec.load(beside, TableFile, ROOM) if beside.is_file() else None
