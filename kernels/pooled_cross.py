"""Attention through a few agents: softmax from agents to keys, then softmax from queries to agents.

Modelled: agents pooled from blocks of queries, or given (learned); both stages are ``flash_forward``, so
fp16, bf16 (on a GPU only) and fp32 operands with fp32 accumulation and the log-sum-exp of the second stage.
Launches: pooling (unless agents are given), agents to keys, queries to agents. Not modelled: masks, the
biases and the convolution of agent attention, backward.
"""

from collections.abc import Mapping
from typing import Any

import torch

from dse.errors import WorkloadError
from dse.kernels.common import attention_inputs, check_attention, counts
from dse.kernels.flash_forward import flash_forward
from dse.kernels.launch import check_device
from dse.kernels.pooling import pool_rows
from dse.workloads.trace import Value


def make_inputs(parameters: Mapping[str, Value], seed: int) -> dict[str, Any]:
    """Keyword arguments of :func:`pooled_cross` for the parameters of ``pooled_cross.yaml``, on the CPU."""
    sizes = counts(parameters)
    tensors = attention_inputs({**parameters, "kv_heads": sizes["heads"]}, seed)
    return tensors | {name: sizes[name] for name in ("pool", "tile_queries", "tile_keys")}


def pooled_cross(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    pool: int = 64,
    agents: torch.Tensor | None = None,
    tile_queries: int = 64,
    tile_keys: int = 64,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Two-stage attention over ``(batch, heads, rows, depth)`` tensors, and its natural log-sum-exp.

    Every agent is the mean of a block of ``pool`` queries, in the precision of the queries; or ``agents``
    ``(batch, heads, agents, depth)`` are used as they are. Both stages scale scores by ``1 / sqrt(depth)``.

    Raises
    ------
    WorkloadError
        If shapes, tiles or ``pool`` do not fit together.
    MissingDependencyError
        If the tensors are on the CPU and the interpreter is off.
    TraceError
        If the tensors are bf16 and the interpreter is on.
    """
    check_attention(q, k, v, (tile_queries, tile_keys))
    if pool < 1:
        raise WorkloadError(f"pool {pool} must be 1 or more")
    check_device(q, k, v)
    if agents is None:
        agents = pool_rows(q, pool, tile_queries).to(q.dtype)
    gathered, _ = flash_forward(agents, k, v, tile_queries=tile_queries, tile_keys=tile_keys)
    return flash_forward(q, agents, gathered, tile_queries=tile_queries, tile_keys=tile_keys)
