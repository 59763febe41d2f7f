"""From the words of a command line to a Request: ``key=value`` pairs, checked for form."""

from __future__ import annotations

from dse.errors import ConfigError, Problem
from dse.studies.batch import Pairs, Request


def pairs(texts: list[str], option: str) -> Pairs:
    """``key=value`` texts of one option as pairs, in order.

    Raises
    ------
    ConfigError
        A text without ``=``, without a key, or a key given twice.
    """
    found: dict[str, str] = {}
    problems = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            problems.append(Problem(f"'{text}' is not key=value", path=option))
        elif key.strip() in found:
            problems.append(Problem(f"'{key.strip()}' is given twice", path=option))
        found[key.strip()] = value.strip()
    if problems:
        raise ConfigError(*problems)
    return tuple(found.items())


def request(
    machine: str,
    workload: str,
    parameters: list[str],
    changes: list[str],
    accounting: str,
    mapper: str,
    mapping: str | None = None,
    options: list[str] | None = None,
) -> Request:
    """The design point a command line asks for."""
    return Request(
        machine=machine,
        workload=workload,
        parameters=pairs(parameters, "-p"),
        overrides=pairs(changes, "-m"),
        accounting=accounting,
        mapper=mapper,
        mapping=mapping,
        options=pairs(options or [], "--option"),
    )
