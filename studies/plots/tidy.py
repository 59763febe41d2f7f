"""The numbers behind each figure as tidy tables: what is plotted, no more, no less, and saved beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.errors import ConfigError
from dse.studies.columns import POINT
from dse.studies.plots.shape import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from dse.studies.plots.shape import Shape

GEOMEAN, MEAN = "geomean", "mean"


def by_group(shape: Shape, values: Sequence[str]) -> pd.DataFrame:
    """Facet, group and series columns with the given value columns, one row for each design point."""
    require(shape.table, values)
    table = shape.table[[*shape.facets, *shape.cells, "series", *values]]
    return table.astype(dict.fromkeys(shape.cells, object)).reset_index(drop=True)


def speedup(shape: Shape) -> tuple[pd.DataFrame, list[str]]:
    """Speedups of all series but the baseline, and the names of these series.

    The baseline's own bars would all be 1.
    """
    require(shape.table, ["speedup"])
    table = by_group(shape, ["speedup"])
    if "baseline" in shape.table:
        own = (shape.table["machine"] == shape.table["baseline"]).to_numpy()
        alone = table.loc[own, "series"].nunique() == 1 and not own.all()
        table = table[~own].reset_index(drop=True) if alone else table
    present = set(table["series"])
    return table, [name for name in shape.names if name in present]


def utilization(shape: Shape) -> pd.DataFrame:
    """Utilization of every unit that some design uses, one row for each point and unit (column ``unit``)."""
    import pandas as pd

    names = [str(name) for name in shape.table if str(name).startswith("utilization.")]
    names = [name for name in names if shape.table[name].max() > 0.0]
    if not names:
        raise ConfigError("results have no column utilization.<unit> above zero, which this plot shows")
    tables = []
    for name in names:
        table = by_group(shape, [name]).rename(columns={name: "utilization"})
        table.insert(0, "unit", name.removeprefix("utilization."))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def energy(shape: Shape, components: pd.DataFrame | None) -> tuple[pd.DataFrame, str]:
    """Energy by component, relative to the baseline's total or else per operation, and that value's name.

    Components stand in falling order of their largest share.
    """
    if components is None:
        raise ConfigError("results have no components (kept up to 10,000 points), which this plot shows")
    require(components, [POINT, "component", "energy_j"])
    require(shape.table, [POINT, "energy_j"])
    sums = components.groupby([POINT, "component"], sort=False, as_index=False)["energy_j"].sum()
    own = shape.table.rename(columns={"energy_j": "total_j"})
    relative = "energy_ratio" in own and bool(own["energy_ratio"].notna().any())
    if relative:
        own["share"] = own["energy_ratio"] / own["total_j"]
    else:
        require(own, ["flops"])
        own["share"] = 1e12 / own["flops"]
    columns = [POINT, *shape.facets, *shape.cells, "series", "share"]
    table = own[columns].merge(sums, on=POINT, how="inner", validate="one_to_many")
    name = "energy_ratio" if relative else "energy_pj_per_flop"
    table[name] = table["energy_j"] * table["share"]
    order = table.groupby("component")[name].max().sort_values(ascending=False, kind="stable").index
    table["component"] = table["component"].astype(object)
    table = table.set_index("component").loc[list(order)].reset_index()
    table = table.astype(dict.fromkeys(shape.cells, object))
    return table[[*shape.facets, *shape.cells, "series", "component", name]], name


def with_mean(part: pd.DataFrame, value: str, groups: Sequence[str], kind: str) -> pd.DataFrame:
    """One panel's rows and a group ``kind`` (``geomean`` or ``mean``) over its groups.

    Groups in which some series has no value are left out of the mean, so that all series are averaged over
    the same work. With fewer than two groups left there is no mean.
    """
    import pandas as pd

    series = ["series", *(name for name in ("component",) if name in part)]
    wide = part.pivot(index=list(groups), columns=series, values=value)
    absent = wide.isna() if len(series) == 1 else wide.isna().T.groupby("series").transform("all").T
    common = wide[~absent.any(axis=1)].fillna(0.0)
    if len(common) < 2:
        return part
    rows = part.drop_duplicates(series).set_index(series).loc[list(common.columns)].reset_index()
    rows[value] = _mean(common.to_numpy(), kind)
    rows[list(groups)] = None
    rows[groups[0]] = kind
    return pd.concat([part, rows[part.columns]], ignore_index=True)


def _mean(values: npt.NDArray[np.float64], kind: str) -> npt.NDArray[np.float64]:
    import numpy as np

    means: npt.NDArray[np.float64] = np.log(values).mean(axis=0) if kind == GEOMEAN else values.mean(axis=0)
    return np.exp(means) if kind == GEOMEAN else means
