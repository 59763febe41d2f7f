"""``dse check``: validates files of any kind through the loaders that simulations use, all errors together.

What a file is follows from its keys; where they fit several kinds, from its folder, then from what it
extends, then from what it is with the fewest errors. Checked: syntax, keys, values and units, names of other
files and of what they define. Not checked: whether a workload fits a machine, which depends on the
workload's parameters.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dse import spec, yaml_tree
from dse.errors import ConfigError, DseError, Problem, nearest
from dse.studies.verbs import listing, schema
from dse.studies.verbs.check_sweep import sweep_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


_COMMON = {"extends", "title", "summary", "source", "notes", "assumes"}
ALMOST = 0.8  # how alike two keys are that may be one, misspelt
_ROOMS = {shelf.kind: shelf.room for shelf in listing.SHELVES.values()} | {
    "sram": "arch/tables",
    "table": "studies/gpu",
    "technology": "arch/tables",
    "passage": "workloads/texts",
    "laws": "workloads/laws",
    "calibration": "arch/calibration",
}
TRACE = ".parquet"


def check(files: Sequence[str], resolved: bool) -> None:
    """Print one line for every good file, or with ``resolved`` its text after ``extends``.

    Raises
    ------
    ConfigError
        Every problem of every file.
    """
    problems: list[Problem] = []
    for path in {path.resolve(): path for path in _paths(files, problems)}.values():
        try:
            kind = kind_of(path)
            if resolved:
                _print_resolved(path, kind)
            found = CHECKS[kind](path)
        except DseError as error:
            problems += error.problems
        else:
            if not resolved:
                sys.stdout.write(f"ok  {listing.shown(path)}  {found}\n")
    if problems:
        raise ConfigError(*dict.fromkeys(problems))


def _paths(names: Iterable[str], problems: list[Problem]) -> list[Path]:
    found = []
    for name in names:
        try:
            found += _named(name)
        except ConfigError as error:
            problems += error.problems
    return found


def _named(name: str) -> list[Path]:
    """The file, the YAML files of the folder, or every shipped file called ``name``."""
    path = Path(name)
    if name and path.is_dir():
        found = sorted(path.rglob("*.yaml"))
        if not found:
            raise ConfigError(f"{name}: no YAML files in this folder")
        return found
    if path.is_file():
        return [path]
    shipped = {kind: listing.files(kind) for kind in listing.SHELVES if kind != "mappers"}
    same = [
        file for files in shipped.values() for key, file in files.items() if name in {key, Path(key).name}
    ]
    if same:
        return same
    known = {Path(key).name for files in shipped.values() for key in files}
    if path.stem in known:
        raise ConfigError(f"no file {name} here; the shipped one is: dse check {path.stem}")
    raise ConfigError(f"no file {name} here, and nothing of that name is shipped{nearest(name, known)}")


def kind_of(path: Path) -> str:
    """What a file is: a key of ``CHECKS``.

    Raises
    ------
    ConfigError
        The file cannot be read, or nothing tells what it is.
    """
    if path.suffix == TRACE:
        return "trace"
    root, _ = yaml_tree.compose(yaml_tree.read(path, listing.shown(path)), listing.shown(path))
    keys = root.value if isinstance(root.value, dict) else {}
    known = {kind: _keys(kind) for kind in CHECKS if kind != "trace"}
    fits = {kind: _fit(set(keys), own) for kind, own in known.items() if own}
    best = [kind for kind, fit in fits.items() if fit == max(fits.values())]
    if len(best) == 1 and fits[best[0]]:
        return best[0]
    extended = keys["extends"].value if "extends" in keys else None
    base = extended if isinstance(extended, str) else ""
    candidates = [kind for kind in best if _lies_in(path, kind)] or [
        kind for kind in best if _extends(base, kind)
    ]
    if not candidates and not fits[best[0]]:
        message = f"cannot tell what this file is, its keys fit none of: {', '.join(fits)}"
        raise ConfigError(Problem(message, root.place))
    left = candidates or best
    if len(left) == 1:
        return left[0]
    given = set(keys)
    return min(left, key=lambda kind: (_faults(path, kind), -_misspelt(given, known[kind]), len(known[kind])))


def _misspelt(given: set[str], known: set[str]) -> int:
    """How many keys a kind does not know, but almost."""
    unknown = given - known - _COMMON
    return sum(bool(difflib.get_close_matches(key, known, n=1, cutoff=ALMOST)) for key in unknown)


def _faults(path: Path, kind: str) -> int:
    """How much is wrong with a file if it is of this kind."""
    try:
        CHECKS[kind](path)
    except DseError as error:
        return len(error.problems)
    return 0


def _keys(kind: str) -> set[str]:
    """Keys that tell files of a kind from others."""
    found = schema.schemas(kind).values()
    return {field.alias or name for one in found for name, field in one.model_fields.items()} - _COMMON


def _fit(given: set[str], known: set[str]) -> int:
    """How well keys fit a kind: what it knows less what it does not, 0 if it knows none."""
    own = given - _COMMON
    return max(2 * len(own & known) - len(own - known), 1) if own & known else 0


def _lies_in(path: Path, kind: str) -> bool:
    folder = Path(_ROOMS[kind]).parts
    return path.resolve().parent.parts[-len(folder) :] == folder or (
        kind == "study" and path.name == "study.yaml"
    )


def _extends(base: str, kind: str) -> bool:
    return Path(base).name.removesuffix(".yaml") in {Path(name).name for name in spec.shipped(_ROOMS[kind])}


def _print_resolved(path: Path, kind: str) -> None:
    """The file after ``extends`` under a comment that names it."""
    if kind == "trace":
        raise ConfigError(f"{listing.shown(path)}: a trace extends nothing")
    text = yaml_tree.to_text(spec.resolve(path, _ROOMS[kind]))
    sys.stdout.write(f"# {listing.shown(path)}: {kind}\n{text}")


def _machine(path: Path) -> str:
    """Values and units, the mapping it names, its sweep."""
    from dse.arch.machine import load_machine
    from dse.arch.machine import schema as schema_of
    from dse.simulator.mapping import ROOM, load_mapping

    machine = load_machine(path)
    file = spec.load(path, schema_of(machine.kind), _ROOMS["machine"])
    problems = list(_missing(file, "mapping", machine.mapping, ROOM))
    if not problems:
        mapped = load_mapping(machine.mapping).file
        if not mapped.takes(machine.kind):
            message = f"mapping {machine.mapping} is for a {mapped.kind}, this machine is a {machine.kind}"
            problems.append(Problem(message, spec.place_of(file, "mapping"), "mapping"))
    problems += [] if file.sweep is None else sweep_problems(file, path)
    if problems:
        raise ConfigError(*problems)
    return f"machine, {machine.kind}"


def _missing(file: spec.Spec, path: str, name: str, room: str) -> Iterator[Problem]:
    """The problem of a reference to a file that is not there."""
    try:
        spec.find(name, room)
    except ConfigError as error:
        yield from (Problem(one.message, spec.place_of(file, path), path) for one in error.problems)


def _sweep(path: Path) -> str:
    """Axes, and what they name."""
    from dse.studies.sweep_file import SweepFile

    file = spec.load(path, SweepFile, _ROOMS["sweep"])
    problems = list(sweep_problems(file, path))
    if problems:
        raise ConfigError(*problems)
    return "sweep"


def _study(path: Path) -> str:
    """Keys and values, and the names within the study."""
    importlib.import_module("dse.studies.study_file").load_study(path.parent)
    return "study"


def _model(path: Path) -> str:
    """Values, and heads that divide; at any sequence length."""
    from dse.workloads.cascade_file import load_cascade
    from dse.workloads.model import load_model

    try:
        family = load_model(path, {"sequence": "1"}).family
    except DseError as error:
        raise ConfigError(*(_in_file(one, path) for one in error.problems)) from None
    shipped = [load_cascade(file).family for file in listing.files("cascades").values()]
    return f"model, family {family} of {shipped.count(family)} shipped cascades"


def _in_file(problem: Problem, path: Path) -> Problem:
    """A problem of a parameter whose value stands in the file."""
    from dse.workloads.model import ModelFile

    if problem.place is not None:
        return problem
    key = problem.path.removeprefix("-p ")
    return Problem(problem.message, spec.place_of(spec.load(path, ModelFile, _ROOMS["model"]), key), key)


def _cascade(path: Path) -> str:
    """Grammar, ranks, tensors, order and recurrences."""
    from dse.workloads.cascade_file import load_cascade

    cascade = load_cascade(path)
    count = len(cascade.einsums)
    return f"cascade, {count} Einsum{'s' if count > 1 else ''} of family {cascade.family}"


def _mapping(path: Path) -> str:
    """Values, each of its options, and the names of its cascade's Einsums and tensors."""
    from dse.simulator.mapping import load_file, load_mapping
    from dse.workloads.cascade_file import ROOM

    file = load_file(path)
    problems = [*_missing(file, "cascade", file.cascade, ROOM)] if file.cascade else []
    problems += [] if problems else file.strangers()
    if file.points is not None:
        place = spec.place_of(file, "points")
        if not spec.is_file(Path(place.file).parent / file.points):
            problems.append(Problem(f"there is no file {file.points} beside this one", place, "points"))
    for option, choices in file.options.items():
        for choice in choices:
            try:
                load_mapping(path, {option: choice})
            except ConfigError as error:
                problems += error.problems
    if problems:
        raise ConfigError(*problems)
    return f"mapping, cascade {file.cascade or 'of any kind'} on a {file.kind}"


