"""Cascade files: the schema of ``workloads/cascades/*.yaml`` and the way from a file to a ``Cascade``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from dse import spec as files
from dse.errors import ConfigError, Place, Problem, WorkloadError
from dse.workloads.cascade import Carried, Cascade, Einsum
from dse.workloads.language import parse_einsum

if TYPE_CHECKING:
    from collections.abc import Callable

ROOM = "workloads/cascades"


class CarriedSpec(files.Spec):
    """Initial value of a tensor defined at ``rank+1`` from its value at ``rank``: a number, -inf or inf."""

    rank: str
    initial: Annotated[float, Field(allow_inf_nan=True)]


class CascadeSpec(files.Spec):
    """One cascade: what it computes, what it leaves out and where it comes from."""

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


def build_cascade(
    spec: CascadeSpec, name: str, locate: Callable[[str], Place | None] | None = None
) -> Cascade:
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
    try:
        spec = files.load(source, CascadeSpec, ROOM)
    except ConfigError as error:
        raise WorkloadError(*error.problems) from None
    return build_cascade(spec, files.origin(spec).stem, lambda path: _place(spec, path))


def parse_cascade(text: str, name: str = "<text>") -> Cascade:
    """Cascade of a file's text; ``name`` stands for the file in errors. Raises as ``load_cascade``."""
    try:
        spec = files.parse(text, CascadeSpec, name)
    except ConfigError as error:
        raise WorkloadError(*error.problems) from None
    return build_cascade(spec, Path(name).stem, lambda path: _place(spec, path))


def _place(spec: CascadeSpec, path: str) -> Place:
    return files.place_of(spec, re.sub(r"\.(\d+)$", r"[\1]", path))
