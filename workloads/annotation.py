"""Kernel annotations: what a Triton kernel computes, as a file that needs neither torch nor triton.

Modelled: parameters with defaults and units, the cascade a kernel runs, and for each launch which arguments
are which tensors and tile sizes, the Einsums it computes, its steps (what it repeats), matrix products and
mask. Not modelled: how it is scheduled on a GPU. ``docs/kernels.md`` says how to write one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from dse import spec as files
from dse.errors import ConfigError, Problem, nearest
from dse.workloads.parameters import Parameter, resolve, with_value, wrong_defaults

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path
    from typing import Self

    from dse.workloads.trace import Value

ROOM = "kernels"
# Where extra operations stand that a program does once.
PROGRAM = "program"


class TensorNote(files.Spec):
    """A tensor argument: its cascade tensor, what each dimension is, how often a program reads it.

    A dimension is a rank, a rank divided by a whole number where several elements share one (``e/2``), or a
    whole number. ``access`` is needed for tensors outside the cascade that are read; ``coverage: visited``
    says that only visited tiles are touched, not every element in use; ``step`` names the step that touches
    a tile of it, where that is not the last one listed that moves along one of its ranks. ``repeats`` are
    ranks it does not have, but the programs do: each of their tiles (or indices) touches it again. An
    ``optional`` argument may be None in a launch.
    """

    tensor: str = ""
    ranks: tuple[str, ...]
    traversals: int = Field(default=1, ge=1)
    repeats: tuple[str, ...] = ()
    access: Literal["", "read", "write", "both"] = ""
    coverage: Literal["all", "visited"] = "all"
    step: str = ""
    optional: bool = False


class StepNote(files.Spec):
    """Something a program repeats: a loop over tiles, or a branch ``inside`` of one.

    It happens as often as tiles of the argument ``loads`` are read, tiles of ``stores`` are written, or as
    the ``loop``-th loop of the launch (by source line, from 0) makes trips. It moves along ``rank``, by
    ``tile`` where it is tiled. ``einsums`` are Einsums it computes though their ranks do not show it.
    """

    rank: str = ""
    tile: str = ""
    loads: str = ""
    stores: str = ""
    loop: int | None = None
    inside: str = ""
    einsums: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_count(self) -> Self:
        if sum((bool(self.loads), bool(self.stores), self.loop is not None)) != 1:
            raise ValueError("give one of loads, stores and loop: it counts how often the step happens")
        return self


class MaskNote(files.Spec):
    """What hides scores: launch arguments with a flag, a window and lengths, or something ``other``.

    ``scores`` are a tile's row and key ranks; ``step`` names the step that visits such tiles, where no step
    moves by one of them. With ``other``, a text that says what chooses the pairs, their
    number is taken from the trace and not compared with a closed form.
    """

    scores: tuple[str, str]
    causal: str = ""
    window: str = ""
    lengths: dict[str, str] = {}
    step: str = ""
    other: str = ""


class ValuesNote(files.Spec):
    """Where the scores of a tile pass: what goes into a reduction (``max``) or an exponential.

    They are scaled and masked there; ``base`` is that of the kernel's exponentials, e or 2.
    """

    operator: Literal["max", "exp", "exp2"] = "max"
    base: Literal["e", "2"] = "2"


class LaunchNote(files.Spec):
    """One launch of a kernel function; see ``docs/kernels.md`` for the fields."""

    kernel: str = ""
    optional: bool = False
    einsums: tuple[str, ...] = ()
    outer: tuple[str, ...] = ()
    tiles: dict[str, str]
    tensors: dict[str, TensorNote]
    steering: dict[str, str] = {}
    steps: dict[str, StepNote] = {}
    dots: dict[str, tuple[str, str, str]] = {}
    vector: tuple[str, ...] = ()
    extra: dict[str, dict[str, tuple[tuple[str, ...], ...]]] = {}
    extra_reason: str = ""
    lengths: dict[str, str] = {}
    pairs_of: str = ""
    mask: MaskNote | None = None
    values: ValuesNote | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.extra) != bool(self.extra_reason):
            raise ValueError("extra and extra_reason belong together: say why the operations are added")
        if self.lengths and self.mask is not None:
            raise ValueError("a launch with a mask gives its lengths there")
        if self.values is not None and self.mask is None:
            raise ValueError("values need a mask: its scores say which tiles they are")
        return self

    @property
    def scoring_step(self) -> str:
        """The step that visits one tile of scores, empty if a program has a single one, or none."""
        if self.mask is None:
            return ""
        if self.mask.step:
            return self.mask.step
        rows, keys = self.mask.scores
        steps = [(name, step) for name, step in self.steps.items() if not step.inside]
        moving = [name for rank in (keys, rows) for name, step in steps if rank in (step.tile, step.rank)]
        return moving[0] if moving else ""

    def with_arguments(self, given: Collection[str]) -> LaunchNote:
        """This note without the optional tensors that a launch was not given."""
        kept = {name: note for name, note in self.tensors.items() if name in given or not note.optional}
        return self.model_copy(update={"tensors": kept})

    def references(
        self, label: str, ranks: Collection[str]
    ) -> Iterator[tuple[str, str, str, Collection[str]]]:
        """Every name that refers to another section: its path, what it names, the name, what is defined."""
        path = f"launches.{label}"
        for argument, note in self.tensors.items():
            for dimension in (*note.ranks, *note.repeats):
                if not dimension.isdigit():
                    yield f"{path}.tensors.{argument}.ranks", "rank", dimension.partition("/")[0], ranks
            if note.step:
                yield f"{path}.tensors.{argument}.step", "step", note.step, self.steps
        for rank in self.outer:
            yield f"{path}.outer", "rank", rank, ranks
        if self.mask is not None and self.mask.step:
            yield f"{path}.mask.step", "step", self.mask.step, self.steps
        for name in self.extra:
            yield f"{path}.extra", "step", name, {*self.steps, PROGRAM}
        yield from self._step_references(path, ranks)
        for where, sizes in self._tiled():
            for rank in sizes:
                yield f"{path}.{where}", "tiled rank", rank, self.tiles

    def _step_references(
        self, path: str, ranks: Collection[str]
    ) -> Iterator[tuple[str, str, str, Collection[str]]]:
        known: dict[str, tuple[str, Collection[str]]] = {
            "rank": ("rank", {*ranks, *self.tiles}),
            "tile": ("tiled rank", self.tiles),
            "loads": ("tensor argument", {*self.tensors, *self.steering}),
            "stores": ("tensor argument", self.tensors),
            "inside": ("step", self.steps),
        }
        for name, step in self.steps.items():
            for key, (what, names) in known.items():
                if getattr(step, key):
                    yield f"{path}.steps.{name}.{key}", what, getattr(step, key), names

    def _tiled(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Places that name tiled ranks."""
        for name, sizes in self.dots.items():
            yield f"dots.{name}", sizes
        if self.mask is not None:
            yield "mask.scores", self.mask.scores
        for step, kinds in self.extra.items():
            for kind, operations in kinds.items():
                for ranks in operations:
                    yield f"extra.{step}.{kind}", ranks


