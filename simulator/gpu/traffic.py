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
    near, far = ZERO, ZERO
    for tensor in launch.tensors.values():
        touched = _touched(tensor, launch.count, slots)
        near = near + touched
        far = far + (tensor.unique if tensor.far else touched)
    stays = _fitting(launch.unique_bytes, gpu.l2_bytes) >= 1.0 if warm else False
    found = {}
    for name, tensor in launch.tensors.items():
        again = _sharers(tensor) / _together(tensor, slots) - 1.0
        hit = _fitting(far if tensor.far else near, gpu.l2_bytes)
        moved = tensor.unique * (ONE + again * (1.0 - hit))
        found[name] = np.where(stays, 0.0, moved)
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
