"""The sweep engine: design points in batches on arrays, on one process or several, into a store that resumes.

Rows do not depend on how points are batched or on how many processes work: each batch brings its own baselines.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.studies.batch import Group, Request, evaluate_requests
from dse.studies.fingerprint import fingerprint
from dse.studies.rows import baseline_ratios, components, result_columns
from dse.studies.store import point_hash
from dse.studies.sweep_file import REQUEST_AXES, Part, baseline_of, is_parameter, requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd

SIZE_AXES = {"sequence": "m", "batch": "b", "queries": "p"}
BATCH_POINTS = 4096
COMPONENT_POINTS = 10_000


@dataclass(frozen=True)
class Point:
    """One design point of a sweep: its hash, its part, its values on the axes, and what it asks for."""

    key: str
    part: str
    values: dict[str, str]
    request: Request
    baseline: Request | None


def points_of(parts: Sequence[Part], content: dict[str, str]) -> list[Point]:
    """Every design point of a sweep in canonical order; ``content`` goes into each hash."""
    version = point_hash(content)
    found = []
    for part in parts:
        for values, request in requests(part.axes, part.names):
            hashed: dict[str, Any] = {"content": version, "part": part.name, "request": _plain(request)}
            found.append(
                Point(point_hash(hashed), part.name, values, request, baseline_of(request, part.axes))
            )
    return found


def content_of(parts: Sequence[Part]) -> dict[str, str]:
    """Named hashes of all a sweep's results depend on: files, code, and the axes themselves."""
    asked: dict[Request, None] = {}
    for part in parts:
        for _, request in requests(part.axes, part.names):
            base = baseline_of(request, part.axes)
            asked |= {request: None} if base is None else {request: None, base: None}
    axes = {part.name: {"axes": part.axes.model_dump(), "names": part.names} for part in parts}
    return fingerprint(asked) | {"sweep": point_hash(axes)}


def run_points(
    points: Sequence[Point],
    jobs: int,
    with_components: bool,
    done: Callable[[pd.DataFrame, pd.DataFrame | None], None],
) -> None:
    """Evaluate points batch by batch and hand each batch's rows and components to ``done`` in order."""
    batches = list(_batches(points, jobs))
    if jobs == 1 or len(batches) == 1:
        for batch in batches:
            done(*batch_frames(batch, with_components))
        return
    with ProcessPoolExecutor(jobs) as pool:
        for frames in pool.map(batch_frames, batches, itertools.repeat(with_components)):
            done(*frames)


def batch_frames(points: Sequence[Point], with_components: bool) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Rows and components of a batch of points."""
    import pandas as pd

    asked = list(
        dict.fromkeys([*(p.request for p in points), *(p.baseline for p in points if p.baseline is not None)])
    )
    groups = evaluate_requests(asked)
    table = _table(asked, groups)
    where = {request: row for row, request in enumerate(asked)}
    rows = table.iloc[[where[p.request] for p in points]].reset_index(drop=True)
    rows.insert(0, "point", [p.key for p in points])
    rows["part"] = [p.part for p in points]
    places = {asked[index]: (group, i) for group in groups for i, index in enumerate(group.indices)}
    axes = pd.DataFrame([_on_axes(p, *places[p.request]) for p in points])
    rows = pd.concat([rows, axes], axis=1)
    _compare(rows, table, points, where)
    if not with_components:
        return rows, None
    ledger = [{"point": p.key, **row} for p in points for row in _components(*places[p.request])]
    return rows, pd.DataFrame(ledger)


def _components(group: Group, point: int) -> list[dict[str, Any]]:
    return [] if group.evaluation.feasible[group.column(point)] else components(group, point)


def _table(asked: Sequence[Request], groups: Sequence[Group]) -> pd.DataFrame:
    """Rows of requests, in their order: identity and results."""
    import pandas as pd

    frames = []
    for group in groups:
        results = pd.DataFrame(result_columns(group), index=list(group.indices))
        identity = pd.DataFrame(
            _identity([asked[index] for index in group.indices]), index=list(group.indices)
        )
        frames.append(pd.concat([identity, results], axis=1))
    return pd.concat(frames).sort_index()


def _identity(asked: Sequence[Request]) -> list[dict[str, Any]]:
    return [
        {
            "machine": request.machine,
            "workload": request.workload,
            "mapper": request.mapper,
            "accounting": request.accounting,
        }
        for request in asked
    ]


def _on_axes(point: Point, group: Group, place: int) -> dict[str, Any]:
    """Values of a point on the sweep's own axes; sizes are numbers, and those of a trace what it ran with."""
    sizes, known = group.workload.sizes, group.workload.parameters
    found: dict[str, Any] = {}
    for name, value in point.values.items():
        rank = SIZE_AXES.get(name, "")
        if rank in sizes:
            found[name] = int(sizes[rank][place if len(sizes[rank]) > 1 else 0])
        elif name not in REQUEST_AXES:
            found[name] = known.get(name, value) if is_parameter(name) else value
    return found


def _compare(
    rows: pd.DataFrame, table: pd.DataFrame, points: Sequence[Point], where: dict[Request, int]
) -> None:
    """Speed-up and energy ratios of each point over its baseline; nothing for points without one."""
    against = np.array([point.baseline is not None for point in points])
    base = table.iloc[[where[point.baseline or point.request] for point in points]]
    machines = base["machine"].tolist()
    rows["baseline"] = [name if known else None for name, known in zip(machines, against, strict=True)]
    names = ("latency_s", "energy_j", "offchip_energy_j", "technology_m", "area_m2")
    mine, other = ({name: table[name].to_numpy(dtype=np.float64) for name in names} for table in (rows, base))
    found = {"speedup": other["latency_s"] / mine["latency_s"], **baseline_ratios(mine, other)}
    for name, ratio in found.items():
        rows[name] = np.where(against, ratio, np.nan)


def _batches(points: Sequence[Point], jobs: int) -> Iterator[Sequence[Point]]:
    size = min(BATCH_POINTS, max(1, -(-len(points) // jobs)))
    for start in range(0, len(points), size):
        yield points[start : start + size]


def _plain(request: Request) -> dict[str, Any]:
    return {
        "machine": request.machine,
        "workload": request.workload,
        "parameters": dict(request.parameters),
        "overrides": dict(request.overrides),
        "accounting": request.accounting,
        "mapper": request.mapper,
        "mapping": request.mapping or "",
    }
