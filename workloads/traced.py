"""A workload from a trace: what a kernel that ran computed, checked against its cascade, ready for any machine.

Modelled: rank sizes, head structure, precision and mask as they ran, and the launches with their own tiles for
machines that run kernels as they are. The other machines choose tiles of their own and refuse what their sizes cannot
tell: sequences or heads of different lengths in one launch, values with other heads than keys, and pairs chosen by a
list or by values.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dse.errors import WorkloadError
from dse.workloads.annotation import load_annotation
from dse.workloads.cascade_file import load_cascade
from dse.workloads.launch_trace import traced_launches
from dse.workloads.lift import lift
from dse.workloads.requests import Requests
from dse.workloads.trace_facts import read_facts
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
    """
    trace = load_trace(path)
    annotation = load_annotation(trace.kernel)
    lifted = lift(trace, annotation, load_cascade(annotation.cascade))
    try:
        sizes, refusal = _checked(lifted, annotation, path.name), ""
    except WorkloadError as error:
        sizes, refusal = {}, str(error)
    facts = read_facts(trace, annotation)
    useful = {launch.label: launch.useful_flops for launch in lifted.launches}
    precision = lifted.precisions.get("Q", "")
    return Workload(
        name=path.stem,
        title=annotation.summary,
        family=lifted.family,
        cascade=cascade,
        scope="attention",
        causal=lifted.causal,
        sizes={rank: sized(size) for rank, size in sizes.items()},
        value_bytes=sized(VALUE_BYTES.get(precision, math.nan)),
        linear=(),
        layers=sized(1),
        provenance=f"trace of {lifted.kernel}, kernel hash {lifted.kernel_hash[:12]}, seed {lifted.seed}",
        parameters={**lifted.shape, "causal": lifted.causal, "precision": precision},
        precision=precision,
        launches=traced_launches(trace, annotation, facts, lifted.family, useful),
        refusal=refusal,
    )


def _checked(lifted: LiftedTrace, annotation: Annotation, name: str) -> dict[str, int]:
    """Sizes of a trace that computed attention of all, or of all earlier, keys in sequences of one length.

    Raises
    ------
    WorkloadError
        It did not.
    """
    sizes = _sizes(lifted, annotation)
    one = Requests(sized(1), sized(sizes["m"]), sized(sizes["p"]))
    heads = sizes["b"] * sizes["h"] * sizes["g"]
    pairs = heads * int(one.pairs(lifted.causal)[0])
    if pairs != lifted.useful_pairs:
        mask = "a causal mask" if lifted.causal else "no mask"
        raise WorkloadError(
            f"trace {name} computes {lifted.useful_pairs:,} query-key pairs, {mask} leaves {pairs:,}: "
            "machines other than GPUs do not take lists of tiles"
        )
    return sizes


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
