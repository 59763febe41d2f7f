"""``dse passes``: how often a cascade traverses each rank, what that keeps live, and its operations.

A cascade alone may go without sizes: then no bytes and counts are given. A model stands for one cascade
(``-p cascade=``) or for a comparison of all shipped cascades of its family. Counts and traffic are those of
all heads, batch elements and layers; what is kept is for one of them, as they need not be computed together.
Not modelled: masks, which leave fewer operations, and the mapping, which decides between keeping and moving.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from dse.studies.pass_subject import subject_of
from dse.studies.quantities import MISSING, quantity, size
from dse.studies.requests import pairs
from dse.studies.tables import emit
from dse.workloads.cascade import points
from dse.workloads.passes import analyse_passes, rank_groups

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dse.studies.pass_subject import Subject
    from dse.workloads.cascade import Cascade
    from dse.workloads.operators import Array
    from dse.workloads.passes import Barrier, Live, PassAnalysis

Record = dict[str, Any]
BYTES = ("fiber_bytes", "keep_bytes", "traffic_bytes")
LEGEND = "fiber, keep: bytes held on chip for one fiber, for all; traffic: bytes moved out and in instead\n"


def passes(workload: str, parameters: list[str], format: str) -> None:  # noqa: A002 - named like the option
    """Print the analysis: json holds everything, csv one row for each barrier, a table the most of it.

    Raises
    ------
    DseError
        No such workload, or parameters that are unknown, missing or wrong.
    """
    given = dict(pairs(parameters, "-p"))
    subject = subject_of(workload, given)
    if format == "table":
        _print(subject)
        return
    found = [_record(subject, cascade) for cascade in subject.cascades]
    if format == "csv":
        emit([row for cascade in subject.cascades for row in _rows(subject, cascade)], format)
    else:
        emit(
            {"workload": workload, "parameters": given, "instances": subject.instances, "cascades": found},
            format,
        )


def _product(cascade: Cascade, ranks: tuple[str, ...], sizes: Mapping[str, Array]) -> float | None:
    """Points of an iteration space, None where a size is not known."""
    merged = _merged(cascade, ranks)
    if any(rank not in sizes for rank in merged):
        return None
    return float(points(merged, sizes)[0])


def _merged(cascade: Cascade, ranks: tuple[str, ...]) -> tuple[str, ...]:
    """Ranks with every partition that is there in full put together: ``(e, m1, m0)`` gives ``(e, m)``."""
    for whole, parts in cascade.partition.items():
        if set(parts) <= set(ranks):
            ranks = tuple(dict.fromkeys(whole if rank in parts else rank for rank in ranks))
    return ranks


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _total(values: Iterable[float | None]) -> float | None:
    """Sum from left to right, None if a value is not known."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _name(cascade: Cascade, group: tuple[str, ...]) -> str:
    """Name of a rank group: that of the whole where it is a partition."""
    return next((whole for whole, parts in cascade.partition.items() if parts == group), ",".join(group))


def _level(cascade: Cascade, group: tuple[str, ...]) -> str:
    return "tile" if any(group[0] in parts[1:] for parts in cascade.partition.values()) else "global"


def _live(subject: Subject, cascade: Cascade, group: tuple[str, ...], live: Live) -> Record:
    """One tensor live at a barrier: kept whole, or moved: out and in again, inputs only in again."""
    sizes, width = subject.sizes[cascade.name], subject.value_bytes
    fiber = tuple(rank for rank in live.ranks if rank in group)
    moves = 1.0 if live.reread else 2.0
    everywhere = _product(cascade, cascade.tensors[live.tensor], sizes)
    return {
        "tensor": live.tensor,
        "ranks": list(live.ranks),
        "input": live.reread,
        "fiber_bytes": _scaled(_product(cascade, fiber, sizes), width),
        "keep_bytes": _scaled(_product(cascade, live.ranks, sizes), width),
        "traffic_bytes": _scaled(everywhere, moves * width * subject.instances),
    }


