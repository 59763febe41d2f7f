# mypy: disallow-untyped-decorators=False
"""Multi-head latent attention, decode, absorbed: all heads attend to one latent cache.

The key up-projection is absorbed into the query and the value up-projection is left to the output
projection, so the latent of a key is both its key and its value and is read once for all heads of a tile.
Modelled: scores over the latent and the rotary part (two matrix products), one query per sequence, key
lengths that vary by sequence, log-sum-exp output. Not modelled: the projections, split or paged keys.

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
    padded,
    softmax_end,
    softmax_step,
    standard_normal,
    store_rows,
)
from dse.kernels.inputs import given_lengths, score_scale
from dse.kernels.launch import check_device
from dse.kernels.masking import hide_scores
from dse.workloads.trace import Value


@triton.jit
def _visit_tile(
    q_latent_tile: tl.tensor, q_rope_tile: tl.tensor, accumulator: tl.tensor, row_max: tl.tensor,
    row_sum: tl.tensor, latents: tl.tensor, rope_keys: tl.tensor, latent_strides: tl.tuple,
    rope_strides: tl.tuple, keys: tl.tensor, key_count: tl.tensor, rows: tl.tensor, scale_log2: tl.tensor,
    HEADS: tl.constexpr, MASKED: tl.constexpr, LATENT: tl.constexpr, ROPE: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_U: tl.constexpr,
) -> tl.tuple:  # fmt: skip
    """One key tile of the online softmax; the latent tile is loaded once, as keys and as values."""
    latent = load_rows(latents, latent_strides, keys, key_count, LATENT, BLOCK_R, MASKED)
    rope = load_rows(rope_keys, rope_strides, keys, key_count, ROPE, BLOCK_U, MASKED)
    scores = tl.dot(q_latent_tile, tl.trans(latent), input_precision="ieee")
    scores = tl.dot(q_rope_tile, tl.trans(rope), scores, input_precision="ieee") * scale_log2
    if MASKED:
        scores = hide_scores(scores, rows, HEADS, keys, key_count, False)
    weights, rescale, row_max, row_sum = softmax_step(scores, row_max, row_sum, MASKED)
    accumulator = accumulator * rescale[:, None]
    accumulator = tl.dot(weights.to(latent.dtype), latent, accumulator, input_precision="ieee")
    return accumulator, row_max, row_sum


@triton.jit
def mla_decode_kernel(
    q_latent: tl.tensor, q_rope: tl.tensor, latents: tl.tensor, rope_keys: tl.tensor, o: tl.tensor,
    lse: tl.tensor, key_lengths: tl.tensor, q_latent_strides: tl.tuple, q_rope_strides: tl.tuple,
    latent_strides: tl.tuple, rope_strides: tl.tuple, o_strides: tl.tuple, lse_strides: tl.tuple,
    key_count: tl.tensor, scale_log2: tl.tensor, HEADS: tl.constexpr, RAGGED: tl.constexpr,
    LATENT: tl.constexpr, ROPE: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_U: tl.constexpr,
) -> None:  # fmt: skip
    """A tile of heads of one sequence: grid (head tiles, sequences)."""
    first_row = tl.program_id(0) * BLOCK_H
    sequence = tl.program_id(1).to(tl.int64)
    if RAGGED:
        key_count = tl.load(key_lengths + sequence)
    rows = first_row + tl.arange(0, BLOCK_H)
    q_latent += sequence * q_latent_strides[0]
    q_latent_tile = load_rows(q_latent, q_latent_strides, rows, HEADS, LATENT, BLOCK_R, True)
    q_rope += sequence * q_rope_strides[0]
    q_rope_tile = load_rows(q_rope, q_rope_strides, rows, HEADS, ROPE, BLOCK_U, True)
    latents += sequence * latent_strides[0]
    rope_keys += sequence * rope_strides[0]
    accumulator = tl.zeros((BLOCK_H, BLOCK_R), tl.float32)
    row_max = tl.full((BLOCK_H,), float("-inf"), tl.float32)
    row_sum = tl.zeros((BLOCK_H,), tl.float32)
    unmasked = tl.where(first_row + BLOCK_H <= HEADS, key_count // BLOCK_N * BLOCK_N, 0)
    for start in range(0, unmasked, BLOCK_N):
        accumulator, row_max, row_sum = _visit_tile(
            q_latent_tile, q_rope_tile, accumulator, row_max, row_sum, latents, rope_keys, latent_strides,
            rope_strides, start + tl.arange(0, BLOCK_N), key_count, rows, scale_log2, HEADS, False, LATENT,
            ROPE, BLOCK_R, BLOCK_U,
        )  # fmt: skip
    for start in range(unmasked, key_count, BLOCK_N):
        accumulator, row_max, row_sum = _visit_tile(
            q_latent_tile, q_rope_tile, accumulator, row_max, row_sum, latents, rope_keys, latent_strides,
            rope_strides, start + tl.arange(0, BLOCK_N), key_count, rows, scale_log2, HEADS, True, LATENT,
            ROPE, BLOCK_R, BLOCK_U,
        )  # fmt: skip
    result, logarithm = softmax_end(accumulator, row_max, row_sum)
    store_rows(o + sequence * o_strides[0], o_strides, rows, HEADS, result, LATENT, BLOCK_R)
    tl.store(lse + sequence * lse_strides[0] + rows * lse_strides[1], logarithm, mask=rows < HEADS)


def make_inputs(parameters: Mapping[str, Value], seed: int) -> dict[str, Any]:
    """Keyword arguments of :func:`mla_decode` for the parameters of ``mla_decode.yaml``, on the CPU.

    Both parts of the queries, the latents and the rotary keys are standard normal, drawn in this order.
    """
    sizes = counts(parameters)
    batch, heads, keys = sizes["batch"], sizes["heads"], sizes["sequence"]
    latent, rope = sizes["latent_dim"], sizes["rope_dim"]
    shapes = {
        "q_latent": (batch, heads, latent),
        "q_rope": (batch, heads, rope),
        "latents": (batch, keys, latent),
        "rope_keys": (batch, keys, rope),
    }
    options = {name: sizes[name] for name in ("scale_dim", "tile_heads", "tile_keys")}
    tensors = standard_normal(shapes, parameters["precision"], seed)
    return tensors | options | given_lengths(parameters, key_lengths=keys)


def _check(tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise WorkloadError naming every tensor that does not fit the others."""
    checks.refuse(checks.dimensions(tensors, dict.fromkeys(tensors, 3)))
    batch, heads, latent = tensors["q_latent"].shape
    keys, rope = tensors["rope_keys"].shape[1:]
    wanted = {
        "q_rope": (batch, heads, rope),
        "latents": (batch, keys, latent),
        "rope_keys": (batch, keys, rope),
    }
    because = "batch, heads and latent of q_latent, keys and rope of rope_keys"
    checks.refuse(checks.shapes(tensors, wanted, because), checks.operands(tensors))


