"""What each verb of the command line does: one module for each, imported when the verb is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """Keys and values of ``key=value`` texts given to ``option``; the value may hold more equal signs.

    Raises
    ------
    ConfigError
        Texts that are no pair, and keys given twice, together.
    """
    found: dict[str, str] = {}
    problems = []
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not (key and equals and value):
            problems.append(Problem(f"'{text}' is not KEY=VALUE, such as sequence=4K", path=option))
        elif key in found:
            problems.append(Problem(f"{key} is given twice: {found[key]} and {value}", path=option))
        else:
            found[key] = value
    if problems:
        raise ConfigError(*problems)
    return found
