"""How a result table falls into panels, groups and series of a figure, read from which of its columns vary.

A *series* is a design: the machine, with the mapper and the machine's own axes where they vary. A *group* is
what it is given: workload, sequence and other plain axes. An accounting gets a panel of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.errors import ConfigError
from dse.studies.columns import axes, of_machine, varying

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Shape:
    """A result table with a ``series`` column, and the names of the columns that make groups and panels."""

    table: pd.DataFrame
    cells: tuple[str, ...]
    designs: tuple[str, ...]
    facets: tuple[str, ...]

    @classmethod
    def of(cls, results: pd.DataFrame) -> Shape:
        """Find the shape of a sweep's results.

        Raises
        ------
        ConfigError
            The table has no rows, or no column ``machine`` or ``workload``.
        """
        require(results, ["machine", "workload"])
        if results.empty:
            raise ConfigError("there are no results to plot")
        names = [str(name) for name in results.columns]
        free = [name for name in axes(names) if not of_machine(name)]
        own = ["mapper", *(name for name in axes(names) if of_machine(name))]
        cells = varying(results, ["workload", *free]) or ["workload"]
        designs = ["machine", *varying(results, own)]
        table = results.assign(series=_joined(results, designs))
        return cls(table, tuple(cells), tuple(designs), tuple(varying(results, ["accounting"])))

    @property
    def groups(self) -> int:
        """Number of groups in a panel."""
        return len(self.table[list(self.cells)].drop_duplicates())

    @property
    def names(self) -> list[str]:
        """Series in the order in which the results name them."""
        return list(dict.fromkeys(self.table["series"]))


def require(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a table that lacks columns.

    Raises
    ------
    ConfigError
        With all that are missing.
    """
    missing = [name for name in columns if name not in table]
    if missing:
        raise ConfigError(f"results have no column {', '.join(missing)}, which this plot shows")


def _joined(table: pd.DataFrame, columns: Sequence[str]) -> npt.NDArray[np.object_]:
    """One text for each row: the values of the columns, sizes shortened."""
    import numpy as np

    from dse.studies.quantities import size

    codes = table.groupby(list(columns), sort=False, dropna=False).ngroup().to_numpy()
    designs = table[list(columns)].drop_duplicates().itertuples(index=False)
    return np.array([", ".join(size(value) for value in design) for design in designs], dtype=object)[codes]
