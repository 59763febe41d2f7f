# mypy: disallow-untyped-decorators=False
"""Multi-head latent attention, prefill, expanded: keys and values from the latents, then attention.

The first launch multiplies each latent by the up-projections of every head, the second is flash attention
whose scores are the sum of two products: over the expanded part of the keys and over the rotary part, which
all heads share and nobody copies. Modelled: causal masks aligned to the last key, lengths that vary by
sequence, log-sum-exp output. Not modelled: the down-projections and the query's projections, rotation.

The same source runs on a CUDA GPU and, with TRITON_INTERPRET=1, in Triton's interpreter.
"""

from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl

from dse.kernels import checks
from dse.kernels.common import (
    counts,
    load_rows,
    output_tensors,
    padded,
    softmax_end,
    softmax_step,
    standard_normal,
    store_rows,
)
from dse.kernels.inputs import given_lengths, score_scale
from dse.kernels.launch import check_device
from dse.kernels.masking import hide_scores, key_bounds
from dse.workloads.trace import Value


@triton.jit
def mla_expand_kernel(
    latents: tl.tensor, key_weights: tl.tensor, value_weights: tl.tensor, k: tl.tensor, v: tl.tensor,
    key_lengths: tl.tensor, latent_strides: tl.tuple, key_weight_strides: tl.tuple,
    value_weight_strides: tl.tuple, k_strides: tl.tuple, v_strides: tl.tuple, key_count: tl.tensor,
    RAGGED: tl.constexpr, LATENT: tl.constexpr, DEPTH: tl.constexpr, VALUE_DEPTH: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr,
) -> None:  # fmt: skip
    """Keys and values of one head for a tile of latents: grid (latent tiles, heads, sequences)."""
    first_row = tl.program_id(0) * BLOCK_M
    head = tl.program_id(1).to(tl.int64)
    sequence = tl.program_id(2).to(tl.int64)
    if RAGGED:
        key_count = tl.load(key_lengths + sequence)
    rows = first_row + tl.arange(0, BLOCK_M)
    latents += sequence * latent_strides[0]
    key_weights += head * key_weight_strides[0]
    value_weights += head * value_weight_strides[0]
    k_tile = tl.zeros((BLOCK_M, BLOCK_E), tl.float32)
    v_tile = tl.zeros((BLOCK_M, BLOCK_F), tl.float32)
    # Tiles beyond the sequence's length have nothing to expand.
    stop = tl.where(first_row < key_count, LATENT, 0)
    for start in range(0, stop, BLOCK_R):
        within = start + tl.arange(0, BLOCK_R)
        pointers = latents + rows[:, None] * latent_strides[2] + within[None, :] * latent_strides[3]
        inside = (rows[:, None] < key_count) & (within[None, :] < LATENT)
        latent = tl.load(pointers, mask=inside, other=0.0)
        weights = load_rows(key_weights, key_weight_strides, within, LATENT, DEPTH, BLOCK_E, True)
        k_tile = tl.dot(latent, weights, k_tile, input_precision="ieee")
        weights = load_rows(value_weights, value_weight_strides, within, LATENT, VALUE_DEPTH, BLOCK_F, True)
        v_tile = tl.dot(latent, weights, v_tile, input_precision="ieee")
    k_head = k + sequence * k_strides[0] + head * k_strides[1]
    store_rows(k_head, k_strides, rows, key_count, k_tile, DEPTH, BLOCK_E)
    v_head = v + sequence * v_strides[0] + head * v_strides[1]
    store_rows(v_head, v_strides, rows, key_count, v_tile, VALUE_DEPTH, BLOCK_F)


@triton.jit
def _visit_tile(
    q_tile: tl.tensor, q_rope_tile: tl.tensor, accumulator: tl.tensor, row_max: tl.tensor,
    row_sum: tl.tensor, k: tl.tensor, rope_keys: tl.tensor, v: tl.tensor, k_strides: tl.tuple,
    rope_strides: tl.tuple, v_strides: tl.tuple, keys: tl.tensor, key_count: tl.tensor, rows: tl.tensor,
    query_count: tl.tensor, scale_log2: tl.tensor, CAUSAL: tl.constexpr, MASKED: tl.constexpr,
    DEPTH: tl.constexpr, ROPE: tl.constexpr, VALUE_DEPTH: tl.constexpr, BLOCK_E: tl.constexpr,
    BLOCK_U: tl.constexpr, BLOCK_F: tl.constexpr,
) -> tl.tuple:  # fmt: skip
    """One key tile of the online softmax over scores of two products."""
    k_tile = load_rows(k, k_strides, keys, key_count, DEPTH, BLOCK_E, MASKED)
    rope = load_rows(rope_keys, rope_strides, keys, key_count, ROPE, BLOCK_U, MASKED)
    scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee")
    scores = tl.dot(q_rope_tile, tl.trans(rope), scores, input_precision="ieee") * scale_log2
    if MASKED:
        scores = hide_scores(scores, rows, query_count, keys, key_count, CAUSAL)
    weights, rescale, row_max, row_sum = softmax_step(scores, row_max, row_sum, MASKED)
    v_tile = load_rows(v, v_strides, keys, key_count, VALUE_DEPTH, BLOCK_F, MASKED)
    accumulator = accumulator * rescale[:, None]
    accumulator = tl.dot(weights.to(v_tile.dtype), v_tile, accumulator, input_precision="ieee")
    return accumulator, row_max, row_sum


