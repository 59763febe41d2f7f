"""Launches behind the rows of published tables: kernels of libraries, rebuilt from their public source.

Each module has ``launches(rows, options, gpu)``: rows are columns of a table, and what comes back are the alternatives
among which the library chooses, each a sequence of launches over all rows. The fastest alternative that is possible for
a row is assumed to be chosen. Nothing here is fitted.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from dse.arch.gpu import Gpu
    from dse.workloads.launches import Launch


SHARED = {"__init__", "paged", "runs"}  # modules that are no kernels


@dataclass(frozen=True)
class Alternative:
    """A way to run the rows: launches one after another, over all rows, and the rows it can run.

    ``warm`` says for each row whether its data may be in the cache from the run before.
    """

    launches: tuple[Launch, ...]
    possible: NDArray[np.bool_]
    warm: bool | NDArray[np.bool_] = True
    name: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)


def kernels() -> tuple[str, ...]:
    """Library kernels that launches can be rebuilt for: the modules of this folder."""
    here = Path(__file__).parent
    return tuple(sorted(path.stem for path in here.glob("*.py") if path.stem not in SHARED))


def alternatives(
    kernel: str, rows: pd.DataFrame, options: Mapping[str, str], gpu: Gpu
) -> Sequence[Alternative]:
    """Ways a kernel may have run the rows of a table on a GPU.

    Raises
    ------
    ConfigError
        There is no such kernel, or a column it needs is missing.
    """
    if kernel not in kernels():
        raise ConfigError(f"no library kernel '{kernel}'{nearest(kernel, kernels())}")
    module = importlib.import_module(f"{__name__}.{kernel}")
    wanted: Sequence[str] = module.columns(options)
    missing = [name for name in wanted if name not in rows]
    if missing:
        raise ConfigError(f"kernel {kernel} needs the columns {', '.join(missing)}")
    numbers = {name: rows[name].to_numpy(dtype=np.float64) for name in wanted}
    found: Sequence[Alternative] = module.launches(numbers, options, gpu)
    return found
