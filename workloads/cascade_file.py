"""Cascade files: the schema of ``workloads/cascades/*.yaml`` and the way from a file to a ``Cascade``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import BaseModel, ConfigDict, Field

from dse.errors import Place, Problem, WorkloadError
from dse.workloads.cascade import Carried, Cascade, Einsum
from dse.workloads.language import parse_einsum

if TYPE_CHECKING:
    from collections.abc import Callable


class CarriedSpec(BaseModel):
    """Initial value of a tensor defined at ``rank+1`` from its value at ``rank``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    rank: str
    initial: float


class CascadeSpec(BaseModel):
    """One cascade: what it computes, what it leaves out and where it comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    assumes: tuple[str, ...] = Field(min_length=1)
    source: str
    family: str
    title: str
    ranks: dict[str, str]
    partition: dict[str, tuple[str, ...]] = {}
    inputs: dict[str, tuple[str, ...]]
    carried: dict[str, CarriedSpec] = {}
    constants: dict[str, float] = {}
    einsums: tuple[str, ...] = Field(min_length=1)
    outputs: tuple[str, ...] = ()


def build_cascade(spec: CascadeSpec, name: str, locate: Callable[[str], Place | None] | None = None) -> Cascade:
    """Cascade of a validated spec; ``locate`` gives the place of a dotted path in its file.

    Raises
    ------
    WorkloadError
        All wrong Einsums together, or all problems of the cascade together.
    """
    find = locate or (lambda _: None)
    carried = {tensor: Carried(item.rank, item.initial) for tensor, item in spec.carried.items()}
    try:
        return Cascade(
            name=name,
            family=spec.family,
            assumes=spec.assumes,
            source=spec.source,
            ranks=spec.ranks,
            inputs=spec.inputs,
            einsums=_einsums(spec),
            carried=carried,
            constants=spec.constants,
            partition=spec.partition,
            outputs=spec.outputs,
            title=spec.title,
        )
    except WorkloadError as error:
        raise WorkloadError(*(Problem(p.message, find(p.path), p.path) for p in error.problems)) from None


def _einsums(spec: CascadeSpec) -> tuple[Einsum, ...]:
    ranks = {tensor: item.rank for tensor, item in spec.carried.items()}
    parsed: list[Einsum] = []
    problems: list[Problem] = []
    for place, text in enumerate(spec.einsums):
        try:
            parsed.append(parse_einsum(text, ranks, spec.constants, path=f"einsums.{place}"))
        except WorkloadError as error:
            problems += error.problems
    if problems:
        raise WorkloadError(*problems)
    return tuple(parsed)


def load_cascade(source: str | Path) -> Cascade:
    """Cascade of a file: a path, or the name of a shipped one (``softmax_1pass``).

    Raises
    ------
    WorkloadError
        With file, line, dotted path, the text and a caret.
    """
    path = source if isinstance(source, Path) else Path(__file__).with_name("cascades") / f"{source}.yaml"
    spec = CascadeSpec.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    return build_cascade(spec, path.stem, lambda _: Place(str(path)))