def _space(path: Path) -> str:
    """The mapping it varies has all its options and choices."""
    from dse.mappers.space import SpaceFile
    from dse.simulator.mapping import ROOM, load_file

    file = spec.load(path, SpaceFile, _ROOMS["space"])
    if file.nests is not None:
        return f"space, loop nests of {file.nests.cascade or 'any cascade'}"
    problems = list(_missing(file, "mapping", file.mapping, ROOM))
    if not problems:
        known = load_file(file.mapping).options
        for option, choices in file.options.items():
            at = f"options.{option}"
            if option not in known:
                message = f"mapping {file.mapping} has no option '{option}'{nearest(option, known)}"
                problems.append(Problem(message, spec.place_of(file, at), at))
            problems += [
                Problem(
                    f"'{choice}' is not one of {', '.join(known[option])}",
                    spec.place_of(file, f"{at}[{i}]"),
                    f"{at}[{i}]",
                )
                for i, choice in enumerate(choices)
                if option in known and choice not in known[option]
            ]
    if problems:
        raise ConfigError(*problems)
    return f"space, mapping {file.mapping}"


def _kernel(path: Path) -> str:
    """Names within the annotation, and its cascade."""
    from dse.workloads.annotation import load_annotation
    from dse.workloads.cascade_file import ROOM

    annotation = load_annotation(path)
    problems = list(_missing(annotation, "cascade", annotation.cascade, ROOM))
    if problems:
        raise ConfigError(*problems)
    return f"kernel, cascade {annotation.cascade}"


