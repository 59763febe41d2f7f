"""Launches of a workload under a GPU mapping: traced ones as they ran, else by shape and launch parameters.

Modelled: prefill by flash attention, decode (one query per sequence, or absorbed latent attention) by splits of the
keys and a combining launch, requests of different lengths in one launch, dense layers by the fastest of the mapping's
tiles. Which of prefill and decode runs is decided at each design point: the other has no blocks there. Not modelled:
fusion across launches, unfused attention of models.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import WorkloadError
from dse.simulator.arrays import ONE
from dse.simulator.gpu.law import launch_time
from dse.simulator.stack import take
from dse.workloads.compiled_resources import compiled
from dse.workloads.launch_resources import attention_resources, gemm_resources
from dse.workloads.launch_shapes import attention, decode, gemm, power_of_two, splits_to_fill
from dse.workloads.launches import merged, where
from dse.workloads.workload import VALUE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Mapping as Dict

    from dse.arch.gpu import Gpu
    from dse.simulator.arrays import Array
    from dse.simulator.gpu.mapping import File
    from dse.simulator.mapping import Mapping
    from dse.workloads.launches import Launch, Resources
    from dse.workloads.requests import Requests
    from dse.workloads.workload import Gemm, Workload

FAMILY, LATENT = "softmax", "mla"
# Tables of compiled kernels are for values of this size.
COMPILED_BYTES = 2.0
BY_BYTES = {4.0: "fp32", 2.0: "fp16", 1.0: "int8", 0.5: "int4"}


def launches_of(workload: Workload, gpu: Gpu, mapping: Mapping[File]) -> tuple[Launch, ...]:
    """Every launch of one layer, in order.

    Raises
    ------
    WorkloadError
        Attention of a family that the mapping's kernels do not compute.
    """
    if workload.launches:
        return workload.launches
    found: list[Launch] = []
    if workload.sizes:
        if workload.family not in (FAMILY, LATENT):
            raise WorkloadError(
                f"{workload.name} is of family {workload.family}; without a trace a GPU runs {FAMILY} attention: "
                "trace a kernel of the family and run the trace"
            )
        if workload.family == FAMILY:
            found.append(merged([_prefill(workload, part, gpu, mapping) for part in workload.batch]))
        decoded = [_decode(workload, part, gpu, mapping) for part in workload.batch]
        found += [merged([pair[number] for pair in decoded]) for number in (0, 1)]
    found += [_dense(layer, workload, gpu, mapping.file) for layer in workload.linear]
    return tuple(found)


def _prefill(workload: Workload, part: Requests, gpu: Gpu, mapping: Mapping[File]) -> Launch:
    """Flash attention where a request has several queries; no blocks where it has one."""
    s, file, precision = workload.sizes, mapping.file.prefill, _precision(workload)
    rows, keys = _number(mapping, "tile_queries", file.queries), _number(mapping, "tile_keys", file.keys)
    warps, stages = _number(mapping, "num_warps", file.warps), _buffers(mapping, file.stages, gpu)
    depths = power_of_two(s["e"]), power_of_two(s["f"])
    estimate = attention_resources(rows, keys, *depths, VALUE_BYTES[precision], warps, stages)
    found = attention(
        batch=part.count,
        heads=s["h"] * s["g"],
        kv_heads=s["h"],
        queries=part.queries,
        keys=part.keys,
        depth=s["e"],
        value_depth=s["f"],
        causal=workload.causal,
        window=workload.window,
        tile_queries=rows,
        tile_keys=keys,
        precision=precision,
        order=file.order,
        padded=True,
        resources=_resources(
            file.kernel, gpu, estimate, precision, s, causal=ONE * workload.causal, tile_queries=rows,
            tile_keys=keys, warps=warps, stages=_number(mapping, "num_stages", file.stages),
        ),
        name=file.kernel,
    )  # fmt: skip
    return where(found, part.queries > 1.0)


def _resources(
    kernel: str, gpu: Gpu, estimate: Resources, precision: str, sizes: Dict[str, Array], **shape: Array
) -> Resources:
    """What a thread block takes: compiled where the kernel was compiled for this shape, else the estimate."""
    if VALUE_BYTES[precision] != COMPILED_BYTES:
        return estimate
    alike = np.where(sizes["e"] == sizes["f"], sizes["e"], np.nan)
    return compiled(kernel, gpu.target, estimate, head_dim=alike, **shape)


def _decode(workload: Workload, part: Requests, gpu: Gpu, mapping: Mapping[File]) -> tuple[Launch, Launch]:
    """Split decode where a request has one query; no blocks elsewhere.

    Absorbed latent attention takes any number of queries: each with each head is a row of its one key head.
    """
    latent = workload.family == LATENT
    file = mapping.file.latent if latent else mapping.file.decode
    s, precision = workload.sizes, _precision(workload)
    keys, size = _number(mapping, "tile_keys", file.keys), VALUE_BYTES[precision]
    warps, stages = _number(mapping, "num_warps", file.warps), _buffers(mapping, file.stages, gpu)
    rows = np.full(1, float(file.rows))
    of_group = s["g"] * part.queries if latent else s["g"]
    seen = part.keys if workload.window is None else np.minimum(part.keys, workload.window)
    filling = splits_to_fill(part.count * s["h"] * np.ceil(of_group / rows), np.ceil(seen / keys), gpu.sms)
    chosen = mapping.numbers["splits"]
    given = filling if file.splits is None else np.full(1, float(file.splits))
    values = ONE * 0.0 if workload.stored_once else s["f"]
    depths = (s["e"], values) if latent else (power_of_two(s["e"]), power_of_two(s["f"]))
    main, combine = decode(
        batch=part.count,
        heads=s["h"] * of_group,
        kv_heads=s["h"],
        keys=seen,
        depth=s["e"],
        value_depth=s["f"],
        splits=np.where(chosen > 0.0, chosen, given),
        tile_rows=rows,
        tile_keys=keys,
        precision=precision,
        shared_values=workload.stored_once,
        padded=not latent,
        resources=_resources(
            file.kernel,
            gpu,
            attention_resources(rows, keys, *depths, size, warps, stages),
            precision,
            s,
            tile_keys=keys,
            warps=warps,
            stages=_number(mapping, "num_stages", file.stages),
        ),
        name=file.kernel,
    )
    here = (part.queries >= 1.0) if latent else part.queries == 1.0
    return where(main, here), where(combine, here)


def _dense(layer: Gemm, workload: Workload, gpu: Gpu, file: File) -> Launch:
    """A dense layer under the tile and split of the mapping's list that take the fewest cycles at each point."""
    precision, choice = _precision(workload), file.gemm
    size = VALUE_BYTES[precision]
    depth, warps, stages = (np.full(1, float(v)) for v in (choice.depth, choice.warps, choice.stages))

    def built(rows: Array, cols: Array, parts: Array, layer: Gemm = layer) -> Launch:
        resources = gemm_resources(rows, cols, depth, size, warps, stages)
        return gemm(m=layer.m, n=layer.n, k=layer.k, tile_m=rows, tile_n=cols, tile_k=depth, splits=parts,
                    precision=precision, resources=resources, name=layer.name)  # fmt: skip

    candidates = np.array(
        [(*tile, parts) for tile, parts in itertools.product(choice.tiles, choice.splits)], dtype=np.float64
    )
    return built(*_fastest(candidates, built, layer, gpu))


