"""A workload from a trace: what a kernel that ran computed, checked against its cascade, ready for any machine.

Modelled: rank sizes, head structure, precision and mask as they ran. Not modelled: the kernel's own tiles, which are
those of the machine it ran on. Refused: sequences or heads of different lengths in one launch, values with other
heads than keys, and pairs chosen by a list or by values.
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

    from dse.workloads.annotation import Annotation
    from dse.workloads.lift import LiftedTrace


def load_traced(path: Path, cascade: str = "") -> Workload:
    """Workload of a trace file; ``cascade`` chooses another cascade of the kernel's family.

    Raises
    ------
    TraceError
        The file is damaged, or disagrees with the kernel's annotation and cascade.
    WorkloadError
        The launch did not compute attention of all, or of all earlier, keys in sequences of one length.
    """
    trace = load_trace(path)
    annotation = load_annotation(trace.kernel)
    lifted = lift(trace, annotation, load_cascade(annotation.cascade))
    sizes = _sizes(lifted, annotation)
    workload = Workload(
        name=path.stem,
        title=annotation.summary,
        family=lifted.family,
        cascade=cascade,
        scope="attention",
        causal=lifted.causal,
        sizes={rank: sized(size) for rank, size in sizes.items()},
        value_bytes=sized(VALUE_BYTES[lifted.precisions["Q"]]),
        linear=(),
        layers=sized(1),
        provenance=f"trace of {lifted.kernel}, kernel hash {lifted.kernel_hash[:12]}, seed {lifted.seed}",
        parameters={**lifted.shape, "causal": lifted.causal, "precision": lifted.precisions["Q"]},
    )
    pairs = sizes["b"] * sizes["h"] * sizes["g"] * int(workload.useful_pairs[0])
    if pairs != lifted.useful_pairs:
        mask = "a causal mask" if lifted.causal else "no mask"
        raise WorkloadError(
            f"trace {path.name} computes {lifted.useful_pairs:,} query-key pairs, {mask} leaves {pairs:,}: "
            "machines do not take lists of tiles yet"
        )
    return workload


def _sizes(lifted: LiftedTrace, annotation: Annotation) -> dict[str, int]:
    """Sizes of the ranks of one attention problem.

    A rank g of a trace is its key heads. Where the scoring launch repeats over them and not over query heads, its rows
    are the query heads of a group, one query each.
    """
    ranks = lifted.ranks
    missing = [rank for rank in ("p", "m", "e", "f") if rank not in ranks]
    ragged = {*lifted.query_lengths} - {ranks.get("p")} or {*lifted.key_lengths} - {ranks.get("m")}
    if missing or ragged:
        why = (
            f"has no rank {', '.join(missing)}"
            if missing
            else "mixes sequences or heads of different lengths"
        )
        raise WorkloadError(f"the trace of {lifted.kernel} {why}: machines run attention of queries to keys")
    own = {rank: ranks[rank] for rank in ("p", "m", "e", "f")} | {"b": ranks.get("b", 1)}
    kv_heads = ranks.get("g", ranks.get("h", 1))
    value_heads = ranks.get("gv", kv_heads)
    if value_heads != kv_heads:
        raise WorkloadError(
            f"the trace of {lifted.kernel} has {kv_heads} key heads and {value_heads} value heads: "
            "machines run attention whose keys and values have the same heads"
        )
    outer = annotation.launches[annotation.scoring].outer or annotation.outer
    if "h" in outer or "g" not in ranks:
        return own | {"h": kv_heads, "g": ranks.get("h", kv_heads) // kv_heads}
    return own | {"h": kv_heads, "g": ranks["p"], "p": 1}
