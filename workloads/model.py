"""Model shapes: one YAML each, turned into a workload by sequence length, batch, phase and scope.

Latent attention is absorbed in decode (one key head of the latent, shared by all heads) and expanded in prefill. A
model with experts is, in scope layer, one of its layers with experts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from dse import spec
from dse.errors import Problem, WorkloadError, nearest
from dse.units import Count, PositiveCount
from dse.workloads.experts import Experts, route
from dse.workloads.projections import attention_gemms, feed_forward_gemms
from dse.workloads.requests import parse_requests, requests_of
from dse.workloads.workload import VALUE_BYTES, Workload, sized

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROOM = "workloads/models"
Precision = Literal["fp32", "fp16", "bf16", "fp8", "int8", "int4"]


class ExpertsFile(spec.Spec):
    """Experts in place of a layer's dense feed-forward part."""

    count: PositiveCount = Field(description="routed experts of a layer")
    top_k: PositiveCount = Field(description="routed experts that serve one token")
    shared: Count = Field(default=0, description="experts that serve every token")
    ffn_dim: PositiveCount
    every: PositiveCount = Field(default=1, description="one layer in so many has experts")
    first_dense: Count = Field(default=0, description="leading layers without experts")

    def layers(self, layers: int) -> int:
        """How many of a model's layers have experts."""
        return max(layers - self.first_dense, 0) // self.every


class LatentFile(spec.Spec):
    """Multi-head latent attention: depths of the latents, and of the part of keys that carries positions."""

    query: PositiveCount
    key_value: PositiveCount
    rotary: PositiveCount


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
    window: PositiveCount | None = Field(default=None, description="last keys a query sees; all if not given")
    precision: Precision = "fp16"
    experts: ExpertsFile | None = None
    latent: LatentFile | None = None


class Parameters(ModelFile):
    """What ``-p`` may set: the run's own parameters, and any of the model's shape."""

    sequence: PositiveCount = Field(description="keys")
    queries: PositiveCount | None = Field(
        default=None, description="query rows; sequence in prefill, 1 in decode"
    )
    batch: PositiveCount = 1
    phase: Literal["prefill", "decode"] = "prefill"
    scope: Literal["attention", "attention_stack", "linear", "layer", "model"] = Field(
        default="attention",
        description="attention of one layer, of every layer, ..., every layer with all it has",
    )
    steps: PositiveCount = Field(
        default=1, description="tokens generated one after another, each over all before it; decode only"
    )
    pruning: str = Field(default="", description="pruning schedule, a shipped name or a path")
    scores: str = Field(
        default="", description="score trace that decides what is pruned, a shipped name or a path"
    )
    cascade: str = Field(
        default="", description="a cascade of the same family; the mapping's own if not given"
    )
    lengths: str = Field(
        default="", description="requests of different lengths: keys*count/queries, separated by commas"
    )
    routing: str = Field(default="uniform", description="even, uniform, zipf, or a file of choices")
    routing_seed: Count = 0
    routing_draws: PositiveCount = Field(default=1, description="routings drawn for each layer and averaged")
    routing_exponent: Annotated[float, Field(gt=0, le=10)] = Field(default=1.0, description="of zipf")


OWN = tuple(name for name in Parameters.model_fields if name not in ModelFile.model_fields)
ATTENTION = ("attention", "attention_stack")
STACKS = ("model", "attention_stack")
FIXED = ("title", "family", "source", "assumes", "experts", "latent")


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
    if "sequence" not in given and not given.get("lengths"):
        problems.append(Problem("is missing: the number of keys, such as -p sequence=4K", path="-p sequence"))
    if problems:
        raise WorkloadError(*problems)
    values = file.model_dump(exclude_none=True) | {
        key: value for key, value in given.items() if value is not None
    }
    if given.get("lengths"):
        values |= _of_lengths(given)
    parameters = spec.checked(values, Parameters, "-p")
    return _workload(spec.origin(file).stem, parameters, f"model {spec.origin(file).name}")


def _of_lengths(given: Mapping[str, Any]) -> dict[str, int]:
    """Sequence and batch that requests of different lengths stand for: the longest, and how many."""
    clash = [name for name in ("sequence", "batch", "queries") if name in given]
    if clash:
        raise WorkloadError(
            *(Problem("is given by -p lengths, too; leave one out", path=f"-p {n}") for n in clash)
        )
    parts = parse_requests(str(given["lengths"]), _rows(given))
    return {
        "sequence": max(keys for _, keys, _ in parts),
        "batch": sum(count for count, _, _ in parts),
        "queries": max(rows for _, _, rows in parts),
    }


def _rows(given: Mapping[str, Any]) -> int | None:
    """Query rows of a request that does not say: one in decode, all in prefill."""
    return 1 if given.get("phase") == "decode" else None