@triton.jit
def mla_prefill_kernel(
    q: tl.tensor, q_rope: tl.tensor, k: tl.tensor, rope_keys: tl.tensor, v: tl.tensor, o: tl.tensor,
    lse: tl.tensor, query_lengths: tl.tensor, key_lengths: tl.tensor, q_strides: tl.tuple,
    q_rope_strides: tl.tuple, k_strides: tl.tuple, rope_strides: tl.tuple, v_strides: tl.tuple,
    o_strides: tl.tuple, lse_strides: tl.tuple, query_count: tl.tensor, key_count: tl.tensor,
    scale_log2: tl.tensor, CAUSAL: tl.constexpr, RAGGED: tl.constexpr, DEPTH: tl.constexpr,
    ROPE: tl.constexpr, VALUE_DEPTH: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr, BLOCK_U: tl.constexpr, BLOCK_F: tl.constexpr,
) -> None:  # fmt: skip
    """One tile of query rows of one head: grid (query tiles, heads, sequences)."""
    first_row = tl.program_id(0) * BLOCK_M
    head = tl.program_id(1).to(tl.int64)
    sequence = tl.program_id(2).to(tl.int64)
    if RAGGED:
        query_count = tl.load(query_lengths + sequence)
        key_count = tl.load(key_lengths + sequence)
    rows = first_row + tl.arange(0, BLOCK_M)
    q_head = q + sequence * q_strides[0] + head * q_strides[1]
    q_tile = load_rows(q_head, q_strides, rows, query_count, DEPTH, BLOCK_E, True)
    q_head = q_rope + sequence * q_rope_strides[0] + head * q_rope_strides[1]
    q_rope_tile = load_rows(q_head, q_rope_strides, rows, query_count, ROPE, BLOCK_U, True)
    k += sequence * k_strides[0] + head * k_strides[1]
    v += sequence * v_strides[0] + head * v_strides[1]
    rope_keys += sequence * rope_strides[0]
    accumulator = tl.zeros((BLOCK_M, BLOCK_F), tl.float32)
    row_max = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    row_sum = tl.zeros((BLOCK_M,), tl.float32)
    unmasked, stop = key_bounds(first_row, query_count, key_count, CAUSAL, BLOCK_M, BLOCK_N)
    for start in range(0, unmasked, BLOCK_N):
        accumulator, row_max, row_sum = _visit_tile(
            q_tile, q_rope_tile, accumulator, row_max, row_sum, k, rope_keys, v, k_strides, rope_strides,
            v_strides, start + tl.arange(0, BLOCK_N), key_count, rows, query_count, scale_log2, CAUSAL, False,
            DEPTH, ROPE, VALUE_DEPTH, BLOCK_E, BLOCK_U, BLOCK_F,
        )  # fmt: skip
    for start in range(unmasked, stop, BLOCK_N):
        accumulator, row_max, row_sum = _visit_tile(
            q_tile, q_rope_tile, accumulator, row_max, row_sum, k, rope_keys, v, k_strides, rope_strides,
            v_strides, start + tl.arange(0, BLOCK_N), key_count, rows, query_count, scale_log2, CAUSAL, True,
            DEPTH, ROPE, VALUE_DEPTH, BLOCK_E, BLOCK_U, BLOCK_F,
        )  # fmt: skip
    result, logarithm = softmax_end(accumulator, row_max, row_sum)
    o_head = o + sequence * o_strides[0] + head * o_strides[1]
    store_rows(o_head, o_strides, rows, query_count, result, VALUE_DEPTH, BLOCK_F)
    lse_rows = lse + sequence * lse_strides[0] + head * lse_strides[1] + rows * lse_strides[2]
    tl.store(lse_rows, logarithm, mask=rows < query_count)


def make_inputs(parameters: Mapping[str, Value], seed: int) -> dict[str, Any]:
    """Keyword arguments of :func:`mla_prefill` for the parameters of ``mla_prefill.yaml``, on the CPU.

    Standard normal, drawn in the order of the arguments; the up-projections are divided by the square root
    of the latent depth, so that keys and values are of unit scale.
    """
    sizes = counts(parameters)
    batch, heads, latent = sizes["batch"], sizes["heads"], sizes["latent_dim"]
    queries, keys = sizes["queries"], sizes["sequence"]
    shapes = {
        "q": (batch, heads, queries, sizes["head_dim"]),
        "q_rope": (batch, heads, queries, sizes["rope_dim"]),
        "latents": (batch, keys, latent),
        "rope_keys": (batch, keys, sizes["rope_dim"]),
        "key_weights": (heads, latent, sizes["head_dim"]),
        "value_weights": (heads, latent, sizes["value_dim"]),
    }
    tensors = standard_normal(shapes, parameters["precision"], seed)
    for name in ("key_weights", "value_weights"):
        tensors[name] *= latent**-0.5
    options = {name: sizes[name] for name in ("tile_queries", "tile_keys")}
    lengths = given_lengths(parameters, query_lengths=queries, key_lengths=keys)
    return tensors | options | lengths | {"causal": bool(parameters["causal"])}


