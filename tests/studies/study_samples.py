"""A small study for tests: two lengths of one model on two machines, and a folder to change it in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

STUDY = """\
title: A small study
source: made up
licence: none
sweeps:
  attention:
    machine: [flat, fusemax]
    workload: [bert]
    sequence: [1K, 4K]
    set: {batch: 64, accounting: paper}
metrics:
  latency: {column: latency_s}
  energy: {column: energy_j}
  speedup: {column: latency_s, against: {machine: flat}, compare: speedup}
  mean_speedup: {of: speedup, reduce: mean}
  active: {ledger: busy_cycles, where: {component: array_2d}, per: cycles}
labels: {flat: FLAT, fusemax: FuseMax}
figures:
  speedups: {kind: bars, sweeps: [attention], metrics: [speedup], show: {machine: [fusemax]}, mean: mean}
  shares: {kind: stack, sweeps: [attention], metrics: [active], parts: einsum, width: column}
  line: {kind: curve, sweeps: [attention], metrics: [energy], x: latency, lines: machine, units: {energy: mJ}}
  roof: {kind: utilization, sweeps: [attention]}
"""
PLAIN = STUDY.partition("figures:")[0]
HEADER = "figure,case,metric,claimed,unit,tolerance,evidence,source,note\n"
# Latencies of the FuseMax artifact.
CLAIMS = """\
1,attention machine=fusemax workload=bert sequence=1K,latency,0.002013140425531915,s,1e-9,stored,artifact,
1,attention machine=flat sequence=1024,latency,13.386076595744681,ms,1e-9,stored,artifact,
2,attention machine=fusemax sequence=1K,speedup,6.649350649350649,x,1e-9,derived,artifact,
2,attention machine=fusemax,mean_speedup,6.930309127492226,x,1e-9,derived,artifact,
3,attention machine=fusemax sequence=4K einsum=QK,active,0.4507042253521127,fraction,1e-9,stored,artifact,
3,attention machine=fusemax sequence=4K,active,96.4788732394366,%,1e-9,stored,artifact,
4,attention machine=flat sequence=1K,energy,1,J,,made up,nobody,never measured
"""


def write(folder: Path, study: str = STUDY, claims: str = CLAIMS) -> Path:
    """The folder with a study in it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(study, encoding="utf-8")
    (folder / "expected.csv").write_text(HEADER + claims, encoding="utf-8")
    return folder
