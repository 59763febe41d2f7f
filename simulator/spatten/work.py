"""Head rows of a workload at one design point: from its sizes, a pruning schedule, a score trace."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from dse.errors import Problem, WorkloadError
from dse.workloads.head_rows import Bits
from dse.workloads.pruned_run import find_run, load_run, run_rows
from dse.workloads.pruned_scores import recorded_rows
from dse.workloads.pruning import WHOLE, Schedule, dense, encoded_rows, generated_rows, load_schedule
from dse.workloads.score_trace import load_scores

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from dse.simulator.arrays import Array
    from dse.workloads.head_rows import HeadRows
    from dse.workloads.workload import Workload

BITS = {1.0: Bits(key=8, value=8, query=16), 0.5: Bits(key=4, value=4, query=16)}
MAX_ROWS = 200_000


def apart(size: int) -> list[Hashable]:
    """Every point by itself: rows, their order and what they wait for differ with any size of workload or machine."""
    return list(range(size))


def head_rows(workload: Workload) -> HeadRows:
    """Head rows of one sequence, all points of the workload being alike.

    Raises
    ------
    WorkloadError
        A workload that the machine does not run, or a schedule or trace that does not fit it.
    """
    problems = list(_unfit(workload))
    if problems:
        raise WorkloadError(*problems)
    sizes = {name: int(_at(size, 0)) for name, size in workload.sizes.items()}
    layers, steps, heads = int(_at(workload.layers, 0)), int(_at(workload.steps, 0)), sizes["h"] * sizes["g"]
    rows = layers * steps * heads * sizes["p"]
    if rows > MAX_ROWS:
        text = f"{rows} head rows; each is timed by itself, {MAX_ROWS} at most: choose fewer layers, steps or queries"
        raise WorkloadError(Problem(text, path="-p sequence"))
    streams = find_run(workload.scores) if workload.scores else None
    if streams is not None:
        return _pruned(workload, streams, layers, heads, sizes)
    schedule = _schedule(workload.pruning, layers, _at(workload.value_bytes, 0))
    if workload.scores:
        return _recorded(workload, schedule, layers, heads, sizes)
    if workload.parameters.get("phase") == "decode":
        return generated_rows(schedule, layers, heads, sizes["e"], sizes["m"], steps)
    return encoded_rows(schedule, layers, heads, sizes["e"], sizes["m"], sizes["p"], workload.causal)


def _at(values: Array, point: int) -> float:
    return float(values[point if len(values) > 1 else 0])


@lru_cache(maxsize=64)
def _schedule(name: str, layers: int, value_bytes: float) -> Schedule:
    if name:
        return load_schedule(name)
    return dense(layers, BITS.get(value_bytes, WHOLE))


def _recorded(
    workload: Workload, schedule: Schedule, layers: int, heads: int, sizes: dict[str, int]
) -> HeadRows:
    trace = load_scores(workload.scores)
    there = (trace.layers, trace.head_count, trace.length)
    _check_record(workload, trace.model, there, (layers, heads, sizes["m"], sizes["p"]))
    return recorded_rows(trace, schedule, sizes["e"])


def _pruned(workload: Workload, path: Path, layers: int, heads: int, sizes: dict[str, int]) -> HeadRows:
    """Head rows of a run that was pruned as it ran, which no schedule can prune again."""
    run = load_run(path)
    there = (run.layers, run.head_count, run.length)
    _check_record(workload, run.model, there, (layers, heads, sizes["m"], sizes["p"]))
    if workload.pruning not in {"", run.schedule}:
        text = f"streams {workload.scores} are of a run pruned by {run.schedule}, not {workload.pruning}"
        raise WorkloadError(Problem(text, path="-p pruning"))
    return run_rows(run, sizes["e"])


def _check_record(
    workload: Workload, model: str, there: tuple[int, int, int], asked: tuple[int, int, int, int]
) -> None:
    """Raise where a record's model, layers, heads or tokens are not the workload's."""
    names = ("layers", "heads", "sequence", "queries")
    wrong = [
        Problem(f"scores {workload.scores} have {has}, the workload {wants}", path=f"-p {name}")
        for name, has, wants in zip(names, (*there, there[2]), asked, strict=True)
        if has != wants
    ]
    if model != workload.title:
        text = f"scores {workload.scores} are of {model}, not {workload.title}"
        wrong.append(Problem(text, path="-p scores"))
    if wrong:
        raise WorkloadError(*wrong)


def _unfit(workload: Workload) -> list[Problem]:
    found = []
    if workload.linear:
        found.append(Problem("has dense layers, which SpAtten does not run", path="-p scope"))
    if not workload.sizes:
        return [*found, Problem("has no attention", path="-p scope")]
    if workload.family != "softmax":
        found.append(Problem(f"attention of family {workload.family} does not run on SpAtten, only softmax"))
    if (workload.sizes["g"] > 1).any():
        found.append(Problem("heads that share keys are not modelled on SpAtten", path="-p kv_heads"))
    if (workload.sizes["e"] != workload.sizes["f"]).any():
        found.append(Problem("keys and values of different depth do not fit SpAtten", path="-p value_dim"))
    one_token = workload.parameters.get("phase") != "decode" or bool((workload.sizes["p"] == 1).all())
    if not one_token:
        found.append(Problem("one token is generated at a time", path="-p queries"))
    return found
