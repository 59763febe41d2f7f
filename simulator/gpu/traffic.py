"""Bytes over the off-chip interface: what the L2 cache keeps of the data that thread blocks share.

Modelled: blocks that run together and share data fetch it once; a later wave of blocks finds it in the cache as far as
what was touched in between fits. Not modelled: the cache's partitions, associativity and replacement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ONE, ZERO, Array

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.arch.gpu import Gpu
    from dse.workloads.launches import Launch, Traffic


def dram_bytes(launch: Launch, gpu: Gpu, slots: Array, *, warm: bool = False) -> Mapping[str, Array]:
    """Bytes each tensor of a launch moves over the off-chip interface.

    ``slots`` blocks run together. ``warm`` says that the launch before left the same data in the cache: what fits
    costs nothing then.
    """
    touched = {name: _touched(tensor, launch.count, slots) for name, tensor in launch.tensors.items()}
    between = ZERO
    for part in touched.values():
        between = between + part
    hit = _fitting(between, gpu.l2_bytes)
    stays = _fitting(launch.unique_bytes, gpu.l2_bytes) >= 1.0 if warm else False
    found = {}
    for name, tensor in launch.tensors.items():
        again = np.maximum(_fetches(tensor, slots) - 1.0, 0.0)
        moved = tensor.unique * (ONE + again * (1.0 - hit))
        found[name] = np.where(stays, 0.0, moved)
    return found


def _together(tensor: Traffic, slots: Array) -> Array:
    """Blocks that run at once and share the same bytes."""
    sharers = np.where(tensor.unique > 0.0, tensor.total / np.maximum(tensor.unique, 1.0), 1.0)
    found: Array = np.clip(np.floor(slots / tensor.stride), 1.0, np.maximum(sharers, 1.0))
    return found


def _fetches(tensor: Traffic, slots: Array) -> Array:
    """How often the same bytes are asked for by blocks that do not run at once."""
    sharers = np.where(tensor.unique > 0.0, tensor.total / np.maximum(tensor.unique, 1.0), 1.0)
    return np.maximum(sharers, 1.0) / _together(tensor, slots)


def _touched(tensor: Traffic, blocks: Array, slots: Array) -> Array:
    """Distinct bytes of a tensor that pass before a block that shares them comes again."""
    share = np.minimum(np.maximum(slots, tensor.stride) / np.maximum(blocks, 1.0), 1.0)
    found: Array = np.minimum(tensor.total * share / _together(tensor, slots), tensor.unique)
    return found


def _fitting(wanted: Array, capacity: Array) -> Array:
    """Share of the bytes that a cache holds; all where its size is not known."""
    held = np.minimum(capacity / np.maximum(wanted, 1.0), 1.0)
    found: Array = np.where(np.isnan(capacity), 1.0, held)
    return found
