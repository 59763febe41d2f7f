"""Rules that select rows of a table by the text of a column: ``head_dim=128``, ``seq_len>=4096``, ``kind!=copy``.

A rule compares numbers where both sides are numbers, texts otherwise; ``=`` and ``!=`` take several values separated by
commas. Not modelled: alternatives between columns, apart from lists of rules where those are named.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import ConfigError, Problem, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

_RULE = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(>=|<=|!=|==|=|>|<)\s*(.*?)\s*")
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Rule:
    """A column, how it is compared, and with what."""

    column: str
    comparison: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.column}{self.comparison}{','.join(self.values)}"


def parse(text: str) -> Rule:
    """The rule a text states.

    Raises
    ------
    ConfigError
        The text is no rule, or compares the size of something that is no number.
    """
    found = _RULE.fullmatch(text)
    if not found or not found[3]:
        raise ConfigError(f"'{text}' selects nothing: expected column=value, column>=number or the like")
    column, comparison, value = found[1], found[2].replace("==", "="), found[3]
    values = tuple(part.strip() for part in value.split(",")) if comparison in {"=", "!="} else (value,)
    if comparison not in {"=", "!="} and math.isnan(_number(value)):
        raise ConfigError(f"'{text}': {comparison} needs a number, not '{value}'")
    return Rule(column, comparison, values)


def select(table: pd.DataFrame, rules: Sequence[Rule]) -> Mask:
    """Rows that fulfil all rules.

    Raises
    ------
    ConfigError
        Columns that the table does not have, all together.
    """
    names = [str(name) for name in table.columns]
    unknown = [rule for rule in rules if rule.column not in names]
    if unknown:
        raise ConfigError(*(Problem(_unknown(rule, names)) for rule in unknown))
    kept = np.ones(len(table), dtype=bool)
    for rule in rules:
        kept &= _holds(table[rule.column], rule)
    return kept


def any_of(table: pd.DataFrame, alternatives: Sequence[Sequence[Rule]]) -> Mask:
    """Rows that fulfil all rules of at least one list."""
    kept = np.zeros(len(table), dtype=bool)
    for rules in alternatives:
        kept |= select(table, rules)
    return kept


def seen(table: pd.DataFrame, rule: Rule) -> str:
    """The values a column has, for an error about a rule that selects no row."""
    values = list(dict.fromkeys(str(value) for value in table[rule.column]))
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return f"no row has {rule}; {rule.column} has {', '.join(values[:_SHOWN])}{more}"


def _unknown(rule: Rule, names: Sequence[str]) -> str:
    hint = nearest(rule.column, names) or f"; columns are {', '.join(names)}"
    return f"no column '{rule.column}'{hint}"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _holds(column: pd.Series, rule: Rule) -> Mask:
    """Rows where one rule holds; a cell that is no number is neither larger nor smaller than one."""
    texts = [str(value) for value in column]
    numbers = np.array([_number(text) for text in texts])
    if rule.comparison in {"=", "!="}:
        equal = np.zeros(len(texts), dtype=bool)
        for value in rule.values:
            equal |= np.array([text == value for text in texts], dtype=bool) | (numbers == _number(value))
        return equal if rule.comparison == "=" else ~equal
    limit = _number(rule.values[0])
    compare = {">=": np.greater_equal, "<=": np.less_equal, ">": np.greater, "<": np.less}[rule.comparison]
    held: Mask = compare(numbers, limit)
    return held