def _barrier(subject: Subject, cascade: Cascade, group: tuple[str, ...], barrier: Barrier) -> Record:
    live = [_live(subject, cascade, group, item) for item in barrier.live]
    sums = {name: _total(item[name] for item in live) for name in BYTES}
    return {"after_pass": barrier.after, "between": list(barrier.summaries), "live": live, **sums}


def _groups(subject: Subject, cascade: Cascade) -> Iterator[tuple[PassAnalysis, Record]]:
    """Every rank group of a cascade, analysed and as the object it has in JSON."""
    for group in rank_groups(cascade):
        found = analyse_passes(cascade, group)
        yield (
            found,
            {
                "rank_group": _name(cascade, group),
                "ranks": list(group),
                "level": _level(cascade, group),
                "passes": found.passes,
                "barriers": [_barrier(subject, cascade, group, barrier) for barrier in found.barriers],
            },
        )


def _operations(subject: Subject, cascade: Cascade) -> Iterator[tuple[str, list[Record]]]:
    """Every Einsum's operations with the ranks they run over and how often they are done."""
    for einsum in cascade.einsums:
        found = []
        for operation in einsum.operations:
            count = _product(cascade, operation.ranks, subject.sizes[cascade.name])
            ranks = list(_merged(cascade, operation.ranks))
            count = _scaled(count, subject.instances)
            found.append({"operator": operation.operator, "ranks": ranks, "count": count})
        yield einsum.name, found


def _totals(subject: Subject, cascade: Cascade) -> dict[str, float | None]:
    """Operations of the whole cascade by operator."""
    counts: dict[str, list[float | None]] = {}
    for _, found in _operations(subject, cascade):
        for row in found:
            counts.setdefault(row["operator"], []).append(row["count"])
    return {operator: _total(values) for operator, values in counts.items()}


def _record(subject: Subject, cascade: Cascade) -> Record:
    """Everything known of one cascade."""
    groups = list(_groups(subject, cascade))
    levels = {
        einsum.name: {group["rank_group"]: _level_of(found, einsum.name) for found, group in groups}
        for einsum in cascade.einsums
    }
    operations = dict(_operations(subject, cascade))
    return {
        "cascade": cascade.name,
        "family": cascade.family,
        "title": cascade.title,
        "assumes": list(cascade.assumes),
        "sizes": {rank: int(found[0]) for rank, found in subject.sizes[cascade.name].items()},
        "groups": [group for _, group in groups],
        "einsums": [
            {"einsum": e.name, "text": e.text, "pass": levels[e.name], "operations": operations[e.name]}
            for e in cascade.einsums
        ],
        "operations": _totals(subject, cascade),
    }


def _level_of(found: PassAnalysis, einsum: str) -> float:
    return next(row.level for row in found.einsums if row.einsum == einsum)


def _rows(subject: Subject, cascade: Cascade) -> list[Record]:
    """One flat row for each barrier, one for a rank group without any."""
    found = []
    for _, group in _groups(subject, cascade):
        shared = {"cascade": cascade.name} | {key: group[key] for key in ("rank_group", "level", "passes")}
        for barrier in group["barriers"] or [None]:
            row = barrier or {"after_pass": "", "between": [], "live": [], **dict.fromkeys(BYTES)}
            live = " ".join(f"{item['tensor']}[{','.join(item['ranks'])}]" for item in row["live"])
            found.append(
                shared
                | {"after_pass": row["after_pass"], "live": live, "between": " ".join(row["between"])}
                | {name: row[name] for name in BYTES}
            )
    return found


def _print(subject: Subject) -> None:
    """Tables for a terminal: one cascade in full, or several side by side."""
    alone = len(subject.cascades) == 1
    write = sys.stdout.write
    write(f"{subject.title}\n{_conditions(subject)}")
    if alone:
        emit(_einsum_rows(subject, subject.cascades[0]))
    rows = [row for cascade in subject.cascades for row in _telling(_rows(subject, cascade), cascade, alone)]
    sized = any(subject.sizes.values())
    emit(_shown(rows, alone, sized))
    if sized:
        write(LEGEND)
    if not alone:
        totals = [(cascade.name, _totals(subject, cascade)) for cascade in subject.cascades]
        operators = dict.fromkeys(name for _, found in totals for name in found)
        emit(
            [{"cascade": name} | {o: _count(found.get(o, 0.0)) for o in operators} for name, found in totals]
        )
    for note in (*subject.notes, *(_unsized(subject) if sized else ())):
        write(f"note: {note}\n")


