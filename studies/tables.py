"""Results as text for a terminal, a spreadsheet or a program; pure functions of a table or of objects."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from dse.errors import ConfigError, nearest
from dse.studies.columns import IDENTITY, SUFFIX_UNITS, axes, unit_of, varying
from dse.studies.quantities import (
    AREA,
    MISSING,
    MM2,
    PREFIXES,
    common_exponent,
    exponent_of,
    quantity,
    significant,
    size,
)

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from rich.table import Table

FORMATS = ("table", "csv", "json")
SUFFIXES = (".csv", ".json", ".parquet")
WIDTH = 120
HEADERS = {
    "accounting": "account-\ning",
    "latency_s": "latency",
    "energy_j": "energy",
    "speedup": "speedup",
    "energy_ratio": "energy\nratio",
    "bound_by": "bound by",
    "operational_intensity_flop_per_byte": "operational intensity",
    "achieved_flop_per_s": "throughput",
    "peak_flop_per_s": "peak throughput",
    "area_m2": "area",
    "dram_bytes": "DRAM traffic",
    "onchip_bytes": "on-chip bytes",
}
_GAP = 2  # blank characters after each column


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a text table: its name in the data, its heading without unit, its SI unit."""

    name: str
    header: str
    unit: str = ""


def column(name: str) -> Column:
    """The column with heading and unit that its name implies."""
    header = HEADERS.get(name)
    if header is None and name.startswith("utilization."):
        header = "\n".join([*name.removeprefix("utilization.").split("_"), "util."])
    if header is None and name.startswith("bandwidth."):
        header = name.removeprefix("bandwidth.").removesuffix(".average").replace("_", "\n")
    return Column(name, header or _words(name), unit_of(name))


def _words(name: str) -> str:
    """A column name without the unit, which is shown beside it, and without punctuation."""
    for suffix in SUFFIX_UNITS:
        if suffix.startswith("_"):
            name = name.replace(f"{suffix}.", " ").removesuffix(suffix)
    return name.replace("_", " ").replace(".", " ")


def sweep_columns(rows: pd.DataFrame) -> list[Column]:
    """What to show of a sweep, most wanted first: what varies, then results that any point has."""
    inputs = varying(rows, [*IDENTITY[2:], *axes(rows.columns)]) or ["machine"]
    used = [str(name) for name in rows if str(name).startswith("utilization.")]
    used.sort(key=lambda name: -rows[[name]].notna().to_numpy().sum())
    totals = ["latency_s", "speedup", "energy_j", "energy_ratio"]
    wanted = [*inputs, *totals, *used[:2], "bound_by", "bandwidth.dram.average", *used[2:]]
    return [column(name) for name in wanted if name in rows and (name in inputs or rows[name].notna().any())]


def sweep_table(rows: pd.DataFrame, limit: int | None = None) -> Table:
    """A sweep in at most 120 characters a line; the caption has what does not vary and what did not fit."""
    shown = rows if limit is None else rows.head(limit)
    columns = sweep_columns(rows)
    cells = {item.name: _cells(shown, item) for item in columns}
    fitting = _fitting(columns, cells)
    notes = [f"{name} {size(rows[name].iloc[0])}" for name in _constant(rows)]
    left = [item.name for item in columns if item not in fitting]
    if left:
        notes.append(f"not shown: {', '.join(left)}")
    if len(shown) < len(rows):
        notes.append(f"{len(rows) - len(shown)} more rows")
    return _table(fitting, cells, _breaks(shown), "; ".join(notes))


def _constant(rows: pd.DataFrame) -> list[str]:
    """Inputs that are the same for all rows, and the baseline if there is one."""
    names = [*IDENTITY[2:], *axes(rows.columns), "baseline"]
    return [name for name in names if name in rows and rows[name].nunique() == 1 and rows[name].notna().all()]


def _breaks(rows: pd.DataFrame) -> list[bool]:
    """Where the workload changes from one row to the next."""
    if "workload" not in rows:
        return [False] * len(rows)
    names = rows["workload"].tolist()
    return [i + 1 < len(names) and name != names[i + 1] for i, name in enumerate(names)]


