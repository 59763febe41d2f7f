"""Tensors that are allocated but not filled: what a sampled trace needs of its inputs.

Random and zero tensors become zeros that the system maps when they are touched, so that inputs larger than
memory cost nothing; conversions give new ones. Everything else runs as usual. Not modelled: values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_RANDOM = (torch.randn, torch.rand)
_EMPTY = (torch.zeros, torch.empty)
_LIKE = (torch.zeros_like, torch.empty_like, torch.randn_like, torch.rand_like)


class AllocateOnly(TorchFunctionMode):
    """Context in which new floating-point tensors on the CPU are not filled."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the torch function returns
        """Answer what allocates; hand everything else on."""
        del types
        options = dict(kwargs or {})
        dtype = options.get("dtype") or torch.get_default_dtype()
        if func in (*_RANDOM, *_EMPTY) and dtype.is_floating_point:
            shape = options.get("size") or (args[0] if isinstance(args[0], (tuple, list)) else args)
            return zeros(tuple(int(size) for size in shape), dtype)
        if func in _LIKE and args[0].is_floating_point():
            return zeros(tuple(args[0].shape), options.get("dtype") or args[0].dtype)
        if func is torch.Tensor.to and args[0].is_floating_point():
            wanted = options.get("dtype") or next((a for a in args[1:] if isinstance(a, torch.dtype)), None)
            if wanted is not None and wanted.is_floating_point:
                return zeros(tuple(args[0].shape), wanted)
        return func(*args, **options)


def zeros(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Zeros that take no memory until they are touched."""
    count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    bytes_ = torch.from_numpy(np.zeros(max(count, dtype.itemsize), dtype=np.uint8))
    return bytes_[:count].view(dtype).reshape(shape)
