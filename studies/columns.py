"""Names of the columns of a result table: identity of a point, axes of the sweep, results.

A column that is neither a known scalar nor of a known family (``utilization.<unit>`` ...) is an axis of
the sweep, under its dotted name. Axes are told apart by name alone: a dotted name (``dram.bandwidth``)
belongs to the machine, a plain one (``sequence``) to the workload.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

POINT = "point"
IDENTITY = (POINT, "status", "machine", "workload", "mapper", "accounting")
SCALARS = (
    "part",
    "mapping",
    "cycles",
    "cycles_lower",
    "cycles_upper",
    "latency_s",
    "energy_j",
    "offchip_energy_j",
    "technology_m",
    "area_m2",
    "flops",
    "executed_flops",
    "dram_bytes",
    "onchip_bytes",
    "weight_bytes",
    "kv_bytes",
    "capacity_bytes",
    "largest_batch",
    "operational_intensity_flop_per_byte",
    "achieved_flop_per_s",
    "peak_flop_per_s",
    "clock_hz",
    "thread_blocks",
    "bound_by",
    "error_bar",
    "baseline",
    "speedup",
    "energy_ratio",
    "energy_ratio_scaled",
    "area_ratio",
    "area_ratio_scaled",
)
COMPONENT_COLUMNS = ("component", "einsum", "tensor", "action", "count", "bytes", "energy_j", "busy_cycles")
FAMILIES = ("utilization.", "bandwidth.", "time.", "vector_ops.", "infeasible.")
SUFFIX_UNITS = {
    "flops": "FLOP",
    "_flop_per_byte": "FLOP/B",
    "_flop_per_s": "FLOP/s",
    "_byte_per_s": "B/s",
    "_per_s": "/s",
    "_bytes": "B",
    "_hz": "Hz",
    "_s": "s",
    "_j": "J",
    "_m2": "m²",
    "_m": "m",
}


def axes(names: Iterable[str]) -> list[str]:
    """Columns that are axes of the sweep besides machine, workload, mapper and accounting, in their order."""
    known = {*IDENTITY, *SCALARS}
    return [name for name in names if name not in known and not name.startswith(FAMILIES)]


def ordered(names: Iterable[str], first: Sequence[str] = ()) -> list[str]:
    """Column names in the one order every result file uses, whatever order batches arrived in.

    Identity, axes (those of ``first`` in that order, the others by name), scalars, then families by name.
    """
    given = set(names)
    found = axes(sorted(given))
    leading = [name for name in first if name in found]
    families = sorted(name for name in given if name.startswith(FAMILIES))
    wanted = [*IDENTITY, *leading, *(name for name in found if name not in leading), *SCALARS, *families]
    return [name for name in wanted if name in given]


def varying(frame: pd.DataFrame, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that are columns of the frame and take more than one value in it."""
    return [name for name in names if name in frame and frame[name].nunique(dropna=False) > 1]


def of_machine(name: str) -> bool:
    """Whether an axis changes the design (machine, mapper or a dotted name) and not the work it is given."""
    return name in {"machine", "mapper"} or "." in name


def unit_of(name: str) -> str:
    """SI unit of a column, from the suffix of its name; empty for counts, fractions and text."""
    if name.startswith("bandwidth."):
        return "B/s"
    if name.startswith("time."):
        return "s"
    head = name.split(".", maxsplit=1)[0]
    return next((unit for suffix, unit in SUFFIX_UNITS.items() if head.endswith(suffix)), "")