def _cells(rows: pd.DataFrame, item: Column) -> list[str]:
    """Heading with unit, then one text for each row; numbers padded so that last digits stand in line."""
    values = rows[item.name].tolist()
    if item.name == "bound_by" and "status" in rows:
        pairs = zip(values, rows["status"], strict=True)
        return [item.header, *(str(bound) if status == "ok" else str(status) for bound, status in pairs)]
    if any(isinstance(value, str) for value in values):
        return [item.header, *(size(value) for value in values)]
    if item.name in IDENTITY or axes([item.name]):
        return _right([item.header, *(size(value) for value in values)])
    return _right(_numbers([math.nan if value is None else float(value) for value in values], item))


def _numbers(values: Sequence[float], item: Column) -> list[str]:
    """Numbers under one prefix in the heading where their range allows, else each with its own."""
    if item.name.startswith("utilization."):
        return [item.header, *(f"{value:.3f}" if math.isfinite(value) else MISSING for value in values)]
    if not item.unit:
        return [item.header, *(significant(value) for value in values)]
    if item.unit == AREA:
        return [f"{item.header}\n(m{AREA})", *(significant(value * MM2) for value in values)]
    shared = common_exponent(values)
    if shared is not None:
        scaled = (significant(value / 10.0**shared) for value in values)
        return [f"{item.header}\n({PREFIXES[shared]}{item.unit})", *scaled]
    texts = []
    for value in values:
        exponent = exponent_of(value)
        texts.append(f"{significant(value / 10.0**exponent)} {PREFIXES[exponent] or ' '}")
    return [f"{item.header}\n({item.unit})", *texts]


def _right(cells: Sequence[str]) -> list[str]:
    width = _width(cells)
    return [cells[0], *(cell.rjust(width) for cell in cells[1:])]


def _width(cells: Sequence[str]) -> int:
    return max(len(line) for cell in cells for line in cell.split("\n"))


def _fitting(columns: Sequence[Column], cells: Mapping[str, Sequence[str]]) -> list[Column]:
    """The leading columns, in order of importance, that fit the width."""
    used, kept = 0, list[Column]()
    for item in columns:
        used += _GAP + _width(cells[item.name])
        if used > WIDTH and kept:
            break
        kept.append(item)
    return kept


def _table(
    columns: Sequence[Column], cells: Mapping[str, Sequence[str]], breaks: Sequence[bool], caption: str
) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=caption or None, caption_justify="left")
    for item in columns:
        header, *texts = cells[item.name]
        numeric = any(text.strip()[:1].isdigit() for text in texts) and len({*map(len, texts)}) == 1
        table.add_column(
            Text(header, justify="right" if numeric else "left"), vertical="bottom", no_wrap=True
        )
    for i, end in enumerate(breaks):
        table.add_row(*(Text(cells[item.name][i + 1]) for item in columns), end_section=end)
    return table


def record_table(records: Sequence[Mapping[str, object]]) -> Table:
    """A list of flat objects (``dse list``, ``dse compare`` ...) as a table headed by their own keys."""
    import pandas as pd

    rows = pd.DataFrame([flat(record) for record in records])
    columns = [column(str(name)) for name in rows.columns]
    cells = {item.name: _record_cells(rows, item) for item in columns}
    return _table(columns, cells, [False] * len(rows), "")


def _record_cells(rows: pd.DataFrame, item: Column) -> list[str]:
    """Heading and texts of a column of records, whose numbers are amounts and not sizes on an axis."""
    values = rows[item.name].tolist()
    if any(isinstance(value, str) for value in values):
        return [item.header, *(size(value) for value in values)]
    return _right(_numbers([math.nan if value is None else float(value) for value in values], item))


