"""``dse map``: search the mappings of one problem, anytime; or say how many there are."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from dse.errors import ConfigError, InfeasibleError, Problem
from dse.mappers.choose import explorer
from dse.mappers.search.build import space_file, space_of
from dse.mappers.search.candidates import choices_of
from dse.mappers.search.each import run
from dse.mappers.search.objective import COLUMNS, objective
from dse.mappers.search.search import Limits, Search
from dse.mappers.space import load_space
from dse.simulator.evaluate import evaluate
from dse.simulator.lowering import lower
from dse.studies.batch import Group, Request, Resolver
from dse.studies.record import record, refuse_infeasible
from dse.studies.requests import request
from dse.studies.tables import emit, write

if TYPE_CHECKING:
    from pathlib import Path

    from dse.mappers.search.candidates import Codes, Part, Space
    from dse.simulator.mapping import Mapping

SHOWN_FRONT = 40


def map(  # noqa: A001 - the verb's name
    machine: str,
    workload: str,
    parameters: list[str],
    changes: list[str],
    accounting: str,
    mapper: str,
    mapping: str | None,
    objective_name: str,
    space: str | None,
    budget: int | None,
    seconds: float | None,
    seed: int,
    count: bool,
    save: Path | None,
    output: Path | None,
    format: str,  # noqa: A002
) -> None:
    """Search the mappings of one problem and print the best, its front, and what was tried.

    Raises
    ------
    InfeasibleError
        Nothing tried fits; the record of the nearest is printed first.
    """
    asked = request(machine, workload, parameters, changes, accounting, mapper, mapping)
    explore, wanted = explorer(mapper), objective(objective_name)
    candidates = _space(asked, space)
    if count:
        _put(_counted(candidates), output, format)
        return
    search = Search(candidates, wanted, Limits(budget, seconds, seed), _watcher(candidates))
    run(explore, search)
    if search.progress is not None:
        sys.stderr.write("\r\x1b[K")
    _refuse_unknown(search)
    found = _found(asked, search)
    if save is not None and search.best is not None:
        _save(search.best.part.point(search.best.code)[2], save)
    _put(found, output, format)
    refuse_infeasible(found)


def _space(asked: Request, name: str | None) -> Space:
    """The space of the problem: the one named, or that of the machine's mapping."""
    resolver = Resolver()
    machine, work = resolver.machine(asked), resolver.workload(asked)
    file = space_file(resolver.mapping(asked)) if name is None else load_space(name)
    return space_of(work, machine, asked.accounting, file)


def _counted(space: Space) -> dict[str, Any]:
    """How many candidates there are, and of what."""
    parts = [
        {
            "part": part.name,
            "candidates": size,
            "axes": {axis.name: len(axis.choices) for axis in part.axes},
        }
        for part, size in zip(space.parts, space.sizes(), strict=True)
    ]
    return {"space": space.size, "parts": parts}


def _found(asked: Request, search: Search) -> dict[str, Any]:
    """What ``dse run`` would say of the best candidate, and what the search did."""
    at = (search.best.part, search.best.code) if search.best else search.nearest and search.nearest[1:]
    seconds = search.seconds
    if at is None:
        raise InfeasibleError(
            *(
                f"no mapping works, {count} of {search.evaluated} candidates: {why}"
                for why, count in _ordered(search.rejected)
            )
        )
    done: dict[str, Any] = {
        "objective": list(search.objective.names),
        "chosen": choices_of(*at),
        "evaluated": search.evaluated,
        "space": search.space.size,
        "seconds": seconds,
        "stopped": search.stopped or None,
        "seed": search.limits.seed,
        "rejected": dict(_ordered(search.rejected)),
        "front": _front(search),
    }
    return record(asked, _group(asked.accounting, *at)) | done


def _refuse_unknown(search: Search) -> None:
    """Raise if an objective has no value even where a candidate fits: no source gives the machine's area or energy.

    Raises
    ------
    ConfigError
        Names the objectives.
    """
    if search.best is None:
        return
    unknown = [
        name
        for name, score in zip(search.objective.names, search.best.scores, strict=True)
        if not math.isfinite(score)
    ]
    if unknown:
        machine = search.best.part.point(search.best.code)[1].name
        message = f"not known of {machine}: a source of its area or energy is missing"
        raise ConfigError(*(Problem(message, path=f"objective {name}") for name in unknown))


def _ordered(rejected: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(rejected.items(), key=lambda pair: (-pair[1], pair[0]))


def _front(search: Search) -> list[dict[str, Any]]:
    """The Pareto front, or the best alone, by the first objective."""
    kept = search.front if search.objective.several else [search.best] if search.best else []
    columns = [COLUMNS[name] for name in search.objective.names]
    rows = [
        dict(zip(columns, candidate.scores.tolist(), strict=True))
        | {"mapping": candidate.part.point(candidate.code)[2].label}
        for candidate in kept
    ]
    return sorted(rows, key=lambda row: [row[column] for column in columns])


def _group(accounting: str, part: Part, code: Codes) -> Group:
    """Full evaluation of one candidate."""
    work, machine, mapping = part.point(code)
    lowered = lower(work, machine, mapping, accounting)
    return Group((0,), accounting, work, machine, (mapping,), lowered, evaluate(lowered.program))


def _save(mapping: Mapping, file: Path) -> None:
    """Write a loop nest as a mapping file.

    Raises
    ------
    ConfigError
        The mapping is a choice of options, which is not a file.
    """
    import yaml

    from dse.simulator.loop_nest.mapping import KIND, written
    from dse.studies.frames import write_atomic

    if mapping.file.kind != KIND:
        words = " ".join(f"--option {key}={value}" for key, value in mapping.choices.items())
        raise ConfigError(f"only loop nests are written to files; this is --mapping {mapping.name} {words}")
    write_atomic(file, yaml.safe_dump(written(mapping), sort_keys=False, width=110).encode())


def _put(found: dict[str, Any], output: Path | None, format: str) -> None:  # noqa: A002
    """Print, and write where asked."""
    if output is not None:
        write(found, output)
    if format != "table":
        emit(found, format)
        return
    hidden = ("notes", "versions", "error_bar", "front", "parts")
    emit({key: value for key, value in found.items() if key not in hidden}, "table")
    front = found.get("front", [])
    if len(front) > 1:
        sys.stdout.write("\n")
        emit(front[:SHOWN_FRONT], "table")
    if len(front) > SHOWN_FRONT:
        sys.stdout.write(f"note: {len(front) - SHOWN_FRONT} more on the front; --format json has all\n")
    if "parts" in found:
        sys.stdout.write("\n")
        emit(found["parts"], "table")
    sys.stdout.writelines(f"note: {note}\n" for note in found.get("notes", []))


def _watcher(space: Space) -> Any:  # noqa: ANN401
    """A callback that keeps one line of progress on a terminal's standard error; None where there is no terminal."""
    if not sys.stderr.isatty():
        return None
    total = space.size

    def show(search: Search) -> None:
        best = "nothing fits yet"
        if search.best is not None:
            values = zip(search.objective.names, search.best.scores.tolist(), strict=True)
            best = ", ".join(f"{name} {value:.6g}" for name, value in values)
        rate = search.evaluated / max(search.seconds, 1e-9)
        sys.stderr.write(
            f"\r\x1b[K{search.evaluated:,} of {total:,}, {rate:,.0f}/s, {search.seconds:.1f} s; {best}"
        )
        sys.stderr.flush()

    return show
