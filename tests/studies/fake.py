"""Results as a FuseMax sweep has them, from its published cycles per tile: data to test output with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

MODELS = {"bert": (12, 64), "trxl": (16, 64), "t5": (8, 64), "xlm": (16, 128)}
SEQUENCES = tuple(1024 * 4**i for i in range(6))
MACHINES = ("unfused", "flat", "fusemax_cascade", "fusemax_architecture", "fusemax")
LABELS = {
    "unfused": "Unfused",
    "flat": "FLAT",
    "fusemax_cascade": "+Cascade",
    "fusemax_architecture": "+Architecture",
    "fusemax": "+Binding",
    "bert": "BERT",
    "trxl": "TrXL",
    "t5": "T5",
    "xlm": "XLM",
    "array_2d": "2D array",
    "array_1d": "1D array",
    "dram": "DRAM",
    "global_buffer": "Global buffer",
}
CLOCK_HZ, BANDWIDTH, BATCH = 940e6, 400.0 * 2**30, 64
PEAK = 2 * 65536 * CLOCK_HZ
BUFFER_READS = {"unfused": 5, "flat": 7, "fusemax_cascade": 6, "fusemax_architecture": 1, "fusemax": 1}


def tile(machine: str, width: int, tiles: int) -> tuple[float, float, float]:
    """Cycles, busy 2D cycles and busy 1D cycles of one 256x256 tile of scores."""
    rest = width / tiles
    return {
        "unfused": (1024 + 574.0, 2.0 * width, 1024.0),
        "flat": (1024.0, 2.0 * width, 1024.0),
        "fusemax_cascade": (1029.0 + 2 * width + rest, 2.0 * width, 1029.0 + 2 * width + rest),
        "fusemax_architecture": (330.0 + 2 * width + rest, 2.0 * width + 9, 10.0 + 2 * width + rest),
        "fusemax": (10.0 + 2 * width + rest, 2.0 * width + 9, 10.0 + 2 * width + rest),
    }[machine]


def row(machine: str, workload: str, sequence: int, accounting: str, scale: float = 1.0) -> dict[str, object]:
    heads, width = MODELS[workload]
    tiles = sequence // 256
    cycles, busy_2d, busy_1d = tile(machine, width, tiles)
    cycles *= 1.0 if accounting == "paper" else 1.04 + 0.2 / tiles
    total = BATCH * heads * tiles**2 * cycles / scale**2
    flops = 4.0 * BATCH * heads * width * sequence**2
    passes = {"unfused": 4.0 * sequence / width, "flat": 1.0 + sequence / 65536}.get(
        machine, 1.0 + sequence / 2**17
    )
    traffic = 2.0 * BATCH * heads * sequence * width * (2 + 2 * passes)
    seconds = max(total / CLOCK_HZ, traffic / BANDWIDTH)
    return {
        "point": f"{machine}-{workload}-{sequence}-{accounting}-{scale}",
        "status": "ok",
        "machine": machine,
        "workload": workload,
        "mapper": "paper",
        "accounting": accounting,
        "batch": BATCH,
        "sequence": sequence,
        "cycles": seconds * CLOCK_HZ,
        "latency_s": seconds,
        "area_m2": (12.2e-4 if "fusemax" in machine else 12.9e-4) * scale**2,
        "flops": flops,
        "dram_bytes": traffic,
        "operational_intensity_flop_per_byte": flops / traffic,
        "achieved_flop_per_s": flops / seconds,
        "peak_flop_per_s": PEAK * scale**2,
        "bound_by": "array_1d" if total / CLOCK_HZ >= seconds else "dram",
        "baseline": "flat",
        "utilization.array_1d": min(1.0, busy_1d / cycles),
        "utilization.array_2d": busy_2d / cycles,
        "bandwidth.dram.average": traffic / seconds,
        "bandwidth.dram.peak": BANDWIDTH,
    }


def parts(point: dict[str, object]) -> list[dict[str, object]]:
    """Component rows of a point: energies in the proportions the paper's artifact has."""
    flops, machine = float(str(point["flops"])), str(point["machine"])
    width = MODELS[str(point["workload"])][1]
    scores = flops / (4.0 * width)
    physical = point["accounting"] == "physical"
    exps = 94.65e-12 if "fusemax" not in machine else 6 * 17.1645e-12
    energies = {
        "dram": 8 * 3.9e-12 * float(str(point["dram_bytes"])),
        "global_buffer": 13e-9
        / 256
        * (2.0 if "fusemax" not in machine else 1.0)
        * BUFFER_READS[machine]
        * scores,
        "array_2d": 17.1645e-12 * 2 * width * scores
        + (exps * scores if machine.startswith("fusemax_a") else 0.0),
        "array_1d": 8.3e-12 * 2 * scores + (0.0 if machine.startswith("fusemax_a") else exps * scores),
        "registers": 6 * 0.5e-12 * 2 * width * scores if physical else 0.0,
    }
    return [
        {
            "point": point["point"],
            "component": name,
            "einsum": einsum,
            "tensor": "",
            "action": "",
            "energy_j": joules / 2,
        }
        for name, joules in energies.items()
        for einsum in ("QK", "AV")
        if joules
    ]


def sweep(
    machines: Sequence[str] = MACHINES,
    workloads: Sequence[str] = tuple(MODELS),
    sequences: Sequence[int] = SEQUENCES,
    accountings: Sequence[str] = ("paper", "physical"),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Result rows and component rows, workload first and accounting last, relative to ``flat``."""
    points = [
        row(machine, workload, sequence, accounting)
        for workload in workloads
        for sequence in sequences
        for machine in machines
        for accounting in accountings
    ]
    components = pd.DataFrame([part for point in points for part in parts(point)])
    rows = pd.DataFrame(points)
    rows["energy_j"] = rows["point"].map(components.groupby("point")["energy_j"].sum())
    keys = ["workload", "sequence", "accounting"]
    base = rows[rows["machine"] == "flat"].set_index(keys)
    matched = base.loc[pd.MultiIndex.from_frame(rows[keys])]
    rows["speedup"] = matched["latency_s"].to_numpy() / rows["latency_s"]
    rows["energy_ratio"] = rows["energy_j"] / matched["energy_j"].to_numpy()
    return rows, components