def _fastest(
    candidates: Array, built: Callable[..., Launch], layer: Gemm, gpu: Gpu
) -> tuple[Array, Array, Array]:
    """Parameters of the candidate with the fewest cycles at each point, the first of equals.

    All candidates of all points are evaluated as one batch. Sums are split only where the tiles alone leave SMs empty.
    """
    size = max(len(layer.m), len(layer.n), len(layer.k), len(gpu.clock_hz))
    points, number = np.tile(np.arange(size), len(candidates)), np.repeat(candidates, size, axis=0)
    launch = built(*number.T, layer=take(layer, points))
    machine = take(gpu, points)
    cycles = launch_time(launch, machine, machine.calibration).cycles
    parts = number[:, 2]
    cycles = np.where((parts > 1.0) & (launch.count >= parts * machine.sms), np.inf, cycles)
    best = np.argmin(np.broadcast_to(cycles, len(number)).reshape(len(candidates), size), axis=0)
    rows, cols, chosen = candidates[best].T
    return rows, cols, chosen


def _buffers(mapping: Mapping[File], default: int, gpu: Gpu) -> Array:
    """Tiles of keys and values that shared memory holds for the stages asked for.

    Compute capability 8 copies the tile in use to registers and holds one less.
    """
    stages = _number(mapping, "num_stages", default)
    return np.maximum(stages - 1.0, 1.0) if gpu.target.startswith("sm_8") else stages


def _number(mapping: Mapping[File], name: str, default: int) -> Array:
    """A number of the mapping, the kernel's own where it is 0."""
    given = mapping.numbers[name]
    return np.where(given > 0.0, given, float(default))


def _precision(workload: Workload) -> str:
    """Type of all values; by their size where the workload does not say."""
    return workload.precision or BY_BYTES[float(workload.value_bytes[0])]
