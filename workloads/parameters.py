"""Parameters of kernels: their kinds, and values read from text or taken as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dse import spec as files
from dse.errors import ConfigError, Problem, WorkloadError, nearest
from dse.units import parse_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dse.workloads.trace import Value

FULL = "full"
_FLAGS = {"true": True, "false": False}


class Parameter(files.Spec):
    """One parameter of a kernel.

    A ``count`` is a whole number above 0 (``64K`` works), a ``number`` any finite number, a ``flag`` true or
    false, a ``choice`` one of ``choices``, ``lengths`` are whole numbers separated by commas, or ``full``. It
    takes its default, or else the value of the parameter it is ``like``; with neither it must be given.
    """

    summary: str
    kind: Literal["count", "number", "flag", "choice", "lengths"] = "count"
    default: str | None = None
    like: str | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""

    def typed(self, raw: object) -> Value:
        """The value that ``raw``, typed or as text, stands for.

        Raises
        ------
        ConfigError, WorkloadError
            If it is missing or not of this kind.
        """
        if raw is None:
            raise WorkloadError("needs a value: it has no default")
        text = ",".join(map(str, raw)) if isinstance(raw, (list, tuple)) else str(raw).strip()
        if self.kind == "flag":
            if text.lower() not in _FLAGS:
                raise WorkloadError(f"'{text}' is neither true nor false")
            return _FLAGS[text.lower()]
        if self.kind == "choice":
            if text not in self.choices:
                allowed = ", ".join(self.choices)
                raise WorkloadError(f"'{text}' is none of {allowed}{nearest(text, self.choices)}")
            return text
        if self.kind == "lengths":
            return () if text in (FULL, "") else tuple(parse_count(part) for part in text.split(","))
        return _number(text) if self.kind == "number" else _positive(text)


def resolve(parameters: Mapping[str, Parameter], given: Mapping[str, object]) -> dict[str, Value]:
    """Value of every parameter, typed; text is read as in the file.

    Raises
    ------
    WorkloadError
        Unknown, missing and malformed parameters, together.
    """
    problems = [
        Problem(f"unknown parameter{nearest(name, parameters)}", path=name)
        for name in given
        if name not in parameters
    ]
    values: dict[str, Value] = {}
    wrong: dict[str, str] = {}
    for name in parameters:
        source, raw = _raw(parameters, name, given)
        try:
            values[name] = parameters[source].typed(raw)
        except (ConfigError, WorkloadError) as error:
            wrong[source] = str(error)
    problems += [Problem(message, path=name) for name, message in wrong.items()]
    if problems:
        raise WorkloadError(*problems)
    return values


def with_value(parameters: Mapping[str, Parameter]) -> list[str]:
    """Parameters whose value is their own or, by ``like`` over any number of others, that of one that has one."""
    found = [name for name, parameter in parameters.items() if parameter.like is None]
    # The list grows while it is read: what is like a found parameter is found.
    for name in found:
        found += [other for other, parameter in parameters.items() if parameter.like == name]
    return found


def wrong_defaults(parameters: Mapping[str, Parameter]) -> Iterator[tuple[str, str]]:
    """Dotted path and fault of every default that is not of its parameter's kind."""
    for name, parameter in parameters.items():
        try:
            if parameter.default is not None:
                parameter.typed(parameter.default)
        except (ConfigError, WorkloadError) as error:
            yield f"parameters.{name}.default", str(error)


def _raw(parameters: Mapping[str, Parameter], name: str, given: Mapping[str, object]) -> tuple[str, object]:
    """What a parameter is set to, and the parameter that set it."""
    while name not in given:
        like = parameters[name].like
        if like is None:
            return name, parameters[name].default
        name = like
    return name, given[name]


def _positive(text: str) -> int:
    count = parse_count(text)
    if count < 1:
        raise WorkloadError(f"'{text}' must be more than 0")
    return count


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise WorkloadError(f"'{text}' is not a finite number")
    return value