def _workload(name: str, p: Parameters, provenance: str) -> Workload:
    _check(p)
    queries = _queries(p)
    parts = parse_requests(p.lengths, 1 if p.phase == "decode" else None) if p.lengths else ()
    parts, window = _windowed(p, parts)
    keys = max((keys for _, keys, _ in parts), default=p.sequence)
    if p.window is not None and window is None and not parts:
        keys = min(keys, p.window)
    absorbed = p.latent is not None and p.phase == "decode"
    linear, moe_layers = p.scope not in ATTENTION, _moe_layers(p)
    rows = sum(count * each for count, _, each in parts) or p.batch * queries
    shown = {key: getattr(p, key) for key in OWN if key not in _hidden(p)} | {"queries": queries}
    return Workload(
        name=name,
        title=p.title,
        family="mla" if absorbed else p.family,
        cascade=p.cascade,
        scope=p.scope,
        causal=p.causal,
        sizes={}
        if p.scope == "linear"
        else {rank: sized(size) for rank, size in _sizes(p, queries, keys, absorbed).items()},
        value_bytes=sized(VALUE_BYTES[p.precision]),
        linear=(attention_gemms(p, rows, absorbed) + (() if moe_layers else feed_forward_gemms(p, rows)))
        if linear
        else (),
        layers=sized(p.layers if p.scope in STACKS else 1),
        steps=sized(p.steps),
        pruning=p.pruning,
        scores=p.scores,
        provenance=provenance,
        experts=_experts(p, rows) if linear and moe_layers else None,
        requests=requests_of(parts),
        window=None if window is None else sized(window),
        stored_once=absorbed,
        parameters=shown | {"causal": p.causal, "precision": p.precision},
        precision=p.precision,
    )


def _queries(p: Parameters) -> int:
    """Query rows of a sequence."""
    return p.queries or (p.sequence if p.phase == "prefill" else 1)


def _check(p: Parameters) -> None:
    kv_heads, queries = p.kv_heads or p.heads, _queries(p)
    if p.heads % kv_heads:
        raise WorkloadError(
            Problem(f"{p.heads} heads cannot share {kv_heads} key heads evenly", path="-p kv_heads")
        )
    if p.causal and queries > p.sequence:
        raise WorkloadError(
            Problem(
                f"{queries} queries of {p.sequence} keys cannot be causal: some would see no key",
                path="-p queries",
            )
        )
    if p.steps > 1 and p.phase != "decode":
        raise WorkloadError(Problem("tokens are generated in decode: -p phase=decode", path="-p steps"))


def _hidden(p: Parameters) -> set[str]:
    """Parameters that say nothing of this workload."""
    hidden = {"cascade", *(key for key in ("lengths", "pruning", "scores") if not getattr(p, key))}
    hidden |= {key for key in OWN if key.startswith("routing")} if p.experts is None else set()
    return hidden | ({"steps"} if p.steps == 1 else set())


def _sizes(p: Parameters, queries: int, keys: int, absorbed: bool) -> dict[str, int]:
    """Sizes of the ranks of one attention problem, the longest of its requests."""
    kv_heads, score = p.kv_heads or p.heads, p.score_dim
    value = p.value_dim or p.score_dim
    if p.latent is not None:
        kv_heads = 1 if absorbed else p.heads
        score = (p.latent.key_value if absorbed else p.score_dim) + p.latent.rotary
        value = p.latent.key_value if absorbed else value
    return {
        "b": p.batch,
        "h": kv_heads,
        "g": p.heads // kv_heads,
        "p": queries,
        "m": keys,
        "e": score,
        "f": value,
    }


def _windowed(
    p: Parameters, parts: tuple[tuple[int, int, int], ...]
) -> tuple[tuple[tuple[int, int, int], ...], int | None]:
    """Requests with the keys a window leaves them, and the window where that is not all it does.

    One query sees the last keys only, as if there were no others; several queries see different ones.
    """
    rows = {each for _, _, each in parts} or {p.queries or (p.sequence if p.phase == "prefill" else 1)}
    if p.window is None or p.sequence <= p.window:
        return parts, None
    if rows == {1}:
        return tuple((count, min(keys, p.window), each) for count, keys, each in parts), None
    return parts, p.window


def _moe_layers(p: Parameters) -> int:
    """Layers with experts in the workload's scope."""
    if p.experts is None:
        return 0
    return p.experts.layers(p.layers) if p.scope == "model" else 1


def _experts(p: Parameters, rows: int) -> Experts:
    """Experts of the layers in scope, the tokens of the batch routed to them."""
    assert p.experts is not None
    e, layers = p.experts, _moe_layers(p)
    dense = (p.layers if p.scope == "model" else 1) - layers
    drawn = e.layers(p.layers) * p.routing_draws
    tokens = route(p.routing, rows, e.count, e.top_k, drawn, p.routing_seed, p.routing_exponent)
    return Experts(
        top_k=e.top_k,
        shared=e.shared,
        gated=p.ffn_gated,
        model_dim=sized(p.model_dim),
        ffn_dim=sized(e.ffn_dim),
        tokens=tokens[None],
        layers=sized(layers),
        dense=feed_forward_gemms(p, rows) if dense else (),
        dense_layers=sized(dense),
    )
