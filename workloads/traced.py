"""A workload from a trace: what a kernel that ran computed, checked against its cascade, ready for any machine.

Modelled: rank sizes, head structure, precision and mask as they ran. Not modelled: the kernel's own tiles, which are
those of the machine it ran on; refused are sequences of different lengths in one launch, kernels whose shape is
not that of attention with heads, queries and keys, and masks other than none and causal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.errors import WorkloadError
from dse.workloads.annotation import load_annotation
from dse.workloads.cascade_file import load_cascade
from dse.workloads.lift import lift
from dse.workloads.trace_file import load_trace
from dse.workloads.workload import VALUE_BYTES, Workload, sized

if TYPE_CHECKING:
    from pathlib import Path

    from dse.workloads.lift import LiftedTrace


SHAPE = ("batch", "heads", "kv_heads", "queries", "sequence", "head_dim", "value_dim")


def load_traced(path: Path, cascade: str = "") -> Workload:
    """Workload of a trace file; ``cascade`` chooses another cascade of the kernel's family.

    Raises
    ------
    TraceError
        The file is damaged, or disagrees with the kernel's annotation and cascade.
    WorkloadError
        The launch mixed sequences of different lengths, visited only some of the query-key pairs, or is not
        attention of queries to keys.
    """
    trace = load_trace(path)
    annotation = load_annotation(trace.kernel)
    lifted = lift(trace, annotation, load_cascade(annotation.cascade))
    if lifted.query_lengths or lifted.key_lengths:
        raise WorkloadError(
            f"trace {path.name} mixes sequences of different lengths; machines need one length"
        )
    missing = [name for name in SHAPE if name not in lifted.shape]
    if missing:
        raise WorkloadError(
            f"trace {path.name} has no {', '.join(missing)}: machines run attention of queries to keys"
        )
    workload = _workload(path.stem, lifted, annotation.summary, cascade)
    heads = lifted.shape["batch"] * lifted.shape["heads"]
    pairs = heads * int(workload.useful_pairs[0])
    if lifted.useful_pairs != pairs:
        mask = "a causal mask" if lifted.causal else "no mask"
        raise WorkloadError(
            f"trace {path.name} computes {lifted.useful_pairs:,} query-key pairs, {mask} leaves {pairs:,}: "
            "machines do not take lists of tiles yet"
        )
    return workload


def _workload(name: str, lifted: LiftedTrace, summary: str, cascade: str) -> Workload:
    shape = lifted.shape
    sizes = {
        "b": shape["batch"],
        "h": shape["kv_heads"],
        "g": shape["heads"] // shape["kv_heads"],
        "p": shape["queries"],
        "m": shape["sequence"],
        "e": shape["head_dim"],
        "f": shape["value_dim"],
    }
    precision = lifted.precisions["Q"]
    return Workload(
        name=name,
        title=summary,
        family=lifted.family,
        cascade=cascade,
        scope="attention",
        causal=lifted.causal,
        sizes={rank: sized(size) for rank, size in sizes.items()},
        value_bytes=sized(VALUE_BYTES[precision]),
        linear=(),
        layers=sized(1),
        provenance=f"trace of {lifted.kernel}, kernel hash {lifted.kernel_hash[:12]}, seed {lifted.seed}",
        parameters={**shape, "causal": lifted.causal, "precision": precision},
    )