def _check(tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise WorkloadError naming every tensor that does not fit the others."""
    checks.refuse(checks.dimensions(tensors, dict.fromkeys(tensors, 3) | {"q": 4, "q_rope": 4}))
    batch, heads, queries, depth = tensors["q"].shape
    keys, latent = tensors["latents"].shape[1:]
    rope, value_depth = tensors["rope_keys"].shape[2], tensors["value_weights"].shape[2]
    wanted = {
        "q_rope": (batch, heads, queries, rope),
        "latents": (batch, keys, latent),
        "rope_keys": (batch, keys, rope),
        "key_weights": (heads, latent, depth),
        "value_weights": (heads, latent, value_depth),
    }
    because = "batch, heads, rows and depth of q, keys and latent of latents, rope of rope_keys"
    checks.refuse(checks.shapes(tensors, wanted, because), checks.operands(tensors))


def _expand(
    latents: torch.Tensor,
    key_weights: torch.Tensor,
    value_weights: torch.Tensor,
    key_lengths: torch.Tensor | None,
    tile: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of all heads, ``(batch, heads, keys, depth)``, in the latents' precision."""
    (batch, keys, latent), (heads, _, depth) = latents.shape, key_weights.shape
    value_depth = value_weights.shape[2]
    k = torch.empty(batch, heads, keys, depth, dtype=latents.dtype, device=latents.device)
    v = torch.empty(batch, heads, keys, value_depth, dtype=latents.dtype, device=latents.device)
    mla_expand_kernel[(triton.cdiv(keys, tile), heads, batch)](
        latents, key_weights, value_weights, k, v, key_lengths, latents[:, None].stride(),
        key_weights[:, None].stride(), value_weights[:, None].stride(), k.stride(), v.stride(), keys,
        RAGGED=key_lengths is not None, LATENT=latent,
        DEPTH=depth, VALUE_DEPTH=value_depth, BLOCK_M=tile, BLOCK_R=min(64, padded(latent)),
        BLOCK_E=padded(depth), BLOCK_F=padded(value_depth),
    )  # fmt: skip
    return k, v


def mla_prefill(
    q: torch.Tensor, q_rope: torch.Tensor, latents: torch.Tensor, rope_keys: torch.Tensor,
    key_weights: torch.Tensor, value_weights: torch.Tensor, causal: bool = False,
    query_lengths: torch.Tensor | None = None, key_lengths: torch.Tensor | None = None,
    tile_queries: int = 64, tile_keys: int = 64,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Softmax attention over keys and values expanded from latents, and its natural log-sum-exp.

    Queries ``(batch, heads, rows, depth)`` with a rotary part ``(.., rope)`` meet keys ``latents
    @ key_weights[head]`` with rotary keys ``(batch, keys, rope)``; scores are scaled by ``1 / sqrt(depth +
    rope)``. A causal mask lets the last query see the last key. Rows beyond a sequence's query length, and
    rows that see no key, hold zeros and a log-sum-exp of -inf.

    Returns
    -------
    tuple
        Output ``(batch, heads, rows, value depth)`` in the inputs' precision, log-sum-exp ``(batch, heads,
        rows)`` in fp32.

    Raises
    ------
    WorkloadError
        If shapes, lengths or tile sizes do not fit together.
    MissingDependencyError
        If the tensors are on the CPU and the interpreter is off.
    TraceError
        If the tensors are bf16 and the interpreter is on.
    """
    _check({
        "q": q, "q_rope": q_rope, "latents": latents, "rope_keys": rope_keys, "key_weights": key_weights,
        "value_weights": value_weights,
    })  # fmt: skip
    (batch, heads, queries, depth), (keys, rope) = q.shape, rope_keys.shape[1:]
    checks.refuse(
        checks.both_lengths(query_lengths, key_lengths, batch, (queries, keys)),
        checks.tiles(tile_queries=tile_queries, tile_keys=tile_keys),
    )
    check_device(q, q_rope, latents, rope_keys, key_weights, value_weights)
    k, v = _expand(latents, key_weights, value_weights, key_lengths, tile_keys)
    o, lse = output_tensors(q, v.shape[3])
    mla_prefill_kernel[(triton.cdiv(queries, tile_queries), heads, batch)](
        q, q_rope, k, rope_keys, v, o, lse, query_lengths, key_lengths, q.stride(), q_rope.stride(),
        k.stride(), rope_keys[:, None].stride(), v.stride(), o.stride(), lse.stride(), queries, keys,
        score_scale(depth + rope), CAUSAL=causal, RAGGED=query_lengths is not None, DEPTH=depth,
        ROPE=rope, VALUE_DEPTH=v.shape[3], BLOCK_M=tile_queries, BLOCK_N=tile_keys,
        BLOCK_E=padded(depth), BLOCK_U=padded(rope), BLOCK_F=padded(v.shape[3]),
    )  # fmt: skip
    return o, lse
