"""The one family of errors a user of dse can meet.

Every error carries the exit code of the command line: 2 usage or configuration, 3 infeasible,
4 missing device or optional dependency.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a file something stands; line and column count from 1, 0 means unknown."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        parts = [self.file, *(str(n) for n in (self.line, self.column) if n)]
        return ":".join(parts)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the input: where, on which dotted path, and what would be right."""

    message: str
    place: Place | None = None
    path: str = ""

    def __str__(self) -> str:
        parts = [str(self.place) if self.place else "", self.path, self.message]
        return ": ".join(part for part in parts if part)


class DseError(Exception):
    """Base of all errors meant for users; holds one or more problems found together."""

    exit_code: ClassVar[int] = 2

    def __init__(self, *problems: Problem | str) -> None:
        self.problems = tuple(Problem(p) if isinstance(p, str) else p for p in problems)
        super().__init__("\n".join(str(p) for p in self.problems))


class ConfigError(DseError):
    """A machine, mapping, sweep or study file is wrong."""


class WorkloadError(DseError):
    """A cascade, model or workload parameter is wrong."""


class MappingError(DseError):
    """A mapping does not fit its cascade or its machine."""


class TraceError(DseError):
    """A trace is damaged, or disagrees with the cascade it claims to run."""


# What may be collected over many inputs and raised together.
WRONG_INPUT = (ConfigError, WorkloadError, MappingError, TraceError)


class InfeasibleError(DseError):
    """The design point asked for cannot exist on this machine."""

    exit_code = 3


class MissingDependencyError(DseError):
    """An optional package or a device is not there."""

    exit_code = 4


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Hint naming the allowed word closest to ``word``, or an empty string if none is close."""
    close = difflib.get_close_matches(word, sorted(allowed), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
