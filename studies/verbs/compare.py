"""``dse compare``: simulated against measured latencies of a GPU, class by class, with baselines beside them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from dse.errors import ConfigError
from dse.studies.latency.comparison import compare as compared
from dse.studies.latency.table import load_table
from dse.studies.latency.tracing import Tracing
from dse.studies.tables import emit, write

if TYPE_CHECKING:
    from pathlib import Path

    from dse.arch.calibration.constants import Calibration
    from dse.arch.gpu import Gpu
    from dse.studies.latency.comparison import Comparison
    from dse.studies.latency.table import LatencyTable

OUTSIDE = 1
TRACE_SECONDS = 120.0  # for each kernel and shape; the interpreter is slow


def compare(
    machine: str,
    table: str,
    calibration: str | None,
    filters: list[str],
    tolerance: float | None,
    output: Path | None,
    out: Path | None,
    format: str,  # noqa: A002
    trace_seconds: float = TRACE_SECONDS,
) -> int:
    """Print the errors of each class, and what was not compared on standard error.

    Returns
    -------
    int
        1 if the MAPE of some class is above the tolerance, else 0.

    Raises
    ------
    ConfigError
        Machine, table, calibration or filter are wrong, or no row is left.
    """
    from dse.kernels.trace_cache import user_folder

    gpu = load_gpu(machine)
    rows = load_table(table)
    constants = choose_calibration(gpu, rows, calibration)
    origin = gpu if constants.machine in {"", gpu.name} else load_gpu(constants.machine)
    tracing = Tracing(trace_seconds, user_folder())
    found = compared(rows, gpu, constants, filters, origin, tracing)
    records = found.records()
    _say(found, gpu, constants)
    sys.stderr.writelines(f"launches from a trace: {n} rows of {name}\n" for name, n in tracing.used.items())
    if output is not None:
        write(records, output)
    if out is not None:
        from dse.studies.latency.figures import write_all

        sys.stderr.writelines(f"{path}\n" for path in write_all(found, out))
    emit(records if format != "table" else [_line(record) for record in records], format)
    return OUTSIDE if tolerance is not None and _worst(records) > tolerance else 0


def load_gpu(machine: str) -> Gpu:
    """The GPU of a name or path.

    Raises
    ------
    ConfigError
        The file is wrong, or the machine is none.
    """
    from dse.arch.gpu import Gpu
    from dse.arch.machine import load_machine

    found = load_machine(machine)
    if not isinstance(found, Gpu):
        raise ConfigError(f"latencies are compared for GPUs; {found.name} is a {found.kind}")
    return found


def choose_calibration(gpu: Gpu, rows: LatencyTable, given: str | None) -> Calibration:
    """The calibration asked for, else the one the table names for the machine, else the machine's own.

    Raises
    ------
    ConfigError
        The calibration is wrong or missing.
    """
    from dse.arch.calibration.constants import NONE, Calibration, load_calibration

    if given == NONE:
        return Calibration()
    named = given or (rows.file.calibrations.get(gpu.name) if rows.file else None)
    return gpu.calibration if named is None else load_calibration(named)


def _say(found: Comparison, gpu: Gpu, constants: Calibration) -> None:
    """What the numbers rest on, and what they leave out."""
    name = constants.name or "none: data-sheet rates, no overheads"
    sys.stderr.write(
        f"{gpu.title}, calibration {name}; {len(found.simulated_s)} rows of {found.table.name}\n"
    )
    sys.stderr.writelines(f"not compared: {text}\n" for text in found.left_out[:20])
    if len(found.left_out) > 20:
        sys.stderr.write(f"not compared: {len(found.left_out) - 20} more rows\n")
    for device in found.table.strangers(gpu.name):
        sys.stderr.write(f"note: these rows were measured on {device}\n")
    if found.table.file is not None:
        assumed = {name: found.table.file.classes[name].assumes for name in found.classes}
        sys.stderr.writelines(f"assumed for {name}: {'; '.join(texts)}\n" for name, texts in assumed.items())


def _line(record: dict[str, Any]) -> dict[str, Any]:
    """A record for a table: baselines under short names, errors with three digits."""
    others = {f"{name.replace('_', ' ')}": value for name, value in record["baselines"].items()}
    head = {key: value for key, value in record.items() if key != "baselines"}
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in {**head, **others}.items()}


def _worst(records: list[dict[str, Any]]) -> float:
    return max(float(record["mape"]) for record in records if not record["class"].startswith("all"))