def _suite(path: Path) -> str:
    """Kernels and their parameters."""
    from dse.studies.measure_suite import load_suite

    return f"suite, {len(load_suite(path).jobs)} jobs"


def _trace(path: Path) -> str:
    """A whole trace."""
    from dse.workloads.trace_file import read_trace

    return f"trace of {read_trace(path).kernel}"


def _table(path: Path) -> str:
    """Description of a latency table, and its rules against the columns of the table beside it."""
    from dse.studies.latency.table import load_table

    if not path.with_suffix(".csv").is_file():
        raise ConfigError(f"{listing.shown(path)}: there is no {path.stem}.csv beside it")
    found = load_table(str(path.with_suffix(".csv")))
    kinds = len(found.kernels)
    return f"table, {len(found.rows)} rows, {kinds} class{'es' if kinds > 1 else ''}"


def _by_schema(kind: str) -> Callable[[Path], str]:
    """Keys and values only."""

    def validate(path: Path) -> str:
        for found in schema.schemas(kind).values():
            spec.load(path, found, _ROOMS[kind])
        return kind

    return validate


CHECKS: dict[str, Callable[[Path], str]] = {
    "machine": _machine,
    "memory": _by_schema("memory"),
    "model": _model,
    "cascade": _cascade,
    "mapping": _mapping,
    "space": _space,
    "kernel": _kernel,
    "sweep": _sweep,
    "study": _study,
    "suite": _suite,
    "table": _table,
    "sram": _by_schema("sram"),
    "technology": _by_schema("technology"),
    "passage": _by_schema("passage"),
    "laws": _by_schema("laws"),
    "calibration": _by_schema("calibration"),
    "trace": _trace,
}
