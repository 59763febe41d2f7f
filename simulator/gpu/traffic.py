"""Bytes over the off-chip interface: what the L2 cache keeps of the data that thread blocks share.

Modelled: blocks that run together and share data fetch it once; a later wave of blocks finds it in the cache as far as
what was touched in between fits. Not modelled: the cache's partitions, associativity and replacement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ONE, ZERO, Array, total

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dse.arch.gpu import Gpu
    from dse.workloads.launches import Launch, Traffic


def kept(launches: Sequence[Launch], gpu: Gpu) -> NDArray[np.bool_]:
    """Where the cache holds all data of a sequence of launches, so that running it again moves nothing.

    Data a little larger than the cache are all replaced before they come again: there is no share in between. Tensors
    of the same name in several launches are the same data.
    """
    unique: dict[str, Array] = {}
    for launch in launches:
        for name, tensor in launch.tensors.items():
            unique[name] = np.maximum(unique.get(name, ZERO), tensor.unique)
    found: NDArray[np.bool_] = _fitting(total(unique.values()), gpu.l2_bytes) >= 1.0
    return found


def dram_bytes(
    launch: Launch, gpu: Gpu, slots: Array, stays: NDArray[np.bool_] | None = None
) -> Mapping[str, Array]:
    """Bytes each tensor of a launch moves over the off-chip interface.

    ``slots`` blocks run together. ``stays`` says where the cache holds all data from a run before.
    """
    near, far = ZERO, ZERO
    for tensor in launch.tensors.values():
        touched = _touched(tensor, launch.count, slots)
        near = near + touched
        far = far + (tensor.unique if tensor.far else touched)
    found = {}
    for name, tensor in launch.tensors.items():
        again = _sharers(tensor) / _together(tensor, slots) - 1.0
        hit = _fitting(far if tensor.far else near, gpu.l2_bytes)
        moved = tensor.unique * (ONE + again * (1.0 - hit))
        found[name] = moved if stays is None else np.where(stays, 0.0, moved)
    return found


def _sharers(tensor: Traffic) -> Array:
    """Blocks that ask for the same bytes."""
    asked = tensor.total / np.maximum(tensor.unique, 1.0)
    found: Array = np.where(tensor.unique > 0.0, np.maximum(asked, 1.0), 1.0)
    return found


def _together(tensor: Traffic, slots: Array) -> Array:
    """Blocks that run at once and share the same bytes."""
    found: Array = np.clip(slots**tensor.spread, 1.0, _sharers(tensor))
    return found


def _touched(tensor: Traffic, blocks: Array, slots: Array) -> Array:
    """Distinct bytes of a tensor that the blocks running together touch."""
    share = np.minimum(slots / np.maximum(blocks, 1.0), 1.0)
    found: Array = np.minimum(tensor.total * share / _together(tensor, slots), tensor.unique)
    return found


def _fitting(wanted: Array, capacity: Array) -> Array:
    """Share of the bytes that a cache holds; all where its size is not known."""
    held = np.minimum(capacity / np.maximum(wanted, 1.0), 1.0)
    found: Array = np.where(np.isnan(capacity), 1.0, held)
    return found
