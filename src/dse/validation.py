"""What a pydantic error means for the person who wrote the file, in plain words and with its place.

Modelled: the error types that text, lists and mappings can cause, unknown keys with the nearest name, and
plain spellings only (neither ``1_000`` nor ``yes``). Other error types keep pydantic's own message.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticCustomError, core_schema

from dse.errors import Problem, nearest
from dse.yaml_tree import dotted, place

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from dse.yaml_tree import Node, Step, Steps

_NOUNS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "dict": "a mapping (key: value)",
    "mapping": "a mapping (key: value)",
    "model": "a mapping (key: value)",
    "model_attributes": "a mapping (key: value)",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
}
_BOUNDS = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "is not finite",
    "int_parsing_size": "is too large",
    "string_too_short": "must have at least {min_length} character(s)",
    "string_too_long": "must have at most {max_length} character(s)",
    "string_pattern_mismatch": "does not match the pattern {pattern}",
}
_SIZES = {
    "too_short": "needs at least {min_length} item(s), found {actual_length}",
    "too_long": "takes at most {max_length} item(s), found {actual_length}",
}
# How text must look for each scalar of a schema, and what it is called.
_SPELLINGS = {
    "int": (re.compile("[+-]?[0-9]+"), "a whole number"),
    "float": (re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf)"), "a number"),
    "bool": (re.compile("true|false"), "true or false"),
}
# Keys of a core schema that hold further schemas.
_INNER = {
    "schema", "items_schema", "keys_schema", "values_schema", "extras_schema", "lax_schema", "strict_schema",
    "json_schema", "python_schema", "choices", "steps", "definitions", "arguments_schema",
}  # fmt: skip


class Seen(dict[int, list[type[BaseModel]]]):
    """Validation context: which models each mapping was tried against, by the mapping's identity."""

    def note(self, data: object, model: type[BaseModel]) -> None:
        """Record that ``data`` is validated as ``model``."""
        if isinstance(data, dict):
            self.setdefault(id(data), []).append(model)

    def allowed(self, data: object) -> set[str]:
        """Keys the models tried for ``data`` know."""
        models = self.get(id(data), [])
        return {spec.alias or name for model in models for name, spec in model.model_fields.items()}

    def wanted(self, data: object, key: str) -> str:
        """What belongs under a missing key, as far as its schema says."""
        for model in self.get(id(data), []):
            for name, spec in model.model_fields.items():
                if key == (spec.alias or name):
                    texts = [part.wanted for part in spec.metadata if hasattr(part, "wanted")]
                    choices = get_args(spec.annotation) if get_origin(spec.annotation) is Literal else ()
                    return f"; expected {texts[0]}" if texts else _listed([str(choice) for choice in choices])
        return ""


def problems_of(error: ValidationError, root: Node, plain: object, seen: Seen) -> list[Problem]:
    """Every problem of a failed validation of ``plain``, the data of ``root``, once per dotted path."""
    found: dict[Steps, list[str]] = defaultdict(list)
    for detail in error.errors(include_url=False):
        steps, message = _translate(detail, plain, seen)
        if message not in found[steps]:
            found[steps].append(message)
    return [Problem("; or ".join(texts), place(root, steps), dotted(steps)) for steps, texts in found.items()]


def plain_spellings(schema: Any) -> Any:  # noqa: ANN401
    """A pydantic core schema whose numbers, booleans and literals read text in its plain spelling only."""
    if isinstance(schema, (list, tuple)):
        return type(schema)(plain_spellings(part) for part in schema)
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if kind in _SPELLINGS:
        reader = partial(_check_spelling, *_SPELLINGS[kind])
        return core_schema.no_info_before_validator_function(reader, schema)
    if kind == "literal" and not all(isinstance(value, str) for value in schema["expected"]):
        texts = {
            str(value).lower() if isinstance(value, bool) else str(value): value
            for value in schema["expected"]
        }
        reader = partial(_read_literal, texts)
        return core_schema.no_info_before_validator_function(reader, schema)
    inner = {key: plain_spellings(value) for key, value in schema.items() if key in _INNER}
    if "fields" in schema and isinstance(schema["fields"], dict):
        inner["fields"] = {name: plain_spellings(part) for name, part in schema["fields"].items()}
    if kind == "tagged-union":
        inner["choices"] = {tag: plain_spellings(part) for tag, part in schema["choices"].items()}
    return {**schema, **inner}


def _check_spelling(pattern: re.Pattern[str], noun: str, given: object) -> object:
    if isinstance(given, str) and not pattern.fullmatch(given):
        raise PydanticCustomError("dse", "{message}", {"message": f"{_shown(given)} is not {noun}"})
    return given


