# mypy: disallow-untyped-decorators=False
"""Decode attention over quantised keys and values; keys optionally in two steps, as SpAtten reads them.

Keys and values are 8-bit integers in two planes of 4 bits, upper and lower halves, with one scale per key.
The format ``int8`` reads both planes, ``int4`` only the upper one, whose values stand for the middle of their
range. ``progressive`` reads the upper plane of the keys first; where the largest probability of any query of
a group stays below a threshold, a second launch reads both planes and replaces the result. Two 4-bit values
share a byte. Modelled: one query per sequence, grouped heads (padded to 16 rows), key lengths that vary by
sequence. Not modelled: quantised queries, partial scores kept for the second launch, split or paged keys.

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
from dse.kernels.masking import hide_scores
from dse.kernels.quantisation import planes, quantise
from dse.workloads.trace import Value


@triton.jit
def _unpack(packed: tl.tensor) -> tl.tensor:
    """Tile of 4-bit values, 0 to 15, from a tile of bytes; the lower half of a byte comes first."""
    rows: tl.constexpr = packed.shape[0]
    columns: tl.constexpr = 2 * packed.shape[1]
    return tl.reshape(tl.join(packed & 15, packed >> 4), (rows, columns)).to(tl.int32)


@triton.jit
def _load_integers(
    upper: tl.tensor, lower: tl.tensor, strides: tl.tuple, rows: tl.tensor, row_count: tl.tensor,
    BOTH: tl.constexpr, DEPTH: tl.constexpr, BLOCK: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Tile of 8-bit values from both planes, or the middle of the range that the upper one leaves open."""
    tile = 16 * _unpack(load_rows(upper, strides, rows, row_count, DEPTH // 2, BLOCK // 2, True)) - 128
    if BOTH:
        tile += _unpack(load_rows(lower, strides, rows, row_count, DEPTH // 2, BLOCK // 2, True))
    else:
        tile += 8
    return tile


@triton.jit
def _load_scales(
    base: tl.tensor,
    strides: tl.tuple,
    kv_head: tl.tensor,
    sequence: tl.tensor,
    keys: tl.tensor,
    count: tl.tensor,
) -> tl.tensor:
    """One scale per key of a tile, zero outside the sequence."""
    pointers = base + sequence * strides[0] + kv_head * strides[1] + keys * strides[2]
    return tl.load(pointers, mask=keys < count, other=0.0)


@triton.jit
def _decode_group(
    q: tl.tensor, k_upper: tl.tensor, k_lower: tl.tensor, k_scale: tl.tensor, v_upper: tl.tensor,
    v_lower: tl.tensor, v_scale: tl.tensor, o: tl.tensor, lse: tl.tensor, group_rows: tl.tensor,
    group_keys: tl.tensor, q_strides: tl.tuple, k_strides: tl.tuple, v_strides: tl.tuple,
    scale_strides: tl.tuple, o_strides: tl.tuple, lse_strides: tl.tuple, scale_log2: tl.tensor,
    K_BOTH: tl.constexpr, V_BOTH: tl.constexpr, DEPTH: tl.constexpr, VALUE_DEPTH: tl.constexpr,
    BLOCK_G: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Attention of the queries of a group; gives their sums of weights."""
    kv_head = tl.program_id(0).to(tl.int64)
    sequence = tl.program_id(1).to(tl.int64)
    row_count = tl.load(group_rows + sequence * tl.num_programs(0) + kv_head)
    key_count = tl.load(group_keys + sequence * tl.num_programs(0) + kv_head)
    rows = tl.arange(0, BLOCK_G)
    q += sequence * q_strides[0] + kv_head * q_strides[1]
    q_tile = load_rows(q, q_strides, rows, row_count, DEPTH, BLOCK_E, True)
    k_upper += sequence * k_strides[0] + kv_head * k_strides[1]
    if K_BOTH:
        k_lower += sequence * k_strides[0] + kv_head * k_strides[1]
    v_upper += sequence * v_strides[0] + kv_head * v_strides[1]
    if V_BOTH:
        v_lower += sequence * v_strides[0] + kv_head * v_strides[1]
    accumulator = tl.zeros((BLOCK_G, BLOCK_F), tl.float32)
    row_max = tl.full((BLOCK_G,), float("-inf"), tl.float32)
    row_sum = tl.zeros((BLOCK_G,), tl.float32)
    for start in range(0, key_count, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        k_tile = _load_integers(k_upper, k_lower, k_strides, keys, key_count, K_BOTH, DEPTH, BLOCK_E)
        scores = tl.dot(q_tile, tl.trans(k_tile.to(q_tile.dtype)), input_precision="ieee")
        factors = _load_scales(k_scale, scale_strides, kv_head, sequence, keys, key_count)
        scores *= factors[None, :] * scale_log2
        scores = hide_scores(scores, rows, row_count, keys, key_count, False)
        weights, rescale, row_max, row_sum = softmax_step(scores, row_max, row_sum, True)
        v_tile = _load_integers(v_upper, v_lower, v_strides, keys, key_count, V_BOTH, VALUE_DEPTH, BLOCK_F)
        factors = _load_scales(v_scale, scale_strides, kv_head, sequence, keys, key_count)
        v_tile = (v_tile * factors[:, None]).to(q_tile.dtype)
        accumulator = accumulator * rescale[:, None]
        accumulator = tl.dot(weights.to(q_tile.dtype), v_tile, accumulator, input_precision="ieee")
    result, logarithm = softmax_end(accumulator, row_max, row_sum)
    o += sequence * o_strides[0] + kv_head * o_strides[1]
    store_rows(o, o_strides, rows, row_count, result, VALUE_DEPTH, BLOCK_F)
    lse_rows = lse + sequence * lse_strides[0] + kv_head * lse_strides[1] + rows * lse_strides[2]
    tl.store(lse_rows, logarithm, mask=rows < row_count)
    return row_sum


@triton.jit
def upper_decode_kernel(
    q: tl.tensor, k_upper: tl.tensor, k_scale: tl.tensor, v_upper: tl.tensor, v_lower: tl.tensor,
    v_scale: tl.tensor, o: tl.tensor, lse: tl.tensor, confidence: tl.tensor, group_rows: tl.tensor,
    group_keys: tl.tensor, q_strides: tl.tuple, k_strides: tl.tuple, v_strides: tl.tuple,
    scale_strides: tl.tuple, o_strides: tl.tuple, lse_strides: tl.tuple, scale_log2: tl.tensor,
    V_BOTH: tl.constexpr, DEPTH: tl.constexpr, VALUE_DEPTH: tl.constexpr, BLOCK_G: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr,
) -> None:  # fmt: skip
    """Upper halves of the keys only, and how confident that is: grid (key heads, sequences)."""
    row_sum = _decode_group(
        q, k_upper, None, k_scale, v_upper, v_lower, v_scale, o, lse, group_rows, group_keys, q_strides,
        k_strides, v_strides, scale_strides, o_strides, lse_strides, scale_log2, False, V_BOTH, DEPTH,
        VALUE_DEPTH, BLOCK_G, BLOCK_N, BLOCK_E, BLOCK_F,
    )  # fmt: skip
    # The largest weight is exp2(0) = 1, so the largest probability of a row is one over its sum. Rows that
    # are padding and groups without keys have the sum 0 and count as certain.
    largest = 1.0 / tl.where(row_sum > 0.0, row_sum, 1.0)
    group = tl.program_id(1).to(tl.int64) * tl.num_programs(0) + tl.program_id(0)
    tl.store(confidence + group, tl.min(largest, 0))


@triton.jit
def full_decode_kernel(
    q: tl.tensor, k_upper: tl.tensor, k_lower: tl.tensor, k_scale: tl.tensor, v_upper: tl.tensor,
    v_lower: tl.tensor, v_scale: tl.tensor, o: tl.tensor, lse: tl.tensor, group_rows: tl.tensor,
    group_keys: tl.tensor, q_strides: tl.tuple, k_strides: tl.tuple, v_strides: tl.tuple,
    scale_strides: tl.tuple, o_strides: tl.tuple, lse_strides: tl.tuple, scale_log2: tl.tensor,
    V_BOTH: tl.constexpr, DEPTH: tl.constexpr, VALUE_DEPTH: tl.constexpr, BLOCK_G: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr,
) -> None:  # fmt: skip
    """Both halves of the keys, for the groups that are given any: grid (key heads, sequences)."""
    _decode_group(
        q, k_upper, k_lower, k_scale, v_upper, v_lower, v_scale, o, lse, group_rows, group_keys, q_strides,
        k_strides, v_strides, scale_strides, o_strides, lse_strides, scale_log2, True, V_BOTH, DEPTH,
        VALUE_DEPTH, BLOCK_G, BLOCK_N, BLOCK_E, BLOCK_F,
    )  # fmt: skip


def make_inputs(parameters: Mapping[str, Value], seed: int) -> dict[str, Any]:
    """Keyword arguments of :func:`quantised_decode` for the parameters of its annotation, on the CPU.

    Q, K and V are standard normal, drawn in this order; K and V are quantised. The queries of every second
    key head are multiplied by 8, so that some groups are confident of their largest probability.
    """
    sizes = counts(parameters)
    batch, kv_heads, keys = sizes["batch"], sizes["kv_heads"], sizes["sequence"]
    shapes = {
        "q": (batch, sizes["heads"], sizes["head_dim"]),
        "k": (batch, kv_heads, keys, sizes["head_dim"]),
        "v": (batch, kv_heads, keys, sizes["value_dim"]),
    }
    tensors: dict[str, Any] = standard_normal(shapes, parameters["precision"], seed)
    group = sizes["heads"] // kv_heads
    tensors["q"] *= torch.where(torch.arange(sizes["heads"]) // group % 2 == 1, 8, 1)[:, None]
    for name in ("k", "v"):
        values, tensors[f"{name}_scale"] = quantise(tensors.pop(name))
        tensors[f"{name}_upper"], tensors[f"{name}_lower"] = planes(values)
    if parameters["key_format"] == "int4":
        tensors["k_lower"] = None
    if parameters["value_format"] == "int4":
        tensors["v_lower"] = None
    if parameters["key_format"] == "progressive":
        tensors["threshold"] = parameters["threshold"]
    options = {"tile_keys": sizes["tile_keys"]}
    return tensors | options | given_lengths(parameters, key_lengths=keys)


def _check(tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise WorkloadError naming every tensor that does not fit the others."""
    dimensions = dict.fromkeys(tensors, 4) | {"q": 3, "k_scale": 3, "v_scale": 3}
    checks.refuse(checks.dimensions(tensors, dimensions))
    batch, heads, depth = tensors["q"].shape
    kv_heads, keys, columns = tensors["v_upper"].shape[1:]
    key, scale = (batch, kv_heads, keys, depth // 2), (batch, kv_heads, keys)
    wanted = {"k_upper": key, "k_lower": key, "k_scale": scale, "v_scale": scale}
    wanted |= {"v_upper": (*scale, columns), "v_lower": (*scale, columns)}
    because = "batch and half the depth of q, heads and keys of v_upper"
    packed = [name for name in tensors if name.endswith(("upper", "lower"))]
    checks.refuse(
        checks.shapes(tensors, {name: wanted[name] for name in tensors if name != "q"}, because),
        [f"q has depth {depth}: two 4-bit keys share a byte, so it must be even"] if depth % 2 else [],
        [f"{heads} heads are no multiple of {kv_heads} kv heads"] if heads % max(1, kv_heads) else [],
        [
            f"{name} is {tensors[name].dtype}, not torch.uint8"
            for name in packed
            if tensors[name].dtype != torch.uint8
        ],
        checks.operands({"q": tensors["q"], "v_upper": tensors["v_upper"].to(tensors["q"].dtype)}),
    )


def _launch(
    tensors: Mapping[str, torch.Tensor],
    outputs: tuple[torch.Tensor, torch.Tensor],
    group_keys: torch.Tensor,
    tile_keys: int,
    both: bool,
) -> torch.Tensor:
    """Compute the groups that have keys; how confident each group is, one where both halves are used."""
    q, k_upper, k_scale = tensors["q"], tensors["k_upper"], tensors["k_scale"]
    v_upper, v_lower = tensors["v_upper"], tensors.get("v_lower")
    o, lse = outputs
    batch, kv_heads, group, depth = q.shape
    confidence = torch.ones(batch, kv_heads, device=q.device)
    group_rows = torch.where(group_keys > 0, group, 0).to(torch.int32)
    lower = (tensors["k_lower"],) if both else ()
    measured = () if both else (confidence,)
    kernel = full_decode_kernel if both else upper_decode_kernel
    kernel[(kv_heads, batch)](
        q, k_upper, *lower, k_scale, v_upper, v_lower, tensors["v_scale"], o, lse, *measured, group_rows,
        group_keys, q.stride(), k_upper.stride(), v_upper.stride(), k_scale.stride(), o.stride(),
        lse.stride(), score_scale(depth), V_BOTH=v_lower is not None, DEPTH=depth, VALUE_DEPTH=o.shape[3],
        BLOCK_G=padded(group), BLOCK_N=tile_keys, BLOCK_E=padded(depth), BLOCK_F=padded(o.shape[3]),
    )  # fmt: skip
    return confidence


def _passes(
    tensors: Mapping[str, torch.Tensor], group_keys: torch.Tensor, threshold: float | None, tile_keys: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Upper halves, or both, or both after the upper ones where those are not certain."""
    halves = "k_lower" in tensors
    o, lse = output_tensors(tensors["q"], 2 * tensors["v_upper"].shape[3])
    if threshold is not None or not halves:
        confidence = _launch(tensors, (o, lse), group_keys, tile_keys, both=False)
        certain = confidence >= (0.0 if threshold is None else threshold)
        group_keys = torch.where(certain, 0, group_keys)
    if halves:
        _launch(tensors, (o, lse), group_keys, tile_keys, both=True)
    return o.flatten(1, 2), lse.flatten(1, 2), group_keys > 0


def quantised_decode(
    q: torch.Tensor, k_upper: torch.Tensor, k_scale: torch.Tensor, v_upper: torch.Tensor,
    v_scale: torch.Tensor, k_lower: torch.Tensor | None = None, v_lower: torch.Tensor | None = None,
    key_lengths: torch.Tensor | None = None, threshold: float | None = None, tile_keys: int = 64,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Softmax attention of one query per head ``(batch, heads, depth)`` over quantised keys and values.

    Parameters
    ----------
    k_upper, k_lower, v_upper, v_lower
        Packed halves, ``(batch, kv heads, keys, depth / 2)`` bytes; see ``quantisation``. Without the lower
        ones, the upper ones alone are used.
    k_scale, v_scale
        Scale of every key and value, ``(batch, kv heads, keys)`` in fp32.
    threshold
        The upper halves are used first, then both where a query of the group gives no key a probability of
        at least this. None uses both at once.

    Returns
    -------
    tuple
        Output ``(batch, heads, value depth)`` in the precision of ``q``, natural log-sum-exp ``(batch,
        heads)`` in fp32, and which groups ``(batch, kv heads)`` were computed with both halves of the keys.

    Raises
    ------
    WorkloadError
        If shapes, element types, lengths or the tile size do not fit together.
    MissingDependencyError
        If the tensors are on the CPU and the interpreter is off.
    TraceError
        If the queries are bf16 and the interpreter is on.
    """
    given = {
        "q": q, "k_upper": k_upper, "k_lower": k_lower, "k_scale": k_scale, "v_upper": v_upper,
        "v_lower": v_lower, "v_scale": v_scale,
    }  # fmt: skip
    # Planes are read with the same strides, scales too.
    tensors = {name: tensor.contiguous() for name, tensor in given.items() if tensor is not None}
    _check(tensors)
    batch, kv_heads, keys = k_scale.shape
    wrong = ["a threshold needs k_lower to fetch"] if k_lower is None and threshold is not None else []
    lengths = checks.lengths("key_lengths", key_lengths, batch, keys)
    checks.refuse(lengths, checks.tiles(tile_keys=tile_keys), wrong)
    check_device(q)
    tensors["q"] = tensors["q"].view(batch, kv_heads, -1, q.shape[2])
    group_keys = torch.full((batch, kv_heads), keys, dtype=torch.int32, device=q.device)
    if key_lengths is not None:
        group_keys[:] = key_lengths[:, None]
    return _passes(tensors, group_keys, threshold, tile_keys)
