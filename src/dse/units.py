"""Quantities in files: text such as ``940 MHz`` becomes an SI float, exactly rounded once.

Modelled: one decimal number and one unit, optionally per another unit, from a closed list (no expressions, no
prefixes beyond the list). Not modelled: quantities past the file border; inside dse a value is a plain float
whose name carries its unit. ``b`` is a bit, ``KB`` is 1000 bytes, ``KiB`` is 1024 bytes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field
from pydantic_core import PydanticCustomError, core_schema

from dse.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pint
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler

NUMBER = r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?"
_QUANTITY = re.compile(rf"({NUMBER}) *([A-Za-zµμ][A-Za-z0-9]*(?:/[A-Za-zµμ][A-Za-z0-9]*)?)")
_COUNT = re.compile(r"([0-9]{1,18})([KMGT]?)")
MAX_COUNT = 1 << 53
_COUNT_SCALE = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

_DECIMAL = {
    "f": -15,
    "p": -12,
    "n": -9,
    "u": -6,
    "m": -3,
    "c": -2,
    "k": 3,
    "K": 3,
    "M": 6,
    "G": 9,
    "T": 12,
    "P": 15,
}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40}
_BASE = {
    "s": "[time]", "m": "[length]", "J": "[energy]", "bit": "[information]",
    "cycle": "[cycle]", "op": "[operation]", "FLOP": "[flop]", "row": "[row]", "word": "[word]",
    "b": "bit", "B": "8 * bit", "Hz": "1 / s", "W": "J / s", "m2": "m ** 2",
    "cycles": "cycle", "ops": "op", "rows": "row", "words": "word", "bits": "bit",
}  # fmt: skip
_PREFIXES = {
    "s": "p n u m", "m": "n u m c", "J": "f p n u m", "W": "n u m k", "Hz": "k M G", "FLOP": "M G T P",
    "op": "M G T P", "B": "K k M G T Ki Mi Gi Ti", "bit": "K M G T Ki Mi Gi Ti", "b": "K M G T Ki Mi Gi Ti",
}  # fmt: skip
_SQUARES = {"n": -18, "u": -12, "m": -6, "c": -4}

# What each dimension is called and looks like, by its SI unit.
_DIMENSIONS = {
    "Hz": ("a frequency", "940 MHz"),
    "s": ("a time", "35 ns"),
    "B": ("a size in bytes", "16 MiB"),
    "bit": ("a size in bits", "512 bit"),
    "J": ("an energy", "3.9 pJ"),
    "J/bit": ("an energy per bit", "3.9 pJ/bit"),
    "J/row": ("an energy per row", "12.54 nJ/row"),
    "J/word": ("an energy per word", "5 pJ/word"),
    "J/op": ("an energy per operation", "17.1645 pJ/op"),
    "B/s": ("a bandwidth", "400 GiB/s"),
    "B/cycle": ("a bandwidth per cycle", "64 B/cycle"),
    "op/s": ("an operation rate", "2 Top/s"),
    "op/cycle": ("operations per cycle", "256 op/cycle"),
    "FLOP/s": ("a compute rate", "989 TFLOP/s"),
    "FLOP/cycle": ("operations per cycle", "2048 FLOP/cycle"),
    "cycle": ("a number of cycles", "1 cycle"),
    "m": ("a length", "45 nm"),
    "m2": ("an area", "18431 um2"),
    "W": ("a power", "700 W"),
}


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value whose dimension the file chooses: ``value`` in the SI ``unit``, such as ``J/bit``."""

    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class In:
    """Marks a pydantic field as text with a unit; the value becomes a float in the SI ``units[0]``.

    With several units the file chooses the dimension, and the value becomes a `Quantity`. Values are at
    least 0, above 0 where ``positive``. Numbers given from Python are taken as SI already.
    """

    units: tuple[str, ...]
    positive: bool = False

    @property
    def wanted(self) -> str:
        """What the field expects, with an example."""
        return " or ".join(f"{_DIMENSIONS[unit][0]} such as '{_DIMENSIONS[unit][1]}'" for unit in self.units)

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Replace the field's own schema by one that reads text."""
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, schema: object, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe the text for editors: a pattern and examples."""
        names = " or ".join(_DIMENSIONS[unit][0] for unit in self.units)
        examples = [_DIMENSIONS[unit][1] for unit in self.units]
        return {
            "type": "string",
            "pattern": f"^{_QUANTITY.pattern}$",
            "description": names,
            "examples": examples,
        }

    def _validate(self, raw: object) -> float | Quantity:
        if isinstance(raw, Quantity) and raw.unit in self.units:
            found = raw
        elif isinstance(raw, (int, float)) and not isinstance(raw, bool) and len(self.units) == 1:
            found = Quantity(float(raw), self.units[0])
        elif isinstance(raw, str):
            try:
                found = parse_quantity(raw, *self.units)
            except ConfigError as error:
                raise _custom(str(error)) from None
        else:
            raise _custom(f"{_no_text(raw)}expected {self.wanted}")
        self._check_sign(found.value, raw)
        return found if len(self.units) > 1 else found.value

    def _check_sign(self, value: float, raw: object) -> None:
        if not math.isfinite(value):
            raise _custom(f"'{raw}' is not finite")
        if value < 0 or (self.positive and value == 0):
            raise _custom(f"'{raw}' must be {'more than 0' if self.positive else 'at least 0'}")


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Marks an integer field that also reads binary sizes: ``64K`` is 65,536."""

    wanted: ClassVar[str] = "a count such as 256 or 64K"

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, schema: object, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        text = {"type": "string", "pattern": f"^{_COUNT.pattern}$", "examples": ["64K", "1M"]}
        return {"anyOf": [{"type": "integer", "minimum": 0}, text]}

    def _validate(self, raw: object) -> int:
        if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw <= MAX_COUNT:
            return raw
        if not isinstance(raw, str):
            raise _custom(f"{_no_text(raw)}expected {self.wanted}")
        try:
            return parse_count(raw)
        except ConfigError as error:
            raise _custom(str(error)) from None


