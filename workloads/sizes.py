"""Rank sizes of a cascade, and whole inputs (``K[e,m]``) split into partitioned ones (``K[e,m1,m0]``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.errors import Problem, WorkloadError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from dse.workloads.cascade import Cascade
    from dse.workloads.operators import Array


def complete_sizes(cascade: Cascade, given: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """Size of every rank and of every whole rank, float64, shape (n,) or (1,), from enough of them.

    A partition ``m: (m1, m0)`` is complete once all but one of ``m``, ``m1`` and ``m0`` are given.

    Raises
    ------
    WorkloadError
        Unknown or missing ranks, sizes that are not positive whole numbers, parts that do not multiply to the
        whole.
    """
    known = [*cascade.ranks, *cascade.partition]
    problems = [
        Problem(f"unknown rank '{name}'{nearest(name, known)}") for name in given if name not in known
    ]
    sizes = {name: np.atleast_1d(np.asarray(size, dtype=np.float64)) for name, size in given.items()}
    for name, size in sizes.items():
        if not np.all((size >= 1) & (size == np.floor(size)) & np.isfinite(size)):
            problems.append(Problem(f"the size of rank '{name}' must be a positive whole number"))
    if problems:
        raise WorkloadError(*problems)
    for whole, parts in cascade.partition.items():
        _complete(whole, parts, sizes)
    if missing := [name for name in cascade.ranks if name not in sizes]:
        raise WorkloadError(f"cascade '{cascade.name}' needs the size of: {', '.join(missing)}")
    return sizes


def _complete(whole: str, parts: tuple[str, ...], sizes: dict[str, Array]) -> None:
    missing = [part for part in parts if part not in sizes]
    product = np.ones(1)
    for part in parts:
        product = product * sizes.get(part, np.ones(1))
    if len(missing) == 1 and whole in sizes:
        quotient = sizes[whole] / product
        if not np.all(quotient == np.floor(quotient)):
            given = " * ".join(part for part in parts if part not in missing)
            raise WorkloadError(
                f"rank '{whole}' does not split into whole tiles: its size is no multiple of {given}"
            )
        sizes[missing[0]] = quotient
    elif not missing and not np.all(sizes.setdefault(whole, product) == product):
        raise WorkloadError(f"the sizes of {', '.join(parts)} do not multiply to that of '{whole}'")


def whole_ranks(cascade: Cascade, ranks: tuple[str, ...]) -> tuple[str, ...]:
    """Ranks with each partition put together again: ``(e, m1, m0)`` gives ``(e, m)``."""
    owner = {part: whole for whole, parts in cascade.partition.items() for part in parts}
    return tuple(dict.fromkeys(owner.get(rank, rank) for rank in ranks))


def partition_inputs(
    cascade: Cascade, sizes: Mapping[str, ArrayLike], whole: Mapping[str, Array]
) -> dict[str, Array]:
    """Inputs in the shapes the cascade declares, from arrays over whole ranks.

    Parameters
    ----------
    whole
        One array per input; the axes follow ``whole_ranks`` of its declared ranks.

    Raises
    ------
    WorkloadError
        A missing input or a wrong shape; a tensor that holds only some parts of a partition.
    """
    full = single_sizes(cascade, sizes)
    return {name: _partitioned(cascade, full, name, ranks, whole) for name, ranks in cascade.inputs.items()}


def single_sizes(cascade: Cascade, given: Mapping[str, ArrayLike]) -> dict[str, int]:
    """``complete_sizes`` of one design point as integers; WorkloadError if a rank has several sizes."""
    sizes = complete_sizes(cascade, given)
    for name, size in sizes.items():
        if size.size != 1:
            raise WorkloadError(f"rank '{name}' needs one size here, not {size.size}")
    return {name: int(size[0]) for name, size in sizes.items()}


def _partitioned(
    cascade: Cascade, sizes: Mapping[str, int], name: str, ranks: tuple[str, ...], whole: Mapping[str, Array]
) -> Array:
    if name not in whole:
        raise WorkloadError(f"input '{name}' is missing{nearest(name, whole)}")
    split: list[str] = []
    for rank in whole_ranks(cascade, ranks):
        split += cascade.partition.get(rank, (rank,))
    if sorted(split) != sorted(ranks):
        raise WorkloadError(f"input '{name}' holds only a part of a partitioned rank; give it as declared")
    array = np.asarray(whole[name], dtype=np.float64)
    expected = tuple(sizes[rank] for rank in whole_ranks(cascade, ranks))
    if array.shape != expected:
        raise WorkloadError(f"input '{name}' has shape {array.shape}, expected {expected}")
    parts = array.reshape([sizes[rank] for rank in split])
    return np.transpose(parts, [split.index(rank) for rank in ranks])