def _unsized(subject: Subject) -> Iterator[str]:
    """What to give for the cells that hold a dash only for want of a size."""
    names = {
        rank
        for cascade in subject.cascades
        for rank in cascade.ranks
        if rank not in subject.sizes[cascade.name]
    }
    parts = {
        part for cascade in subject.cascades for split in cascade.partition.values() for part in split[1:]
    }
    wanted = sorted(names & parts) or sorted(names)
    if wanted:
        missing, give = ", ".join(sorted(names)), " ".join(f"-p {rank}=" for rank in wanted)
        yield f"what depends on {missing} is left out; give {give}"


def _conditions(subject: Subject) -> str:
    """Line that says what the numbers are for; nothing where there are no sizes."""
    sizes = {rank: known for found in subject.sizes.values() for rank, known in found.items()}
    if not sizes:
        return ""
    known = " ".join(f"{rank}={size(float(found[0]))}" for rank, found in sizes.items())
    count = size(subject.instances)
    times = (
        f"; operations and traffic of all {count} instances (heads, batch, layers)" if count != "1" else ""
    )
    return f"{known}, {subject.value_bytes:g} bytes a value{times}\n"


def _telling(rows: list[Record], cascade: Cascade, alone: bool) -> list[Record]:
    """Rows worth comparing: barriers and partitioned ranks; all if there are none, or nothing to compare."""
    found = [row for row in rows if row["after_pass"] or row["rank_group"] in cascade.partition]
    return rows if alone or not found else found


def _shown(rows: list[Record], alone: bool, sized: bool) -> list[Record]:
    """Rows as the table shows them: numbers with units, a dash in cells that do not apply."""
    texts = {
        name: [MISSING if row[name] is None else quantity(row[name], "B") for row in rows]
        for name in (BYTES if sized else ())
    }
    width = {
        name.removesuffix("_bytes"): [text.rjust(max(map(len, column))) for text in column]
        for name, column in texts.items()
    }
    left = {"cascade", *BYTES} if alone else {*BYTES}
    return [
        {key: MISSING if value in {"", None} else str(value) for key, value in row.items() if key not in left}
        | {name: column[i] for name, column in width.items()}
        for i, row in enumerate(rows)
    ]


def _einsum_rows(subject: Subject, cascade: Cascade) -> list[Record]:
    """Every Einsum with its pass over the groups that have barriers, and its operations."""
    groups = [(found, group["rank_group"]) for found, group in _groups(subject, cascade) if found.barriers]
    operations = dict(_operations(subject, cascade))
    return [
        {"Einsum": einsum.text}
        | {f"pass over {name}": _pass(_level_of(found, einsum.name)) for found, name in groups}
        | {"operations": _operation_text(operations[einsum.name])}
        for einsum in cascade.einsums
    ]


def _pass(level: float) -> str:
    """A pass by its number; halves lie between passes, 0 before the first."""
    return "before 1" if level < 1.0 else f"{level:.0f}" if level.is_integer() else f"after {level - 0.5:.0f}"


def _operation_text(found: list[Record]) -> str:
    """Operators by the ranks they share: ``multiply, add: e·m·p = 1.074 G``."""
    spaces: dict[tuple[str, ...], list[Record]] = {}
    for row in found:
        spaces.setdefault(tuple(row["ranks"]), []).append(row)
    texts = []
    for ranks, rows in spaces.items():
        count = rows[0]["count"]
        known = "" if count is None else f" = {_count(count)}"
        texts.append(f"{', '.join(row['operator'] for row in rows)}: {'·'.join(ranks) or '1'}{known}")
    return "; ".join(texts)


def _count(value: float | None) -> str:
    return MISSING if value is None else quantity(value, "")