Hertz = Annotated[float, In(("Hz",), positive=True)]
Seconds = Annotated[float, In(("s",))]
Bytes = Annotated[float, In(("B",))]
Bits = Annotated[float, In(("bit",))]
Joules = Annotated[float, In(("J",))]
JoulesPerBit = Annotated[float, In(("J/bit",))]
JoulesPerRow = Annotated[float, In(("J/row",))]
JoulesPerWord = Annotated[float, In(("J/word",))]
JoulesPerOp = Annotated[float, In(("J/op",))]
BytesPerSecond = Annotated[float, In(("B/s",), positive=True)]
BytesPerCycle = Annotated[float, In(("B/cycle",), positive=True)]
OpsPerSecond = Annotated[float, In(("op/s",), positive=True)]
OpsPerCycle = Annotated[float, In(("op/cycle",), positive=True)]
FlopsPerSecond = Annotated[float, In(("FLOP/s",), positive=True)]
FlopsPerCycle = Annotated[float, In(("FLOP/cycle",), positive=True)]
Cycles = Annotated[float, In(("cycle",))]
Metres = Annotated[float, In(("m",), positive=True)]
SquareMetres = Annotated[float, In(("m2",))]
Watts = Annotated[float, In(("W",))]
AccessEnergy = Annotated[Quantity, In(("J/bit", "J/row", "J/word"))]
Bandwidth = Annotated[Quantity, In(("B/s", "B/cycle"), positive=True)]
Count = Annotated[int, _Sizes()]
PositiveCount = Annotated[int, _Sizes(), Field(gt=0)]


