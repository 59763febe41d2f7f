"""What a comparison writes to a folder: all rows, errors by class, scatter and residual plots with their data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from dse.studies.latency.comparison import Comparison

KINDS = ("scatter", "residuals")


def write_all(found: Comparison, folder: Path) -> list[Path]:
    """Files of a comparison, in the order written.

    Raises
    ------
    ConfigError
        The folder cannot be created or written to.
    """
    from dse.studies.frames import write_atomic
    from dse.studies.plots import latency
    from dse.studies.plots.sheet import files_of, styled
    from dse.studies.tables import to_csv

    rows = found.rows()
    data = rows[list(latency.COLUMNS)]
    contents = {"rows.csv": to_csv(rows).encode(), "errors.csv": to_csv(found.records()).encode()}
    with styled():
        for kind in KINDS:
            files = files_of(latency.figure(data, kind))
            contents |= {f"{kind}{suffix}": content for suffix, content in files.items()}
            contents[f"{kind}.csv"] = to_csv(data).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be created ({error.strerror})") from error
    for name, content in contents.items():
        write_atomic(folder / name, content)
    return [folder / name for name in contents]
