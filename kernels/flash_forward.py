# mypy: disallow-untyped-decorators=False
"""Flash-attention forward in Triton: one pass over the keys, running maximum and sums, exp2 form.

Modelled: fp16, bf16 (on a GPU only) and fp32 operands with fp32 accumulation, causal masks aligned to the
last key, grouped and multi-query heads, value heads and value depth that differ from those of the keys,
lengths of each sequence or of each head of it, log-sum-exp output. Key tiles above the causal diagonal are
skipped by the loop bounds; key tiles that need no mask run in a loop of their own. Not modelled: dropout,
bias, paged keys, split keys, backward.

The same source runs on a CUDA GPU and, with TRITON_INTERPRET=1, in Triton's interpreter.
"""

from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl

from dse.errors import WorkloadError
from dse.kernels.launch import check_device
from dse.workloads.trace import Value

PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
LOG2_E = 1.4426950408889634
LN_2: tl.constexpr = tl.constexpr(0.6931471805599453)
SMALLEST_DOT = 16


@triton.jit
def _load_rows(
    base: tl.tensor,
    strides: tl.tuple,
    rows: tl.tensor,
    row_count: tl.tensor,
    DEPTH: tl.constexpr,
    BLOCK: tl.constexpr,
    BOUNDED: tl.constexpr,
) -> tl.tensor:
    """Tile of ``rows`` by ``BLOCK`` columns, zero outside the tensor; only a bounded tile masks its rows."""
    columns = tl.arange(0, BLOCK)
    pointers = base + rows[:, None].to(tl.int64) * strides[2] + columns[None, :] * strides[3]
    if BOUNDED:
        tile = tl.load(pointers, mask=(rows[:, None] < row_count) & (columns[None, :] < DEPTH), other=0.0)
    elif DEPTH < BLOCK:
        tile = tl.load(pointers, mask=columns[None, :] < DEPTH, other=0.0)
    else:
        tile = tl.load(pointers)
    return tile