@lru_cache(maxsize=4096)
def parse_quantity(text: str, *units: str) -> Quantity:
    """Text with a unit, converted exactly to the first of the SI ``units`` that shares its dimension.

    Raises
    ------
    ConfigError
        No unit, an unknown one, another dimension, or a number a float cannot hold.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ConfigError(_malformed(text, units))
    number, written = match.groups()
    for name in written.split("/"):
        if name not in _definitions():
            raise ConfigError(f"'{text}' has no known unit ('{name}'){_unit_hint(written, name, units)}")
    for unit in units:
        factor = _factor(written, unit)
        if factor is not None:
            return Quantity(_rounded(Fraction(number) * factor, text), unit)
    raise ConfigError(f"'{text}' has the wrong dimension; expected {_wanted(units)}")


def parse_count(text: str) -> int:
    """A whole number, or a binary size: ``64K`` is 65,536 and ``1M`` is 1,048,576.

    Raises
    ------
    ConfigError
        The text is not a count, or one above 2^53, which a float would not hold exactly.
    """
    match = _COUNT.fullmatch(text.strip())
    if match is None:
        raise ConfigError(
            f"'{_short(text)}' is not a count; write a whole number, or one with K, M, G or T such as 64K"
        )
    count = int(match[1]) * _COUNT_SCALE[match[2]]
    if count > MAX_COUNT:
        raise ConfigError(f"'{_short(text)}' is too large: counts go up to 2^53")
    return count


def format_quantity(value: float, unit: str, digits: int = 4) -> str:
    """``value`` in the SI ``unit`` as text for people, with a prefix; whole binary sizes stay binary."""
    base, _, per = unit.partition("/")
    tail = f"/{per}" if per else ""
    if not math.isfinite(value):
        return "n/a" if math.isnan(value) else f"{value} {unit}"
    if base in ("B", "bit"):
        for prefix, power in reversed(_BINARY.items()):
            scaled = value / 2.0**power
            if scaled != 0 and scaled == round(scaled) and abs(scaled) < 1024:
                return f"{scaled:.0f} {prefix}{base}{tail}"
    if base not in _PREFIXES and base != "m2":
        return (
            f"{value:,.{digits}g} {unit}"
            if abs(value) >= 1e15 or value != round(value)
            else f"{value:,.0f} {unit}"
        )
    prefix, scale = _prefix(abs(value), base)
    return f"{_significant(value / scale, digits)} {prefix}{base}{tail}"


@cache
def _definitions() -> Mapping[str, str]:
    """Every unit that may be written, with its exact definition."""
    units = dict(_BASE)
    for base, prefixes in _PREFIXES.items():
        for prefix in prefixes.split():
            power = f"2 ** {_BINARY[prefix]}" if prefix in _BINARY else f"1e{_DECIMAL[prefix]}"
            units[prefix + base] = f"{power} * {base}"
    return units | {f"{prefix}m2": f"1e{power} * m2" for prefix, power in _SQUARES.items()}


@cache
def _registry() -> pint.UnitRegistry[Fraction]:
    """The closed unit registry; built at the first quantity read, because pint is slow to import."""
    import pint

    registry: pint.UnitRegistry[Fraction] = pint.UnitRegistry(None, non_int_type=Fraction)
    for name, definition in _definitions().items():
        registry.define(f"{name} = {definition}")
    return registry


@cache
def _factor(written: str, unit: str) -> Fraction | None:
    """Exact factor from one unit to another, or None where dimensions differ."""
    import pint

    try:
        return Fraction(_registry().Quantity(Fraction(1), written).to(unit).magnitude)
    except pint.DimensionalityError:
        return None


def _rounded(exact: Fraction, text: str) -> float:
    try:
        value = float(exact)
    except OverflowError:
        raise ConfigError(f"'{text}' is too large") from None
    if exact and not value:
        raise ConfigError(f"'{text}' is too small")
    return value


def _malformed(text: str, units: tuple[str, ...]) -> str:
    shown = _short(text)
    if re.fullmatch(NUMBER, text.strip()):
        return f"'{shown}' needs a unit; expected {_wanted(units)}"
    return f"'{shown}' is not a number with a unit; expected {_wanted(units)}"


def _wanted(units: tuple[str, ...]) -> str:
    return In(units).wanted


def _unit_hint(written: str, name: str, units: tuple[str, ...]) -> str:
    """Nearest unit of the right dimension: same letters in another case first, then the closest spelling."""
    plain = re.sub("[µμ]", "u", name)
    parts = [[known if part == name else part for part in written.split("/")] for known in _definitions()]
    fitting = {known for known, new in zip(_definitions(), parts, strict=True) if _fits("/".join(new), units)}
    for same in (plain, plain + "b"):
        for known in _definitions():
            if known in fitting and known.lower() == same.lower():
                return f"; did you mean '{known}'?"
    return nearest(plain, fitting) or f"; expected {_wanted(units)}"


def _fits(written: str, units: tuple[str, ...]) -> bool:
    parts = written.split("/")
    return all(part in _definitions() for part in parts) and any(_factor(written, unit) for unit in units)


def _prefix(size: float, base: str) -> tuple[str, float]:
    """Prefix that leaves one to three digits before the point, and its scale."""
    scales = _SQUARES if base == "m2" else {p: _DECIMAL[p] for p in _PREFIXES[base].split() if p in _DECIMAL}
    usable = [
        (power, prefix) for prefix, power in scales.items() if prefix != "c" and (base, prefix) != ("B", "k")
    ]
    steps = sorted([*usable, (0, "")])
    power, prefix = max((step for step in steps if size >= 10.0 ** step[0]), default=steps[0])
    return (prefix, 10.0**power) if size else ("", 1.0)


def _significant(value: float, digits: int) -> str:
    return f"{value:.{digits}g}" if abs(value) < 10.0**digits else f"{value:,.0f}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _no_text(raw: object) -> str:
    return "has no value; " if raw is None else ""


def _custom(message: str) -> PydanticCustomError:
    return PydanticCustomError("dse", "{message}", {"message": message})
