"""Model shapes: one YAML each, turned into a workload by sequence length, batch, phase and scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from dse import spec
from dse.errors import Problem, WorkloadError, nearest
from dse.units import PositiveCount
from dse.workloads.workload import VALUE_BYTES, Gemm, Workload, sized

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROOM = "workloads/models"
Precision = Literal["fp32", "fp16", "bf16", "fp8", "int8", "int4"]


class ModelFile(spec.Spec):
    """A model file: the shape of one layer and how many there are."""

    title: str
    family: str = Field(description="family of cascades that computes its attention")
    source: str
    assumes: list[str] = Field(description="what is modelled and what is not")
    layers: PositiveCount
    model_dim: PositiveCount
    heads: PositiveCount
    kv_heads: PositiveCount | None = Field(
        default=None, description="key heads; as many as heads if not given"
    )
    score_dim: PositiveCount = Field(description="depth of queries and keys")
    value_dim: PositiveCount | None = Field(
        default=None, description="depth of values; score_dim if not given"
    )
    ffn_dim: PositiveCount
    ffn_gated: bool = False
    causal: bool = False
    precision: Precision = "fp16"


class Parameters(ModelFile):
    """What ``-p`` may set: the run's own parameters, and any of the model's shape."""

    sequence: PositiveCount = Field(description="keys")
    queries: PositiveCount | None = Field(
        default=None, description="query rows; sequence in prefill, 1 in decode"
    )
    batch: PositiveCount = 1
    phase: Literal["prefill", "decode"] = "prefill"
    scope: Literal["attention", "linear", "layer", "model"] = "attention"
    cascade: str = Field(
        default="", description="a cascade of the same family; the mapping's own if not given"
    )


OWN = tuple(name for name in Parameters.model_fields if name not in ModelFile.model_fields)
FIXED = ("title", "family", "source", "assumes")


def parameter_names() -> tuple[str, ...]:
    """Parameters a model takes with ``-p``, its own first."""
    return (*OWN, *(name for name in ModelFile.model_fields if name not in FIXED))


def load_model(source: str | Path, given: Mapping[str, Any]) -> Workload:
    """Workload of a model at the given parameters (text or numbers).

    Raises
    ------
    ConfigError, WorkloadError
        The file, a parameter's name or its value is wrong, or one without default is missing.
    """
    file = spec.load(source, ModelFile, ROOM)
    unknown = [name for name in given if name not in parameter_names()]
    problems = [
        Problem(
            f"{file.title} has no parameter '{name}'{nearest(name, parameter_names())}", path=f"-p {name}"
        )
        for name in unknown
    ]
    if "sequence" not in given:
        problems.append(Problem("is missing: the number of keys, such as -p sequence=4K", path="-p sequence"))
    if problems:
        raise WorkloadError(*problems)
    values = file.model_dump(exclude_none=True) | {
        key: value for key, value in given.items() if value is not None
    }
    parameters = spec.checked(values, Parameters, "-p")
    return _workload(spec.origin(file).stem, parameters, f"model {spec.origin(file).name}")


def _workload(name: str, p: Parameters, provenance: str) -> Workload:
    kv_heads, value_dim = p.kv_heads or p.heads, p.value_dim or p.score_dim
    if p.heads % kv_heads:
        raise WorkloadError(
            Problem(f"{p.heads} heads cannot share {kv_heads} key heads evenly", path="-p kv_heads")
        )
    queries = p.queries or (p.sequence if p.phase == "prefill" else 1)
    if p.causal and queries > p.sequence:
        raise WorkloadError(
            Problem(
                f"{queries} queries of {p.sequence} keys cannot be causal: some would see no key",
                path="-p queries",
            )
        )
    sizes = {
        "b": p.batch,
        "h": kv_heads,
        "g": p.heads // kv_heads,
        "p": queries,
        "m": p.sequence,
        "e": p.score_dim,
        "f": value_dim,
    }
    shown = {key: getattr(p, key) for key in OWN if key != "cascade"} | {"queries": queries}
    return Workload(
        name=name,
        title=p.title,
        family=p.family,
        cascade=p.cascade,
        scope=p.scope,
        causal=p.causal,
        sizes={} if p.scope == "linear" else {rank: sized(size) for rank, size in sizes.items()},
        value_bytes=sized(VALUE_BYTES[p.precision]),
        linear=() if p.scope == "attention" else _linear(p, queries, kv_heads, value_dim),
        layers=sized(p.layers if p.scope == "model" else 1),
        provenance=provenance,
        parameters=shown | {"causal": p.causal, "precision": p.precision},
    )


def _linear(p: Parameters, queries: int, kv_heads: int, value_dim: int) -> tuple[Gemm, ...]:
    """Projections and feed-forward layers of the query rows."""
    rows, deep = p.batch * queries, p.model_dim
    shapes = {
        "query": (deep, p.heads * p.score_dim),
        "key": (deep, kv_heads * p.score_dim),
        "value": (deep, kv_heads * value_dim),
        "output": (p.heads * value_dim, deep),
        "ffn_up": (deep, p.ffn_dim),
        **({"ffn_gate": (deep, p.ffn_dim)} if p.ffn_gated else {}),
        "ffn_down": (p.ffn_dim, deep),
    }
    return tuple(Gemm(name, sized(rows), sized(n), sized(k)) for name, (k, n) in shapes.items())
