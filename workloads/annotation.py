"""Kernel annotations: what a Triton kernel computes, as a file that needs neither torch nor triton.

Modelled: parameters with defaults and units, the cascade a kernel runs, which arguments are which tensors and
tile sizes, its matrix products, its mask, and what counts as useful. Not modelled: how it is scheduled on a
GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dse import spec as files
from dse.errors import ConfigError, Problem, WorkloadError, nearest
from dse.units import parse_count

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from dse.workloads.trace import Value

ROOM = "kernels"
FULL = "full"
_FLAGS = {"true": True, "false": False}


class Parameter(files.Spec):
    """One parameter of a kernel.

    A ``count`` is a whole number above 0 (``64K`` works), a ``flag`` is true or false, a ``choice`` one of
    ``choices``, ``lengths`` are whole numbers separated by commas, or ``full``. It takes its default, or else
    the value of the parameter it is ``like``; with neither it must be given.
    """

    summary: str
    kind: Literal["count", "flag", "choice", "lengths"] = "count"
    default: str | None = None
    like: str | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""


class TensorNote(files.Spec):
    """A tensor argument: its cascade tensor, a rank for each dimension, how often a program reads it."""

    tensor: str = ""
    ranks: tuple[str, ...]
    traversals: int = Field(default=1, ge=1)


class LoopNote(files.Spec):
    """The loop over tiles of a rank; each iteration visits one ``tile`` and loads it from an argument."""

    rank: str
    tile: str
    loads: str


class MaskNote(files.Spec):
    """Launch arguments that mask scores: a flag and lengths; ``scores`` are a tile's row and key ranks."""

    causal: str
    scores: tuple[str, str]
    lengths: dict[str, str] = {}


class Annotation(files.Spec):
    """One kernel: ``kernels/<name>.yaml``."""

    summary: str
    source: str
    cascade: str
    kernel: str
    parameters: dict[str, Parameter]
    ranks: dict[str, str]
    outer: tuple[str, ...] = Field(min_length=1)
    tiles: dict[str, str]
    tensors: dict[str, TensorNote]
    loop: LoopNote
    dots: dict[str, tuple[str, str, str]]
    mask: MaskNote
    useful: str
    tolerance: dict[str, float]

    def resolve(self, given: Mapping[str, object]) -> dict[str, Value]:
        """Value of every parameter, typed; text is read as in the file.

        Raises
        ------
        WorkloadError
            Unknown, missing and malformed parameters, together.
        """
        problems = [
            Problem(f"unknown parameter{nearest(name, self.parameters)}", path=name)
            for name in given
            if name not in self.parameters
        ]
        values: dict[str, Value] = {}
        wrong: dict[str, str] = {}
        for name in self.parameters:
            source, raw = self._raw(name, given)
            try:
                values[name] = _typed(self.parameters[source], raw)
            except (ConfigError, WorkloadError) as error:
                wrong[source] = str(error)
        problems += [Problem(message, path=name) for name, message in wrong.items()]
        if problems:
            raise WorkloadError(*problems)
        return values

    def _raw(self, name: str, given: Mapping[str, object]) -> tuple[str, object]:
        """What a parameter is set to, and the parameter that set it."""
        while name not in given:
            like = self.parameters[name].like
            if like is None:
                return name, self.parameters[name].default
            name = like
        return name, given[name]

    def problems(self) -> Iterator[tuple[str, str]]:
        """Dotted path and fault of every name that refers to nothing."""
        for path, what, name, known in self._references():
            if name not in known:
                yield path, f"there is no {what} '{name}'{nearest(name, known)}"
        for name, parameter in self.parameters.items():
            try:
                if parameter.default is not None:
                    _typed(parameter, parameter.default)
            except (ConfigError, WorkloadError) as error:
                yield f"parameters.{name}.default", str(error)

    def _references(self) -> Iterator[tuple[str, str, str, Collection[str]]]:
        """Every name that refers to another section: its path, what it names, the name, what is defined."""
        own = [name for name, parameter in self.parameters.items() if parameter.like is None]
        for name, parameter in self.parameters.items():
            if parameter.like is not None:
                yield f"parameters.{name}.like", "parameter with its own value", parameter.like, own
        for rank, name in self.ranks.items():
            yield f"ranks.{rank}", "parameter", name, self.parameters
        for argument, note in self.tensors.items():
            for rank in note.ranks:
                yield f"tensors.{argument}.ranks", "rank", rank, self.ranks
        for rank in self.outer:
            yield "outer", "rank", rank, self.ranks
        yield "loop.loads", "tensor argument", self.loop.loads, self.tensors
        yield "loop.rank", "rank", self.loop.rank, self.ranks
        yield "loop.tile", "tiled rank", self.loop.tile, self.tiles
        tiled = {f"dots.{name}": ranks for name, ranks in self.dots.items()}
        for path, ranks in (tiled | {"mask.scores": self.mask.scores}).items():
            for rank in ranks:
                yield path, "tiled rank", rank, self.tiles


def load_annotation(source: str | Path) -> Annotation:
    """The annotation of a shipped kernel (``flash_forward``), or of a file.

    Raises
    ------
    ConfigError
        Every problem of the file, each with its place.
    """
    annotation = files.load(source, Annotation, ROOM)
    problems = [
        Problem(message, files.place_of(annotation, path), path) for path, message in annotation.problems()
    ]
    if problems:
        raise ConfigError(*problems)
    return annotation


def _typed(parameter: Parameter, raw: object) -> Value:
    if raw is None:
        raise WorkloadError("needs a value: it has no default")
    text = ",".join(map(str, raw)) if isinstance(raw, (list, tuple)) else str(raw).strip()
    if parameter.kind == "flag":
        if text.lower() not in _FLAGS:
            raise WorkloadError(f"'{text}' is neither true nor false")
        return _FLAGS[text.lower()]
    if parameter.kind == "choice":
        if text not in parameter.choices:
            allowed = ", ".join(parameter.choices)
            raise WorkloadError(f"'{text}' is none of {allowed}{nearest(text, parameter.choices)}")
        return text
    if parameter.kind == "lengths":
        return () if text in (FULL, "") else tuple(parse_count(part) for part in text.split(","))
    count = parse_count(text)
    if count < 1:
        raise WorkloadError(f"'{text}' must be more than 0")
    return count
