"""Checks of a kernel's arguments: each gives what is wrong, ``refuse`` raises all of it together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.errors import WorkloadError
from dse.kernels.common import SMALLEST_DOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch


def refuse(*problems: list[str]) -> None:
    """Raise WorkloadError with all problems, if there are any."""
    found = [problem for group in problems for problem in group]
    if found:
        raise WorkloadError(*found)


def dimensions(tensors: Mapping[str, torch.Tensor], wanted: Mapping[str, int]) -> list[str]:
    """Tensors that have another number of dimensions than wanted."""
    return [
        f"{name} has {tensors[name].dim()} dimensions, not {count}"
        for name, count in wanted.items()
        if tensors[name].dim() != count
    ]


def shapes(
    tensors: Mapping[str, torch.Tensor], wanted: Mapping[str, tuple[int, ...]], because: str
) -> list[str]:
    """Tensors whose shape is not the one wanted; ``because`` names what the sizes are taken from."""
    return [
        f"{name} is {tuple(tensors[name].shape)}, not {shape}: {because}"
        for name, shape in wanted.items()
        if tuple(tensors[name].shape) != shape
    ]


def operands(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """What is wrong with precisions and emptiness of tensors that go into matrix products together."""
    problems = [f"{name} must not be empty" for name, tensor in tensors.items() if not tensor.numel()]
    if len({tensor.dtype for tensor in tensors.values()}) > 1:
        found = ", ".join(f"{name} {tensor.dtype}" for name, tensor in tensors.items())
        problems.append(f"precisions must agree, not {found}")
    return problems


def lengths(name: str, tensor: torch.Tensor | None, batch: int, padded_size: int) -> list[str]:
    """What is wrong with the lengths of a batch of sequences."""
    if tensor is None:
        return []
    if tensor.shape == (batch,) and int(tensor.min()) >= 0 and int(tensor.max()) <= padded_size:
        return []
    return [f"{name} must hold {batch} lengths from 0 to {padded_size}, not {tensor.tolist()}"]


def together(**given: torch.Tensor | None) -> list[str]:
    """Optional tensors that are missing while others are given: they go together."""
    if all(tensor is None for tensor in given.values()):
        return []
    names = " and ".join(given)
    return [f"{name} is missing: give {names} together" for name, tensor in given.items() if tensor is None]


def both_lengths(
    query_lengths: torch.Tensor | None,
    key_lengths: torch.Tensor | None,
    batch: int,
    padded: tuple[int, int],
) -> list[str]:
    """What is wrong with lengths of queries and keys, which go together; ``padded`` are their full sizes."""
    return [
        *together(query_lengths=query_lengths, key_lengths=key_lengths),
        *lengths("query_lengths", query_lengths, batch, padded[0]),
        *lengths("key_lengths", key_lengths, batch, padded[1]),
    ]


def tiles(**sizes: int) -> list[str]:
    """Tile sizes that no matrix product takes."""
    return [
        f"{name} is {size}: it must be a power of two from {SMALLEST_DOT} up"
        for name, size in sizes.items()
        if size < SMALLEST_DOT or size & (size - 1)
    ]