def mla_decode(
    q_latent: torch.Tensor, q_rope: torch.Tensor, latents: torch.Tensor, rope_keys: torch.Tensor,
    key_lengths: torch.Tensor | None = None, scale_dim: int = 192, tile_heads: int = 16,
    tile_keys: int = 64,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Attention of one query per head over latents ``(batch, keys, latent)``, and its natural log-sum-exp.

    ``q_latent (batch, heads, latent)`` is the query with the key up-projection absorbed, ``q_rope (batch,
    heads, rope)`` its rotary part, which meets ``rope_keys (batch, keys, rope)``. Scores are scaled by ``1 /
    sqrt(scale_dim)``, the score depth before absorption. A sequence without keys holds zeros and -inf.

    Returns
    -------
    tuple
        Weighted latents ``(batch, heads, latent)`` in the inputs' precision, still to be projected to
        values, and the log-sum-exp ``(batch, heads)`` in fp32.

    Raises
    ------
    WorkloadError
        If shapes, lengths or tile sizes do not fit together.
    MissingDependencyError
        If the tensors are on the CPU and the interpreter is off.
    TraceError
        If the tensors are bf16 and the interpreter is on.
    """
    tensors = {"q_latent": q_latent, "q_rope": q_rope, "latents": latents, "rope_keys": rope_keys}
    _check(tensors)
    (batch, heads, latent), (keys, rope) = q_latent.shape, rope_keys.shape[1:]
    checks.refuse(
        checks.lengths("key_lengths", key_lengths, batch, keys),
        checks.tiles(tile_heads=tile_heads, tile_keys=tile_keys),
    )
    check_device(*tensors.values())
    o = torch.empty(batch, heads, latent, dtype=q_latent.dtype, device=q_latent.device)
    lse = torch.empty(batch, heads, device=q_latent.device)
    mla_decode_kernel[(triton.cdiv(heads, tile_heads), batch)](
        q_latent, q_rope, latents, rope_keys, o, lse, key_lengths, q_latent[:, None].stride(),
        q_rope[:, None].stride(), latents[:, None].stride(), rope_keys[:, None].stride(), o[:, None].stride(),
        lse.stride(), keys, score_scale(scale_dim),
        HEADS=heads, RAGGED=key_lengths is not None, LATENT=latent, ROPE=rope, BLOCK_H=tile_heads,
        BLOCK_N=tile_keys, BLOCK_R=padded(latent), BLOCK_U=padded(rope), num_warps=8,
    )  # fmt: skip
    return o, lse
