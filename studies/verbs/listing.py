"""``dse list``: what is shipped, found by its place; a file that cannot be read is listed with the reason."""

from __future__ import annotations

import ast
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from dse import spec
from dse.errors import DseError
from dse.studies.tables import emit

if TYPE_CHECKING:
    from collections.abc import Iterator

TITLES = ("summary", "title")
WIDTH = 80  # characters of a summary in a table; csv and json have all of it
VALUES = ".values"  # end of the stem of a file that only holds the values of the trace beside it


@dataclass(frozen=True, slots=True)
class Entry:
    """One shipped thing: the name that verbs take, its kind, its file, and what it is."""

    name: str
    kind: str
    path: str
    summary: str


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where one kind of thing is shipped; ``deep`` if folders of the room hold the same kind."""

    kind: str
    room: str
    suffix: str = ".yaml"
    deep: bool = True


SHELVES = {
    "machines": Shelf("machine", "arch", deep=False),
    "memories": Shelf("memory", "arch/memories"),
    "models": Shelf("model", "workloads/models"),
    "cascades": Shelf("cascade", "workloads/cascades"),
    "traces": Shelf("trace", "workloads/traces", ".parquet"),
    "kernels": Shelf("kernel", "kernels"),
    "mappers": Shelf("mapper", "mappers", ".py", deep=False),
    "mappings": Shelf("mapping", "mappers/mappings"),
    "spaces": Shelf("space", "mappers/spaces"),
    "sweeps": Shelf("sweep", "studies/sweeps"),
    "studies": Shelf("study", "studies", "/study.yaml"),
    "suites": Shelf("suite", "studies/gpu/suites"),
    "tables": Shelf("table", "studies/gpu/third_party"),
}
TOGETHER = {"workloads": ("models", "cascades", "traces")}


def listing(kind: str | None, format: str) -> None:  # noqa: A002 - named like the option
    """Print what there is of a kind, a key of ``SHELVES`` or ``TOGETHER``; of all kinds for None."""
    kinds = SHELVES if kind is None else TOGETHER.get(kind, (kind,))
    found = [entry for name in kinds for entry in entries(name)]
    if format != "table":
        emit([asdict(entry) for entry in found], format)
    elif found:
        emit(
            [
                {"name": e.name, "kind": e.kind, "summary": shorten(e.summary, WIDTH, placeholder=" ...")}
                for e in found
            ]
        )
    else:
        sys.stdout.write(f"no {kind} are shipped\n")


def entries(kind: str) -> Iterator[Entry]:
    """Everything shipped on one shelf, by name."""
    shelf = SHELVES[kind]
    for name, path in files(kind).items():
        try:
            summary = _summary(shelf, path)
        except DseError as error:
            summary = f"cannot be read: {error.problems[0]}"
        yield Entry(name, shelf.kind, shown(path), summary)


def files(kind: str) -> dict[str, Path]:
    """Shipped files of one shelf by name."""
    shelf = SHELVES[kind]
    found = spec.shipped(shelf.room, shelf.suffix)
    if kind == "mappers":
        from dse.mappers.choose import mappers

        return {name: found[name] for name in mappers()}
    return {
        name: path
        for name, path in found.items()
        if (shelf.deep or "/" not in name) and not name.endswith(VALUES)
    }


def shown(path: Path) -> str:
    """A path as a person would type it here, however the package reached it."""
    real, here = path.resolve(), Path.cwd().resolve()
    return real.relative_to(here).as_posix() if real.is_relative_to(here) else os.fspath(path)


def _summary(shelf: Shelf, path: Path) -> str:
    """First words a file has about itself."""
    if shelf.suffix == ".py":
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        return text.partition("\n")[0]
    if shelf.suffix == ".parquet":
        return _traced(path)
    keys = spec.resolve(path, shelf.room).value
    found = (keys[key].value for key in TITLES if key in keys) if isinstance(keys, dict) else ()
    return next((text for text in found if isinstance(text, str)), "no title")


def _traced(path: Path) -> str:
    """Kernel and parameters of a trace, from its metadata."""
    from dse.workloads.trace_file import read_trace

    trace = read_trace(path)
    given = ", ".join(
        f"{name}={value}" for name, value in trace.parameters.items() if value not in {None, ()}
    )
    return f"{trace.kernel}: {given}"