def object_table(record: Mapping[str, object]) -> Table:
    """One object (``dse run``) as a table of its values with units, nested keys dotted, lists left out."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), show_header=False)
    for name, value in flat(record).items():
        item = column(name)
        table.add_row(Text(item.header.replace("-\n", "").replace("\n", " ")), Text(_scalar(value, item)))
    return table


def _scalar(value: object, item: Column) -> str:
    if isinstance(value, (bool, str)) or value is None:
        return MISSING if value is None else str(value)
    number = float(value)  # type: ignore[arg-type]
    if item.unit:
        return quantity(number, item.unit)
    if item.name.startswith("parameters."):
        return size(value)
    return str(int(number)) if number.is_integer() else significant(number)


def flat(record: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """The object without nesting: inner keys under dotted names; lists of objects are left out."""
    found: dict[str, object] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{prefix}{name}."))
        elif isinstance(value, Sequence) and not isinstance(value, str):
            if not any(isinstance(inner, Mapping) for inner in value):
                found[f"{prefix}{name}"] = " ".join(str(inner) for inner in value)
        else:
            found[f"{prefix}{name}"] = value
    return found


def to_json(data: pd.DataFrame | Mapping[str, object] | Iterable[Mapping[str, object]]) -> str:
    """JSON text: an object, or a list of objects with one for each row; NaN and infinities are null."""
    import pandas as pd

    value = data.to_dict(orient="records") if isinstance(data, pd.DataFrame) else data
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: object) -> object:
    """The value in types JSON has: numpy scalars and arrays unpacked, what is not finite as None."""
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Iterable):
        return [plain(inner) for inner in value]
    return str(value)


def to_csv(data: pd.DataFrame | Mapping[str, object] | Iterable[Mapping[str, object]]) -> str:
    """CSV text with one line for each row; nested keys become dotted columns, NaN an empty field."""
    import pandas as pd

    if isinstance(data, Mapping):
        data = [data]
    frame = data if isinstance(data, pd.DataFrame) else pd.DataFrame([flat(record) for record in data])
    return frame.to_csv(index=False, lineterminator="\n")


def emit(
    data: pd.DataFrame | Mapping[str, object] | Sequence[Mapping[str, object]],
    form: str = "table",
    stream: TextIO | None = None,
) -> None:
    """Write results to ``stream`` (standard output): ``table``, ``csv`` or ``json``.

    Raises
    ------
    ConfigError
        The format is none of these.
    """
    if form not in FORMATS:
        raise ConfigError(f"no format '{form}'; there are {', '.join(FORMATS)}{nearest(form, FORMATS)}")
    target = sys.stdout if stream is None else stream
    if form == "table":
        target.write(render(_any_table(data), target))
    else:
        target.write(to_json(data) if form == "json" else to_csv(data))


def write(data: pd.DataFrame | Mapping[str, object] | Sequence[Mapping[str, object]], path: Path) -> None:
    """Write results to a file whose suffix says how: ``.csv``, ``.json`` or ``.parquet``; whole or not at all.

    Raises
    ------
    ConfigError
        Another suffix, or a folder that does not exist.
    """
    from dse.studies import frames

    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"{path}: end the name in one of {', '.join(SUFFIXES)}{nearest(path.suffix, SUFFIXES)}"
        )
    if path.suffix == ".parquet":
        import pandas as pd

        if isinstance(data, pd.DataFrame):
            rows = data
        else:
            records = [data] if isinstance(data, Mapping) else data
            rows = pd.DataFrame([flat(record) for record in records])
        content = frames.parquet_bytes(frames.to_arrow(rows))
    else:
        content = (to_json(data) if path.suffix == ".json" else to_csv(data)).encode()
    try:
        frames.write_atomic(path, content)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error


def _any_table(data: pd.DataFrame | Mapping[str, object] | Sequence[Mapping[str, object]]) -> Table:
    if isinstance(data, Mapping):
        return object_table(data)
    return record_table(data) if isinstance(data, Sequence) else sweep_table(data)


def render(table: Table, stream: TextIO) -> str:
    """The table as text: styled and as wide as the terminal on one, plain and uncut otherwise."""
    from rich.console import Console

    console = Console(file=stream)
    if console.is_terminal:
        with console.capture() as capture:
            console.print(table)
        return capture.get()
    buffer = io.StringIO()
    Console(file=buffer, width=10_000, color_system=None).print(table)
    return "".join(f"{line.rstrip()}\n" for line in buffer.getvalue().split("\n")[:-1])