class Annotation(files.Spec):
    """One kernel: ``kernels/<name>.yaml``."""

    summary: str
    source: str
    cascade: str
    parameters: dict[str, Parameter]
    ranks: dict[str, str]
    outer: tuple[str, ...] = Field(min_length=1)
    groups: dict[str, str] = {}
    whole: dict[str, str] = {}
    outside: dict[str, str] = {}
    launches: dict[str, LaunchNote] = Field(min_length=1)
    scores: str = ""
    reference: tuple[str, ...] = Field(min_length=1)
    useful: str
    tolerance: dict[str, float]

    def resolve(self, given: Mapping[str, object]) -> dict[str, Value]:
        """Value of every parameter, typed; WorkloadError with all unknown, missing and malformed ones."""
        return resolve(self.parameters, given)

    @property
    def scoring(self) -> str:
        """Label of the launch whose query-key pairs are the workload's: ``scores``, or the first with a mask.

        Empty where no launch has a mask.
        """
        masked = [label for label, note in self.launches.items() if note.mask is not None]
        return self.scores or (masked[0] if masked else "")

    def problems(self) -> Iterator[tuple[str, str]]:
        """Dotted path and fault of every name that refers to nothing."""
        for path, what, name, known in self._references():
            if name not in known:
                yield path, f"there is no {what} '{name}'{nearest(name, known)}"
        yield from wrong_defaults(self.parameters)

    def _references(self) -> Iterator[tuple[str, str, str, Collection[str]]]:
        own = with_value(self.parameters)
        for name, parameter in self.parameters.items():
            if parameter.like is not None:
                yield f"parameters.{name}.like", "parameter with its own value", parameter.like, own
        for rank, name in self.ranks.items():
            if name:
                yield f"ranks.{rank}", "parameter", name, self.parameters
        for key in ("outer", "reference"):
            for rank in getattr(self, key):
                yield key, "rank", rank, self.ranks
        for key in ("groups", "whole"):
            for part, rank in getattr(self, key).items():
                yield f"{key}.{part}", "rank", rank, self.ranks
        for rank in self.groups:
            yield f"groups.{rank}", "rank", rank, self.ranks
        masked = [label for label, note in self.launches.items() if note.mask is not None]
        pairs = {f"launches.{label}.pairs_of": note.pairs_of for label, note in self.launches.items()}
        for path, label in ({"scores": self.scores} | pairs).items():
            if label:
                yield path, "launch with a mask", label, masked
        for label, note in self.launches.items():
            yield from note.references(label, self.ranks)


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
