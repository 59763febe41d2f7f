"""Dense layers around the attention of a model: projections and feed-forward part.

Modelled: projections of queries, keys and values (or of their latents, absorbed or expanded) and of the output, gated
and plain feed-forward parts. Not modelled: biases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.workloads.gemm import Gemm, sized

if TYPE_CHECKING:
    from dse.workloads.model import Parameters


def attention_gemms(p: Parameters, rows: int, absorbed: bool) -> tuple[Gemm, ...]:
    """Projections of ``rows`` query rows, those of keys and values of as many new keys."""
    kv_heads, value_dim, deep = p.kv_heads or p.heads, p.value_dim or p.score_dim, p.model_dim
    if p.latent is None:
        shapes = {
            "query": (deep, p.heads * p.score_dim),
            "key": (deep, kv_heads * p.score_dim),
            "value": (deep, kv_heads * value_dim),
        }
    else:
        shapes = {
            "query_down": (deep, p.latent.query),
            "query_up": (p.latent.query, p.heads * (p.score_dim + p.latent.rotary)),
            "latent": (deep, p.latent.key_value + p.latent.rotary),
        } | _latent_heads(p, p.latent.key_value, value_dim, absorbed)
    return _gemms(rows, shapes | {"output": (p.heads * value_dim, deep)})


def _latent_heads(p: Parameters, latent: int, value_dim: int, absorbed: bool) -> dict[str, tuple[int, int]]:
    """Between latent and heads: keys and values expanded, or both matrices applied to queries and outputs.

    The matrices of all heads are as deep as one head; each multiplies its own rows.
    """
    if not absorbed:
        return {"key_up": (latent, p.heads * p.score_dim), "value_up": (latent, p.heads * value_dim)}
    return {"key_absorbed": (p.score_dim, p.heads * latent), "value_absorbed": (latent, p.heads * value_dim)}


def feed_forward_gemms(p: Parameters, rows: int) -> tuple[Gemm, ...]:
    """Dense feed-forward part of ``rows`` rows."""
    deep = p.model_dim
    shapes = {
        "ffn_up": (deep, p.ffn_dim),
        **({"ffn_gate": (deep, p.ffn_dim)} if p.ffn_gated else {}),
        "ffn_down": (p.ffn_dim, deep),
    }
    return _gemms(rows, shapes)


def _gemms(rows: int, shapes: dict[str, tuple[int, int]]) -> tuple[Gemm, ...]:
    return tuple(Gemm(name, sized(rows), sized(n), sized(k)) for name, (k, n) in shapes.items())