@triton.jit
def _store_rows(
    base: tl.tensor,
    strides: tl.tuple,
    rows: tl.tensor,
    row_count: tl.tensor,
    tile: tl.tensor,
    DEPTH: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Write the part of a tile of ``rows`` by ``BLOCK`` columns that lies inside the tensor."""
    columns = tl.arange(0, BLOCK)
    pointers = base + rows[:, None].to(tl.int64) * strides[2] + columns[None, :] * strides[3]
    inside = (rows[:, None] < row_count) & (columns[None, :] < DEPTH)
    tl.store(pointers, tile.to(base.dtype.element_ty), mask=inside)


@triton.jit
def _visit_tile(
    q_tile: tl.tensor,
    accumulator: tl.tensor,
    row_max: tl.tensor,
    row_sum: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    k_strides: tl.tuple,
    v_strides: tl.tuple,
    keys: tl.tensor,
    key_count: tl.tensor,
    rows: tl.tensor,
    query_count: tl.tensor,
    scale_log2: tl.tensor,
    CAUSAL: tl.constexpr,
    MASKED: tl.constexpr,
    DEPTH: tl.constexpr,
    VALUE_DEPTH: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_F: tl.constexpr,
) -> tl.tuple:
    """One key tile of the online softmax: scores, running maximum, rescaling, weighted values."""
    k_tile = _load_rows(k, k_strides, keys, key_count, DEPTH, BLOCK_E, MASKED)
    scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * scale_log2
    if MASKED:
        visible = (keys[None, :] < key_count) & (rows[:, None] < query_count)
        if CAUSAL:
            visible = visible & (keys[None, :] <= rows[:, None] + (key_count - query_count))
        scores = tl.where(visible, scores, float("-inf"))
    new_max = tl.maximum(row_max, tl.max(scores, 1))
    finite_max = new_max
    if MASKED:
        # A row that has seen no key yet keeps the maximum -inf; subtracting it would give NaN.
        finite_max = tl.where(new_max == float("-inf"), 0.0, new_max)
    weights = tl.exp2(scores - finite_max[:, None])
    rescale = tl.exp2(row_max - finite_max)
    row_sum = row_sum * rescale + tl.sum(weights, 1)
    v_tile = _load_rows(v, v_strides, keys, key_count, VALUE_DEPTH, BLOCK_F, MASKED)
    accumulator = accumulator * rescale[:, None]
    accumulator = tl.dot(weights.to(v_tile.dtype), v_tile, accumulator, input_precision="ieee")
    return accumulator, new_max, row_sum


@triton.jit
def _key_bounds(
    first_row: tl.tensor,
    query_count: tl.tensor,
    key_count: tl.tensor,
    CAUSAL: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> tl.tuple:
    """Keys below which no mask is needed (whole tiles), and the first key that no row of the tile sees."""
    end_row = tl.minimum(first_row + BLOCK_M, query_count)
    stop = key_count
    unmasked = key_count
    if CAUSAL:
        stop = tl.maximum(0, tl.minimum(key_count, end_row + (key_count - query_count)))
        unmasked = tl.maximum(0, tl.minimum(key_count, first_row + 1 + (key_count - query_count)))
    stop = tl.where(first_row < query_count, stop, 0)
    unmasked = tl.where(first_row + BLOCK_M <= query_count, unmasked // BLOCK_N * BLOCK_N, 0)
    return unmasked, stop


@triton.jit
def _attend(
    q_tile: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    k_strides: tl.tuple,
    v_strides: tl.tuple,
    first_row: tl.tensor,
    query_count: tl.tensor,
    key_count: tl.tensor,
    scale_log2: tl.tensor,
    CAUSAL: tl.constexpr,
    DEPTH: tl.constexpr,
    VALUE_DEPTH: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_F: tl.constexpr,
) -> tl.tuple:
    """Unnormalised output, maximum and sum of a tile of query rows over all keys it sees."""
    rows = first_row + tl.arange(0, BLOCK_M)
    accumulator = tl.zeros((BLOCK_M, BLOCK_F), tl.float32)
    row_max = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    row_sum = tl.zeros((BLOCK_M,), tl.float32)
    unmasked, stop = _key_bounds(first_row, query_count, key_count, CAUSAL, BLOCK_M, BLOCK_N)
    for start in range(0, unmasked, BLOCK_N):
        accumulator, row_max, row_sum = _visit_tile(
            q_tile, accumulator, row_max, row_sum, k, v, k_strides, v_strides, start + tl.arange(0, BLOCK_N),
            key_count, rows, query_count, scale_log2, CAUSAL, False, DEPTH, VALUE_DEPTH, BLOCK_E, BLOCK_F,
        )  # fmt: skip
    for start in range(unmasked, stop, BLOCK_N):
        accumulator, row_max, row_sum = _visit_tile(
            q_tile, accumulator, row_max, row_sum, k, v, k_strides, v_strides, start + tl.arange(0, BLOCK_N),
            key_count, rows, query_count, scale_log2, CAUSAL, True, DEPTH, VALUE_DEPTH, BLOCK_E, BLOCK_F,
        )  # fmt: skip
    return accumulator, row_max, row_sum


@triton.jit
def _load_lengths(
    query_lengths: tl.tensor,
    key_lengths: tl.tensor,
    sequence: tl.tensor,
    head: tl.tensor,
    HEAD_LENGTHS: tl.constexpr,
) -> tl.tuple:
    """Query rows and keys in use of a sequence, or of one of its heads."""
    place = sequence
    if HEAD_LENGTHS:
        place = sequence * tl.num_programs(1) + head
    return tl.load(query_lengths + place), tl.load(key_lengths + place)


@triton.jit
def flash_forward_kernel(
    q: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    o: tl.tensor,
    lse: tl.tensor,
    query_lengths: tl.tensor,
    key_lengths: tl.tensor,
    q_strides: tl.tuple,
    k_strides: tl.tuple,
    v_strides: tl.tuple,
    o_strides: tl.tuple,
    lse_strides: tl.tuple,
    query_count: tl.tensor,
    key_count: tl.tensor,
    scale_log2: tl.tensor,
    GROUP: tl.constexpr,
    VALUE_GROUP: tl.constexpr,
    CAUSAL: tl.constexpr,
    RAGGED: tl.constexpr,
    HEAD_LENGTHS: tl.constexpr,
    DEPTH: tl.constexpr,
    VALUE_DEPTH: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_F: tl.constexpr,
) -> None:
    """One tile of query rows of one head: grid (query tiles, heads, sequences)."""
    first_row = tl.program_id(0) * BLOCK_M
    head = tl.program_id(1).to(tl.int64)
    sequence = tl.program_id(2).to(tl.int64)
    if RAGGED:
        query_count, key_count = _load_lengths(query_lengths, key_lengths, sequence, head, HEAD_LENGTHS)
    rows = first_row + tl.arange(0, BLOCK_M)
    q_head = q + sequence * q_strides[0] + head * q_strides[1]
    q_tile = _load_rows(q_head, q_strides, rows, query_count, DEPTH, BLOCK_E, True)
    accumulator, row_max, row_sum = _attend(
        q_tile, k + sequence * k_strides[0] + (head // GROUP) * k_strides[1],
        v + sequence * v_strides[0] + (head // VALUE_GROUP) * v_strides[1], k_strides, v_strides, first_row,
        query_count, key_count, scale_log2, CAUSAL, DEPTH, VALUE_DEPTH, BLOCK_M, BLOCK_N, BLOCK_E, BLOCK_F,
    )  # fmt: skip
    # Rows without a visible key give zeros and a log-sum-exp of -inf.
    divisor = tl.where(row_sum > 0.0, row_sum, 1.0)
    logarithm = tl.where(row_sum > 0.0, (row_max + tl.log2(divisor)) * LN_2, float("-inf"))
    o_head = o + sequence * o_strides[0] + head * o_strides[1]
    _store_rows(o_head, o_strides, rows, query_count, accumulator / divisor[:, None], VALUE_DEPTH, BLOCK_F)
    lse_rows = lse + sequence * lse_strides[0] + head * lse_strides[1] + rows * lse_strides[2]
    tl.store(lse_rows, logarithm, mask=rows < query_count)


def make_inputs(parameters: Mapping[str, Value], seed: int) -> dict[str, Any]:
    """Keyword arguments of :func:`flash_forward` for the parameters of ``flash_forward.yaml``, on the CPU.

    Q, K and V are standard normal, drawn in this order from one generator seeded with ``seed``. As many lengths
    as sequences are theirs; as many as sequences times heads are those of each head, sequence by sequence.
    """
    values = {key: int(value) for key, value in parameters.items() if isinstance(value, int)}
    generator = torch.Generator().manual_seed(seed)
    dtype = PRECISIONS[str(parameters["precision"])]
    batch, heads, keys = values["batch"], values["heads"], values["sequence"]
    shapes = {
        "q": (batch, heads, values["queries"], values["head_dim"]),
        "k": (batch, values["kv_heads"], keys, values["head_dim"]),
        "v": (batch, values["value_heads"], keys, values["value_dim"]),
    }
    inputs: dict[str, Any] = {
        name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()
    }
    padded = {"query_lengths": values["queries"], "key_lengths": keys}
    if any(parameters[name] for name in padded):
        for name, size in padded.items():
            lengths = torch.tensor(parameters[name] or [size] * batch, dtype=torch.int32)
            each_head = heads > 1 and lengths.numel() == batch * heads
            inputs[name] = lengths.reshape(batch, heads) if each_head else lengths
    tiles = {name: values[name] for name in ("tile_queries", "tile_keys")}
    return inputs | tiles | {"causal": bool(parameters["causal"])}


def _check_shapes(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, tiles: tuple[int, int], same_heads: bool = False
) -> None:
    """Raise WorkloadError naming every shape, head ratio or tile size the kernel cannot run.

    ``same_heads``: the values must have the heads of the keys.
    """
    problems = []
    if {q.dim(), k.dim(), v.dim()} != {4}:
        raise WorkloadError("q, k and v must have 4 dimensions: batch, heads, rows, depth")
    if q.shape[3] != k.shape[3]:
        problems.append(f"q has depth {q.shape[3]}, k has {k.shape[3]}: score depths must agree")
    alike = {"batch": 0, "heads": 1, "keys": 2} if same_heads else {"batch": 0, "keys": 2}
    if any(k.shape[axis] != v.shape[axis] for axis in alike.values()):
        names = ", ".join(alike)
        problems.append(f"k is {tuple(k.shape)}, v is {tuple(v.shape)}: their {names} must agree")
    if q.shape[0] != k.shape[0] or q.shape[1] % max(1, k.shape[1]):
        problems.append(
            f"q is {tuple(q.shape)}, k is {tuple(k.shape)}: same batch, heads a multiple of kv heads"
        )
    if q.shape[1] % max(1, v.shape[1]):
        problems.append(f"{q.shape[1]} heads cannot share {v.shape[1]} value heads evenly")
    if any(size == 0 for tensor in (q, k, v) for size in tensor.shape):
        problems.append("q, k and v must not be empty")
    if len({q.dtype, k.dtype, v.dtype}) > 1:
        problems.append(f"q, k and v have precisions {q.dtype}, {k.dtype}, {v.dtype}: they must agree")
    if any(tile < SMALLEST_DOT or tile & (tile - 1) for tile in tiles):
        problems.append(f"tiles {tiles} must be powers of two from {SMALLEST_DOT} up")
    if problems:
        raise WorkloadError(*problems)


def _check_lengths(
    lengths: Mapping[str, tuple[torch.Tensor | None, int]], batch: int, heads: int
) -> list[torch.Tensor]:
    """Both length tensors, contiguous and of one shape, or none of them.

    Raises WorkloadError unless each holds a length for every sequence, or every head of every sequence, within
    its padded size.
    """
    given = {name: tensor for name, (tensor, _) in lengths.items() if tensor is not None}
    if not given:
        return []
    for name, (tensor, padded) in lengths.items():
        if tensor is None:
            raise WorkloadError(f"{name} is missing: give query_lengths and key_lengths together")
        fits = tuple(tensor.shape) in ((batch,), (batch, heads))
        if not fits or int(tensor.min()) < 0 or int(tensor.max()) > padded:
            raise WorkloadError(
                f"{name} must hold {batch} lengths from 0 to {padded}, or {heads} for each of {batch} sequences, "
                f"not {tensor.tolist()}"
            )
    if any(tensor.dim() == 2 for tensor in given.values()):
        each = [t if t.dim() == 2 else t[:, None].expand(batch, heads) for t in given.values()]
        return [tensor.contiguous() for tensor in each]
    return [tensor.contiguous() for tensor in given.values()]


def flash_forward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    causal: bool = False,
    query_lengths: torch.Tensor | None = None,
    key_lengths: torch.Tensor | None = None,
    tile_queries: int = 64,
    tile_keys: int = 64,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention over ``(batch, heads, rows, depth)`` tensors and its natural log-sum-exp.

    Scores are scaled by ``1 / sqrt(depth)``; a causal mask lets the last query see the last key. Keys and values
    may have fewer heads than queries, and each their own number: every one serves equally many query heads in a
    row. Lengths are ``(batch,)``, or ``(batch, heads)`` by query head. Rows at and beyond their query length, and
    rows that see no key, hold zeros and a log-sum-exp of -inf.

    Returns
    -------
    tuple
        Output ``(batch, heads, queries, value depth)`` in the inputs' precision, and the log-sum-exp
        ``(batch, heads, queries)`` in fp32.

    Raises
    ------
    WorkloadError
        If shapes, head counts, lengths or tile sizes do not fit together.
    MissingDependencyError
        If the tensors are on the CPU and the interpreter is off.
    TraceError
        If the tensors are bf16 and the interpreter is on.
    """
    _check_shapes(q, k, v, (tile_queries, tile_keys))
    check_device(q, k, v)
    batch, heads, queries, depth = q.shape
    keys, value_depth = v.shape[2:]
    lengths = {"query_lengths": (query_lengths, queries), "key_lengths": (key_lengths, keys)}
    length_tensors = _check_lengths(lengths, batch, heads)
    o = torch.zeros(batch, heads, queries, value_depth, dtype=q.dtype, device=q.device)
    lse = torch.full((batch, heads, queries), float("-inf"), device=q.device)
    flash_forward_kernel[(triton.cdiv(queries, tile_queries), heads, batch)](
        q, k, v, o, lse, *(length_tensors or (None, None)),
        q.stride(), k.stride(), v.stride(), o.stride(), lse.stride(), queries, keys, depth**-0.5 * LOG2_E,
        GROUP=heads // k.shape[1], VALUE_GROUP=heads // v.shape[1], CAUSAL=causal, RAGGED=bool(length_tensors),
        HEAD_LENGTHS=any(tensor.dim() == 2 for tensor in length_tensors),
        DEPTH=depth, VALUE_DEPTH=value_depth, BLOCK_M=tile_queries, BLOCK_N=tile_keys,
        BLOCK_E=max(SMALLEST_DOT, triton.next_power_of_2(depth)),
        BLOCK_F=max(SMALLEST_DOT, triton.next_power_of_2(value_depth)),
    )  # fmt: skip
    return o, lse
