"""Who evaluates the batches of a sweep: this process, processes of this machine (joblib), or a cluster (dask).

Batches are independent and their results are the same wherever they are evaluated; they arrive in any order. A batch
whose cluster worker dies is evaluated again by another one. Not covered: a scheduler that dies; what was recorded
until then is kept, and the sweep resumes.
"""

from __future__ import annotations

import importlib
import pickle
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.errors import ConfigError, DseError, MissingDependencyError
from dse.spec import is_file
from dse.studies.fingerprint import code_version
from dse.studies.sweep import BATCH_POINTS, batch_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dse.studies.grid import Codes
    from dse.studies.sweep import Batch, Plan

AHEAD = 2  # batches given to each worker beyond the one it evaluates
RETRIES = 3
CONNECT_S = 10


def run_points(
    plan: Plan,
    numbers: Codes,
    with_components: bool,
    done: Callable[[Batch], None],
    jobs: int = 1,
    cluster: str | None = None,
) -> None:
    """Evaluate points by number, batch by batch, and hand each batch to ``done`` as it is finished.

    Raises
    ------
    DseError
        A point cannot be evaluated, workers died, or there is no cluster.
    """
    tasks = list(batches(plan, numbers, jobs if cluster is None else 1))
    if cluster is not None:
        found = _on_cluster(cluster, plan, tasks, with_components)
    elif jobs == 1 or len(tasks) == 1:
        found = (batch_tables(plan, *task, with_components) for task in tasks)
    else:
        found = _on_processes(jobs, plan, tasks, with_components)
    for batch in found:
        done(batch)


def batches(plan: Plan, numbers: Codes, jobs: int) -> Iterator[tuple[Codes, list[str]]]:
    """Numbers and keys of the points of each batch; small sweeps are divided among all workers."""
    size = min(BATCH_POINTS, max(1, -(-len(numbers) // jobs)))
    for start in range(0, len(numbers), size):
        here = numbers[start : start + size]
        yield here, [plan.points.keys[number] for number in here]


def _on_processes(
    jobs: int, plan: Plan, tasks: Sequence[tuple[Codes, list[str]]], with_components: bool
) -> Iterator[Batch]:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    with tempfile.TemporaryDirectory(prefix="dse-") as folder:
        path = Path(folder, "plan.pickle")
        path.write_bytes(_packed(plan))
        workers = Parallel(
            n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch=AHEAD * jobs
        )
        try:
            yield from workers(delayed(_from_file)(str(path), *task, with_components) for task in tasks)
        except TerminatedWorkerError as error:
            raise DseError(
                "a process was killed, perhaps for want of memory; run the sweep again to finish it"
            ) from error


def _packed(plan: Plan) -> bytes:
    """The plan for other processes, without the keys of all points."""
    plan.points.__dict__.pop("keys", None)
    return pickle.dumps(plan)


def _from_file(path: str, numbers: Codes, keys: list[str], with_components: bool) -> Batch:
    return batch_tables(_read_plan(path), numbers, keys, with_components)


@lru_cache(maxsize=1)
def _read_plan(path: str) -> Plan:
    found: Plan = pickle.loads(Path(path).read_bytes())
    return found


def _on_cluster(
    address: str, plan: Plan, tasks: Sequence[tuple[Codes, list[str]]], with_components: bool
) -> Iterator[Batch]:
    """Batches of the workers of a dask scheduler: an address, or the path of a scheduler file."""
    distributed = importlib.import_module("distributed")
    with _client(address) as client:
        _check_code(client)
        shared = client.submit(
            pickle.loads, _packed(plan), pure=False
        )  # dask makes it again if a worker is lost
        waiting = iter(tasks)

        def submit() -> list[Any]:
            task = next(waiting, None)
            if task is None:
                return []
            return [client.submit(batch_tables, shared, *task, with_components, pure=False, retries=RETRIES)]

        slots = max(1, sum(client.nthreads().values())) * AHEAD
        running = distributed.as_completed(
            [future for _ in range(slots) for future in submit()], with_results=False
        )
        for future in running:
            yield _result(future)
            future.release()
            for more in submit():
                running.add(more)


def _result(future: Any) -> Batch:  # noqa: ANN401
    distributed = importlib.import_module("distributed")
    try:
        found: Batch = future.result()
    except (distributed.KilledWorker, distributed.client.FutureCancelledError) as error:
        raise DseError(f"the cluster gave up a batch ({error}); run the sweep again to finish it") from error
    return found


def _client(address: str) -> Any:  # noqa: ANN401
    """A connection to a cluster.

    Raises
    ------
    MissingDependencyError
        No scheduler answers there.
    """
    distributed = importlib.import_module("distributed")
    where: dict[str, Any] = {"scheduler_file": address} if is_file(Path(address)) else {"address": address}
    try:
        return distributed.Client(**where, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise MissingDependencyError(f"no dask scheduler answers at {address}: {error}") from error


def _check_code(client: Any) -> None:  # noqa: ANN401
    """Refuse workers that would compute with other code.

    Raises
    ------
    ConfigError
        Names the first worker whose dse is not this one.
    MissingDependencyError
        The cluster has no workers.
    """
    versions = client.run(code_version)
    if not versions:
        raise MissingDependencyError("the cluster has no workers yet; start some and run the sweep again")
    for worker, version in sorted(versions.items()):
        if version != code_version():
            raise ConfigError(f"worker {worker} runs other code of dse ({version}, not {code_version()})")