def _read_literal(texts: Mapping[str, object], given: object) -> object:
    return texts.get(given, given) if isinstance(given, str) else given


def _translate(detail: ErrorDetails, plain: object, seen: Seen) -> tuple[Steps, str]:
    """Path of one error in the file, and its message."""
    kind, loc, given = detail["type"], detail["loc"], detail["input"]
    if kind == "missing":
        parent = _find(plain, loc[:-1], given)
        if isinstance(loc[-1], int):
            return parent, f"item {loc[-1] + 1} is missing"
        return (*parent, loc[-1]), f"this key is missing{seen.wanted(given, loc[-1])}"
    if loc and loc[-1] == "[key]":
        return _find(plain, loc[:-1], None), f"as a key, {_message(detail)}"
    steps = _find(plain, loc, given)
    if kind == "extra_forbidden":
        return steps, _unknown_key(str(steps[-1]), _at(plain, steps[:-1]), seen, top=len(steps) == 1)
    if kind.startswith("union_tag"):
        return (*steps, detail["ctx"]["discriminator"].strip("'")), _message(detail)
    return steps, _message(detail)


def _find(plain: object, loc: Sequence[Step], given: object) -> Steps:
    """Path of an error's input: pydantic's location without union tags and validator names."""

    def search(value: object, rest: Sequence[Step]) -> Steps | None:
        if not rest:
            return () if value is given or (value == given and type(value) is type(given)) else None
        if _has(value, rest[0]):
            found = search(_at(value, rest[:1]), rest[1:])
            if found is not None:
                return (rest[0], *found)
        return search(value, rest[1:])

    exact = search(plain, loc)
    return exact if exact is not None else _greedy(plain, loc)


def _greedy(plain: object, loc: Sequence[Step]) -> Steps:
    steps: Steps = ()
    for step in loc:
        if _has(_at(plain, steps), step):
            steps = (*steps, step)
    return steps


def _has(value: object, step: Step) -> bool:
    if isinstance(value, dict):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and step < len(value)


def _at(value: Any, steps: Sequence[Step]) -> Any:  # noqa: ANN401
    for step in steps:
        value = value[step]
    return value


def _unknown_key(key: str, parent: Collection[str], seen: Seen, *, top: bool) -> str:
    allowed = seen.allowed(parent) | ({"extends"} if top else set())
    hint = nearest(key, allowed - set(parent)) or nearest(key, allowed)
    return f"unknown key '{key}'{hint or _listed(allowed)}"


def _listed(allowed: Collection[str]) -> str:
    return f" (allowed: {', '.join(sorted(allowed))})" if allowed else ""


def _message(detail: ErrorDetails) -> str:
    kind, given = detail["type"], detail["input"]
    context = detail.get("ctx", {})
    if kind in ("dse", "value_error", "assertion_error"):
        return str(context["message" if kind == "dse" else "error"])
    if kind in ("literal_error", "enum", "union_tag_invalid"):
        return _not_among(str(context.get("tag", given)), context)
    if kind == "union_tag_not_found":
        return "this key is missing"
    if kind in _SIZES or kind in _BOUNDS:
        text = _SIZES.get(kind) or f"{{shown}} {_BOUNDS[kind]}"
        return text.format(shown=_shown(given), **context)
    return _wrong_type(re.sub("_(type|parsing|from_float)$", "", kind), given, detail["msg"])


def _wrong_type(kind: str, given: object, otherwise: str) -> str:
    noun = _NOUNS.get(kind)
    if noun is None:
        return f"{_shown(given)}: {otherwise}"
    if isinstance(given, str):
        return f"{_shown(given)} is not {noun}"
    return f"has no value; expected {noun}" if given is None else f"expected {noun}, found {_shown(given)}"


def _not_among(given: str, context: dict[str, Any]) -> str:
    expected = str(context.get("expected", context.get("expected_tags", "")))
    allowed = [text.strip("'") for text in re.split(", | or ", expected)]
    start = "has no value" if given == "None" else f"'{given}' is not allowed"
    return f"{start}{nearest(given, allowed)}{_listed(allowed)}"


def _shown(given: object) -> str:
    if isinstance(given, str):
        return f"'{given if len(given) <= 60 else given[:57] + '...'}'"
    if given is None:
        return "no value"
    kinds = ((dict, "a mapping"), (list, "a list"))
    return next((name for kind, name in kinds if isinstance(given, kind)), f"'{given}'")
