"""Numbers as people read them: significant digits, SI prefixes, binary sizes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIXES = {
    18: "E",
    15: "P",
    12: "T",
    9: "G",
    6: "M",
    3: "k",
    0: "",
    -3: "m",
    -6: "µ",
    -9: "n",
    -12: "p",
    -15: "f",
}
MISSING = "-"
AREA, MM2 = "m²", 1e6  # areas are shown in mm²: a prefix of a square is squared


def significant(value: float, digits: int = 4) -> str:
    """``value`` with so many significant digits and no exponent; trailing zeros stay, as they are known."""
    if not math.isfinite(value):
        return MISSING
    if value == 0.0:
        return "0"
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def exponent_of(value: float, digits: int = 4) -> int:
    """Power of ten of the SI prefix under which ``value`` has one to three digits before the point."""
    if value == 0.0 or not math.isfinite(value):
        return 0
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    return min(max(3 * (exponent // 3), min(PREFIXES)), max(PREFIXES))


def quantity(value: float, unit: str, digits: int = 4) -> str:
    """``value`` with an SI prefix and its unit: ``2.013 ms``; without unit it is a plain number."""
    if not math.isfinite(value):
        return MISSING
    if unit == AREA:
        return f"{significant(value * MM2, digits)} m{AREA}"
    exponent = exponent_of(value, digits)
    return f"{significant(value / 10.0**exponent, digits)} {PREFIXES[exponent]}{unit}".rstrip()


def common_exponent(values: Iterable[float], spread: float = 1e4) -> int | None:
    """One SI prefix that serves all values, or None where they span more than a factor ``spread``."""
    sizes = sorted(abs(value) for value in values if math.isfinite(value) and value != 0.0)
    if not sizes:
        return 0
    return exponent_of(sizes[len(sizes) // 2]) if sizes[-1] <= spread * sizes[0] else None


def size(value: object) -> str:
    """A count as it is written in input files: ``64K`` for 65536; other numbers shortened, text as it is."""
    if isinstance(value, str) or value is None:
        return value or MISSING
    number = float(value)  # type: ignore[arg-type]
    if math.isfinite(number) and number.is_integer() and abs(number) >= 1024:
        for power, letter in ((40, "T"), (30, "G"), (20, "M"), (10, "K")):
            if number % 2**power == 0:
                return f"{int(number) >> power}{letter}"
    if number.is_integer() and abs(number) < 1e15:
        return str(int(number))
    return f"{number:.6g}" if math.isfinite(number) else MISSING
