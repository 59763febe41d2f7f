"""A strict subset of YAML as a tree of text, every node with its place.

Modelled: mappings, lists and scalars; scalars stay text, a plain empty scalar or ``null`` is None. Refused:
duplicate keys, anchors, aliases, tags, directives, several documents, control characters, more than 1 MiB,
nesting above 32.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from dse.errors import ConfigError, Place, Problem, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_PROBLEMS = 100
Step = str | int
Steps = tuple[Step, ...]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Node:
    """Text, None, a list or a mapping of nodes; the place of a mapping's value is that of its key."""

    value: str | list[Node] | dict[str, Node] | None
    place: Place

    def plain(self) -> object:
        """The same data without places."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value


def read(path: Path, name: str) -> str:
    """Text of a file at most 1 MiB long; ``name`` stands for it in errors.

    Raises
    ------
    ConfigError
        The file cannot be read, is too long, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise ConfigError(Problem(f"cannot read this file: {reason}", Place(name))) from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(Problem("this file is longer than 1 MiB", Place(name)))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(Problem("this file is not UTF-8 text", Place(name, line))) from None


def compose(text: str, name: str) -> tuple[Node, list[Problem]]:
    """The tree of one document, and what else is wrong with it (duplicate keys, anchors, tags).

    Raises
    ------
    ConfigError
        Nothing can be read: a syntax error, a forbidden character, too long or too deep.
    """
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise ConfigError(Problem("this file is longer than 1 MiB", Place(name)))
    bad = _FORBIDDEN.search(text)
    if bad is not None:
        place = Place(name, text.count("\n", 0, bad.start()) + 1)
        raise ConfigError(Problem(f"character U+{ord(bad[0]):04X} is not allowed", place))
    builder = _Builder(text, name)
    try:
        return builder.document(), builder.problems
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(name, mark.line + 1, mark.column + 1) if mark else Place(name)
        parts = [part for part in (error.context, error.problem) if part]
        raise ConfigError(*builder.problems, Problem(f"not valid YAML: {', '.join(parts)}", place)) from None
    except yaml.YAMLError as error:
        raise ConfigError(*builder.problems, Problem(f"not valid YAML: {error}", Place(name))) from None


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
    if isinstance(value, list) and str(step).isdecimal() and int(step) < len(value):
        return value[int(step)]
    return None


def change(root: Node, path: str, text: str) -> Node:
    """The tree with the value at a dotted path replaced; the unique last part of a path may stand alone.

    Raises
    ------
    ConfigError
        The path fits no key, or several; or ``text`` is not a value.
    """
    name = f"{path}={text}"
    value, problems = compose(text, name)
    steps = split(path)
    if problems or not steps:
        raise ConfigError(*(problems or [Problem(f"'{name}' names no key")]))
    return _put(root, complete(root, steps, name), Node(value.value if text.strip() else None, Place(name)))


def complete(root: Node, steps: Steps, name: str) -> Steps:
    """The one full path that ends in ``steps``; the last step may be new in a mapping that is there.

    Raises
    ------
    ConfigError
        The path, called ``name``, fits no key, or several.
    """
    if steps and _holds(root, steps):
        return steps
    known = list(_paths(root))
    for wanted, new in ((steps, ()), (steps[:-1], steps[-1:])):
        fitting = [wanted] if wanted in known else [path for path in known if path[-len(wanted) :] == wanted]
        if not wanted or len(fitting) == 1:
            return (*(fitting[0] if wanted else ()), *new)
        if fitting:
            raise ConfigError(f"'{name}' could mean any of {', '.join(dotted(path) for path in fitting)}")
    raise ConfigError(f"'{name}': there is no '{dotted(steps)}'{nearest(dotted(steps), map(dotted, known))}")


def _holds(node: Node, steps: Steps) -> bool:
    """Whether a path of keys is there from the top."""
    for step in steps:
        if not isinstance(node.value, dict) or not isinstance(step, str) or step not in node.value:
            return False
        node = node.value[step]
    return True


def _paths(node: Node, above: Steps = ()) -> Iterator[Steps]:
    if isinstance(node.value, dict):
        for key, child in node.value.items():
            yield (*above, key)
            yield from _paths(child, (*above, key))


def _put(node: Node, steps: Steps, value: Node) -> Node:
    if not steps:
        return value
    if isinstance(node.value, list):
        items = dict(enumerate(node.value))
        index = int(steps[0]) if str(steps[0]).isdecimal() else -1
        if index not in items:
            raise ConfigError(f"'{value.place}': the list has no item {steps[0]}")
        items[index] = _put(items[index], steps[1:], value)
        return Node(list(items.values()), node.place)
    children = node.value if isinstance(node.value, dict) else {}
    key = str(steps[0])
    return Node(
        {**children, key: _put(children.get(key, Node(None, node.place)), steps[1:], value)}, node.place
    )


def to_text(root: Node) -> str:
    """The tree as a file; reading it back gives the same data."""
    return str(yaml.dump(root.plain(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))


class _Dumper(yaml.SafeDumper):
    """Writes scalars plainly; quotes only what would be read as something else."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def ignore_aliases(self, data: object) -> bool:
        """Write every value in full."""
        return True


_Dumper.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("(?:null)?$"), ["n", ""])


class _Builder:
    """Builds one tree from the parser's events."""

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.problems: list[Problem] = []
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)

    def document(self) -> Node:
        """The only document of the stream; an empty one is an empty mapping."""
        root = Node({}, Place(self.name, 1))
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if event.version or event.tags:
                    self._refuse(event, "directives (%) are not allowed")
                root = self._node(next(self._events), 1, None)
                break
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._refuse(event, "only one document is allowed in a file")
                break
        return root

    def _node(self, event: yaml.Event, depth: int, place: Place | None) -> Node:
        here = place or self._place(event)
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, f"aliases (*{event.anchor}) are not allowed")
            return Node(None, here)
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor is not None:
            self._refuse(event, f"anchors (&{anchor}) are not allowed")
        if tag is not None:
            self._refuse(event, f"tags ({tag}) are not allowed")
        if isinstance(event, yaml.ScalarEvent):
            return Node(self._scalar(event), here)
        if depth > MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
            raise ConfigError(*self.problems)
        if isinstance(event, yaml.MappingStartEvent):
            return Node(self._mapping(depth), here)
        return Node(self._list(depth), here)

    def _scalar(self, event: yaml.ScalarEvent) -> str | None:
        if not event.style and event.value in ("", "null"):
            return None
        if _FORBIDDEN.search(event.value):
            self._refuse(event, "escapes for control characters are not allowed")
        return _FORBIDDEN.sub("", event.value)

    def _list(self, depth: int) -> list[Node]:
        children = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            children.append(self._node(event, depth + 1, None))
        return children

    def _mapping(self, depth: int) -> dict[str, Node]:
        children: dict[str, Node] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1, None)
            value = self._node(next(self._events), depth + 1, key.place)
            if not isinstance(key.value, str) or not key.value:
                self._refuse(event, "a key must be text")
            elif key.value in children:
                first = children[key.value].place.line
                self._refuse(event, f"duplicate key '{key.value}', first given on line {first}")
            else:
                children[key.value] = value
        return children

    def _place(self, event: yaml.Event) -> Place:
        return Place(self.name, event.start_mark.line + 1 if event.start_mark else 0)

    def _refuse(self, event: yaml.Event, message: str) -> None:
        self.problems.append(Problem(message, self._place(event)))
        if len(self.problems) == MAX_PROBLEMS:
            raise ConfigError(
                *self.problems, Problem("too many problems; the rest was not read", Place(self.name))
            )
