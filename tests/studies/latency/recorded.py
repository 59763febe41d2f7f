"""A table as ``dse measure`` writes it, with latencies from planted constants and noise: no GPU was measured."""

from __future__ import annotations

import csv
import itertools
from typing import TYPE_CHECKING

import numpy as np

from dse.arch.calibration.constants import Calibration
from dse.arch.machine import load_machine
from dse.studies.latency.predict import rows_of
from dse.studies.latency.table import load_table
from dse.workloads.measurement import IDENTITY, MACHINE, RESULTS

if TYPE_CHECKING:
    from pathlib import Path

PLANTED = {
    "launch": 3.1e-6,
    "round_trip": 7e-7,
    "tensor_efficiency": 0.71,
    "overlap": 0.55,
    "dram_efficiency": 0.89,
    "sm_stream": 9e10,
    "tensor_energy": 1.3e-12,
    "dram_energy": 6e-12,
    "idle_power": 95.0,
}
PARAMETERS = (
    "batch", "heads", "kv_heads", "sequence", "queries", "head_dim", "causal", "precision", "tile_queries",
    "tile_keys", "splits", "size", "steps", "programs", "passes", "chunk", "latent_dim", "rope_dim", "tile_heads",
    "kept", "tile_values",
)  # fmt: skip
DENSE = {"heads": "32", "kv_heads": "8", "head_dim": "128", "precision": "fp16", "tile_queries": "128"}


def _rows() -> list[dict[str, str]]:
    """Calibration of two dense families and microbenchmarks, new shapes, a new class, kernels without launches."""
    found = []

    def add(kind: str, split: str, kernel: str, **values: str) -> None:
        found.append({"class": kind, "split": split, "kernel": kernel, **values})

    for split, lengths in (
        ("calibration", ("512", "2048", "8192")),
        ("new_shapes", ("1024", "4096", "16384")),
    ):
        for length, batch, causal in itertools.product(lengths, ("1", "4"), ("true", "false")):
            values = DENSE | {"sequence": length, "queries": length, "batch": batch, "causal": causal}
            add("dense_prefill", split, "flash_forward", tile_keys="64", **values)
        for length, batch in itertools.product(lengths, ("1", "16", "64")):
            values = DENSE | {"sequence": length, "batch": batch, "splits": "8"}
            add("decode", split, "split_kv_decode", tile_keys="128", **values)
    for size in ("262144", "4194304", "268435456"):
        add("microbenchmark", "calibration", "copy", size=size)
    add("microbenchmark", "calibration", "empty")
    add("microbenchmark", "calibration", "tensor", steps="4096", programs="264")
    add("microbenchmark", "calibration", "exp", steps="4096", programs="1056")
    for length in ("2048", "8192"):
        add(
            "linear", "new_classes", "linear_chunk",
            batch="2", heads="16", sequence=length, head_dim="128", chunk="64", precision="fp16",
        )  # fmt: skip
        latent = {
            "latent_dim": "512",
            "rope_dim": "64",
            "tile_heads": "16",
            "tile_keys": "64",
            "precision": "fp16",
        }
        add("mla", "new_classes", "mla_decode", batch="8", heads="128", sequence=length, **latent)
    add(
        "sparse",
        "new_classes",
        "block_sparse",
        kept="8",
        tile_keys="64",
        **(DENSE | {"sequence": "4096", "batch": "1"}),
    )
    add("capped", "new_classes", "score_mod", tile_keys="64", **(DENSE | {"sequence": "4096", "batch": "1"}))
    add("step", "new_classes", "linear_decode", batch="64", heads="32", head_dim="128", tile_values="32")
    add("selected", "new_classes", "select_attend", sequence="2048", heads="16", head_dim="128")
    return found


def write_recorded(path: Path, noise: float = 0.01) -> None:
    """Write the table: hot and flushed rows, one that failed, halves of the repeats that differ by the noise."""
    columns = [*IDENTITY, *PARAMETERS, *RESULTS, *MACHINE]
    fixed = {"suite": "recorded", "status": "ok", "device": "NVIDIA H200", "warps": "0", "stages": "0"}
    rows = [fixed | row | {"cache": cache} for row in _rows() for cache in ("hot", "flushed")]
    rows.append(fixed | rows[0] | {"status": 'failed: out of memory, "heap" #3'})
    _write(path, columns, [row | {"latency_s": "1"} for row in rows])
    gpu = load_machine("h200")
    table = load_table(str(path))
    truth = rows_of(table, gpu).chosen(Calibration().replaced(PLANTED))  # type: ignore[arg-type]
    random = np.random.default_rng(11)
    for i, row in enumerate(row for row in rows if row["status"] == "ok"):
        exact = truth.seconds[i] if np.isfinite(truth.seconds[i]) else 1e-4
        seconds = exact * float(np.exp(random.normal(0.0, noise)))
        part = float(random.normal(0.0, noise))
        row |= {"latency_s": f"{seconds:.9g}", "half_a_s": f"{seconds * (1 + part):.9g}"}
        row |= {"half_b_s": f"{seconds * (1 - part):.9g}"}
        if np.isfinite(truth.cycles[i]):
            row["sm_clock_hz"] = f"{truth.cycles[i] / exact:.9g}"
        if exact > 1e-3 and row["cache"] == "hot":
            row["energy_j"] = f"{truth.joules[i] * float(np.exp(random.normal(0.0, noise))):.9g}"
    _write(path, columns, rows)


def _write(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("# Measured launches, schema 1\n")
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
