"""Quantities: exact factors, clear refusals, and text for people."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from dse.errors import ConfigError
from dse.units import Quantity, Seconds, format_quantity, parse_count, parse_quantity


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("940 MHz", "Hz", 940e6),
        ("400 GiB/s", "B/s", 429496729600.0),
        ("3.9 pJ/bit", "J/bit", 3.9e-12),
        ("31.2 pJ/B", "J/bit", 3.9e-12),
        ("12.54 nJ/row", "J/row", 12.54e-9),
        ("17.1645 pJ/op", "J/op", 17.1645e-12),
        ("16 MiB", "B", 16777216.0),
        ("1 KB", "B", 1000.0),
        ("1 KiB", "B", 1024.0),
        ("8 b", "B", 1.0),
        ("819.2 Gb/s", "B/s", 102.4e9),
        ("1 cycle", "cycle", 1.0),
        ("45 nm", "m", 45e-9),
        ("18431 um2", "m2", 18431e-12),
        ("814 mm2", "m2", 814e-6),
        ("989.4 TFLOP/s", "FLOP/s", 989.4e12),
        ("1e-3 ms", "s", 1e-6),
        ("35ns", "s", 35e-9),
        ("-2 s", "s", -2.0),
    ],
)
def test_quantities_convert_to_the_last_bit(text: str, unit: str, value: float) -> None:
    assert parse_quantity(text, unit) == Quantity(value, unit)


@given(st.decimals(min_value=0, max_value=10**9, places=6))
def test_scaling_rounds_once(number: object) -> None:
    assert parse_quantity(f"{number:f} ns", "s").value == float(f"{number:f}e-9")


@pytest.mark.parametrize(
    ("text", "unit", "message"),
    [
        ("940", "Hz", "'940' needs a unit; expected a frequency such as '940 MHz'"),
        ("64K", "B", "'64K' has no known unit ('K'); did you mean 'KB'?"),
        ("16 mib", "B", "'16 mib' has no known unit ('mib'); did you mean 'MiB'?"),
        ("16 megs", "B", "'16 megs' has no known unit ('megs'); expected a size in bytes such as '16 MiB'"),
        ("3 pj/bit", "J/bit", "'3 pj/bit' has no known unit ('pj'); did you mean 'pJ'?"),
        ("3 µs", "s", "'3 µs' has no known unit ('µs'); did you mean 'us'?"),
        ("3 pJ", "Hz", "'3 pJ' has the wrong dimension; expected a frequency such as '940 MHz'"),
        (
            "9**9**9 B",
            "B",
            "'9**9**9 B' is not a number with a unit; expected a size in bytes such as '16 MiB'",
        ),
        ("nan s", "s", "'nan s' is not a number with a unit; expected a time such as '35 ns'"),
        ("1_0 s", "s", "'1_0 s' is not a number with a unit; expected a time such as '35 ns'"),
        ("1 B/s/s", "B/s", "'1 B/s/s' is not a number with a unit; expected a bandwidth such as '400 GiB/s'"),
        ("1e999 s", "s", "'1e999 s' is too large"),
        ("1e-999 s", "s", "'1e-999 s' is too small"),
    ],
)
def test_refusals_say_what_is_expected(text: str, unit: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_quantity(text, unit)
    assert str(caught.value) == message


def test_counts_are_whole_or_binary_sizes() -> None:
    assert [parse_count(text) for text in ("0", "17", "64K", "1M", "2G", "1T")] == [
        0, 17, 65536, 1 << 20, 2 << 30, 1 << 40,
    ]  # fmt: skip
    for text in ("1.5K", "-1", "1k", "64 K", "1_000", "", "１", "9" * 19):
        with pytest.raises(ConfigError, match="not a count"):
            parse_count(text)


class Wait(BaseModel):
    wait: Seconds


def test_fields_check_the_sign_and_take_si_numbers_from_python() -> None:
    assert Wait.model_validate({"wait": "0 s"}).wait == 0.0
    assert Wait(wait=3e-9).wait == 3e-9
    for value in ("-1 s", -1.0, math.inf, True, None):
        with pytest.raises(ValidationError):
            Wait.model_validate({"wait": value})


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "s", "0 s"),
        (3.25e-6, "s", "3.25 us"),
        (940e6, "Hz", "940 MHz"),
        (3.9e-12, "J/bit", "3.9 pJ/bit"),
        (400 * 2.0**30, "B/s", "400 GiB/s"),
        (4.29e11, "B/s", "429 GB/s"),
        (1500.0, "B", "1.5 KB"),
        (989.4e12, "FLOP/s", "989.4 TFLOP/s"),
        (1234567.0, "cycle", "1,234,567 cycle"),
        (814e-6, "m2", "814 mm2"),
        (-3e-9, "J", "-3 nJ"),
        (math.nan, "s", "n/a"),
        (math.inf, "s", "inf s"),
    ],
)
def test_quantities_are_shown_with_a_prefix(value: float, unit: str, text: str) -> None:
    assert format_quantity(value, unit) == text
