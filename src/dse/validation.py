"""What a pydantic error means for the person who wrote the file, in plain words and with its place.

Modelled: the error types that text, lists and mappings can cause, unknown keys with the nearest name, and
number spellings that only Python reads (``1_000``). Other types keep pydantic's own message after the value.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from dse.errors import Problem, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from dse.errors import Place
    from dse.yaml_tree import Node

Step = str | int
Steps = tuple[Step, ...]

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
_PLAIN_NUMBER = re.compile(r"[+-]?(?:[0-9]+[KMGT]?|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf)")


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


def problems_of(error: ValidationError, root: Node, plain: object, seen: Seen) -> list[Problem]:
    """Every problem of a failed validation of ``plain``, the data of ``root``, once per dotted path."""
    found: dict[Steps, list[str]] = defaultdict(list)
    for detail in error.errors(include_url=False):
        steps, message = _translate(detail, plain, seen)
        if message not in found[steps]:
            found[steps].append(message)
    return [Problem("; or ".join(texts), place(root, steps), dotted(steps)) for steps, texts in found.items()]


def spelling_problems(value: object, root: Node) -> list[Problem]:
    """Numbers and booleans of a validated ``value`` that its file spells as only Python would."""
    texts = _misspelled(value, root, ())
    return [
        Problem(f"'{text}' is not {noun}", place(root, steps), dotted(steps)) for steps, text, noun in texts
    ]


def dotted(steps: Sequence[Step]) -> str:
    """Dotted path: ``units.array_2d.shape[0]``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def split(path: str) -> Steps:
    """Steps of a dotted path; the inverse of `dotted`."""
    parts = re.findall(r"\[(\d+)\]|([^.\[\]]+)", path)
    return tuple(int(index) if index else name for index, name in parts)


def place(root: Node, steps: Sequence[Step]) -> Place:
    """Place of a path in the tree, or of the deepest part of it that is there."""
    node = root
    for step in steps:
        child = _child(node.value, step)
        if child is None:
            break
        node = child
    return node.place


def _child(value: object, step: Step) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return None


def _translate(detail: ErrorDetails, plain: object, seen: Seen) -> tuple[Steps, str]:
    """Path of one error in the file, and its message."""
    kind, loc, given = detail["type"], detail["loc"], detail["input"]
    if kind == "missing":
        parent = _find(plain, loc[:-1], given)
        if isinstance(loc[-1], int):
            return parent, f"item {loc[-1] + 1} is missing"
        return (*parent, loc[-1]), "this key is missing"
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
    allowed = re.findall("'([^']*)'", str(context.get("expected", context.get("expected_tags", ""))))
    start = "has no value" if given == "None" else f"'{given}' is not allowed"
    return f"{start}{nearest(given, allowed)}{_listed(allowed)}"


def _shown(given: object) -> str:
    if isinstance(given, str):
        return f"'{given if len(given) <= 60 else given[:57] + '...'}'"
    if given is None:
        return "no value"
    kinds = ((dict, "a mapping"), (list, "a list"))
    return next((name for kind, name in kinds if isinstance(given, kind)), f"'{given}'")


def _misspelled(value: object, node: Node, steps: Steps) -> Iterator[tuple[Steps, str, str]]:
    """Path, text and what was wanted, for each scalar whose text is not the plain spelling of its value."""
    given = node.value
    if isinstance(given, str):
        noun = _wrong_spelling(value, given)
        if noun:
            yield steps, given, noun
    elif isinstance(given, dict):
        if isinstance(value, BaseModel):
            names = {spec.alias or name: name for name, spec in type(value).model_fields.items()}
            value = {key: getattr(value, name) for key, name in names.items()}
        if isinstance(value, Mapping):
            for key in given.keys() & value.keys():
                yield from _misspelled(value[key], given[key], (*steps, key))
    elif isinstance(given, list) and isinstance(value, (list, tuple)):
        for index, (item, child) in enumerate(zip(value, given, strict=False)):
            yield from _misspelled(item, child, (*steps, index))


def _wrong_spelling(value: object, text: str) -> str:
    """What was wanted instead of ``text``, or nothing if it is spelled plainly."""
    if isinstance(value, bool):
        return "" if text in ("true", "false") else "true or false"
    if not isinstance(value, (int, float)) or _PLAIN_NUMBER.fullmatch(text):
        return ""
    try:
        float(text)
    except ValueError:
        return ""
    return "a whole number" if isinstance(value, int) else "a number"
