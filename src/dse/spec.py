"""The one way a file becomes a typed, frozen `Spec`: find by place, read, extend, validate.

Modelled: a strict subset of YAML, shipped files found by their place in a room, ``extends``, and errors that
name file, line, dotted path, the wrong value and what is right. Not modelled: expressions, templates,
environment variables.
"""

from __future__ import annotations

import copy
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError, ValidationInfo, model_validator

from dse import validation, yaml_tree
from dse.errors import ConfigError, Place, Problem, nearest
from dse.yaml_tree import Node

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

NOT_INHERITED = ("sweep", "source")
_NOUNS = {
    "arch": "machine",
    "arch/memories": "memory",
    "arch/calibration": "calibration",
    "workloads": "workload",
    "workloads/cascades": "cascade",
    "workloads/models": "model",
    "workloads/papers": "paper",
    "workloads/texts": "passage",
    "workloads/laws": "file of laws",
    "workloads/scores": "score trace",
    "mappers/mappings": "mapping",
    "mappers/spaces": "mapping space",
    "kernels": "kernel",
    "studies": "study",
    "studies/sweeps": "sweep",
}


@dataclass(frozen=True)
class _Source:
    """Where a Spec was read; takes no part in comparisons."""

    path: Path = field(default=Path(), compare=False)
    root: Node = field(default=Node({}, Place("")), compare=False)


class Spec(BaseModel):
    """Base of every file schema: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=False)
    _source: _Source = PrivateAttr(default_factory=_Source)

    @model_validator(mode="before")
    @classmethod
    def _note_keys(cls, data: object, info: ValidationInfo) -> object:
        """Remember which keys are known where, for the hint at unknown ones."""
        if isinstance(info.context, validation.Seen):
            info.context.note(data, cls)
        return data

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        """Read numbers and booleans in their plain spelling only."""
        return cast("CoreSchema", validation.plain_spellings(handler(source)))

    def _read_from(self, source: _Source) -> Self:
        self._source = source
        return self


S = TypeVar("S", bound=Spec)


def load(source: str | Path, schema: type[S], room: str, changes: Mapping[str, str] | None = None) -> S:
    """The validated file ``source``: a path, or the name of a file shipped in ``room``.

    ``changes`` replaces values by dotted path after ``extends``; a path's unique last part may stand alone.

    Raises
    ------
    ConfigError
        Every problem of the file and of those it extends, together.
    """
    return read(source, room).load(schema, changes)


def read(source: str | Path, room: str) -> Document:
    """The file ``source`` as in `load`, read and extended, to be validated any number of times.

    Raises
    ------
    ConfigError
        The file cannot be found or read.
    """
    path = source if isinstance(source, Path) else find(source, room)
    root, problems = _resolve(path, room, ())
    return Document(path, root, tuple(problems))


@dataclass(frozen=True)
class Document:
    """A file that was read and extended but not validated, and what was wrong with it so far."""

    path: Path
    root: Node
    problems: tuple[Problem, ...]

    def load(self, schema: type[S], changes: Mapping[str, str] | None = None) -> S:
        """The validated file with ``changes`` made, as in `load`.

        Raises
        ------
        ConfigError
            Every problem of the file and of those it extends, together.
        """
        root, problems = self.root, list(self.problems)
        for changed, text in (changes or {}).items():
            try:
                root = yaml_tree.change(root, changed, text)
            except ConfigError as error:
                problems += error.problems
        return _validate(root, problems, schema, self.path)

    def steps(self, path: str) -> yaml_tree.Steps:
        """The full path that a dotted path, or the unique last part of one, stands for.

        Raises
        ------
        ConfigError
            The path fits no key, or several.
        """
        return yaml_tree.complete(self.root, yaml_tree.split(path), path)


def checked(values: Mapping[str, Any], schema: type[S], name: str) -> S:
    """Values given from outside any file, validated like a file called ``name``.

    Raises
    ------
    ConfigError
        Every problem of the values, together.
    """
    return _validate(_node(values, Place(name)), [], schema, Path(name))


def parse(text: str, schema: type[S], name: str = "<text>") -> S:
    """The validated ``text`` of a file; ``name`` stands for the file in errors.

    Raises
    ------
    ConfigError
        Every problem of the text, together.
    """
    root, problems = yaml_tree.compose(text, name)
    if isinstance(root.value, dict) and "extends" in root.value:
        problems.append(Problem("only a file can extend another", root.value["extends"].place, "extends"))
    return _validate(root, problems, schema, Path(name))


def resolve(source: str | Path, room: str) -> Node:
    """The tree of a file after ``extends``, not validated; every node keeps its place, ``to_text`` writes it.

    Raises
    ------
    ConfigError
        A file cannot be found or read.
    """
    path = source if isinstance(source, Path) else find(source, room)
    root, problems = _resolve(path, room, ())
    if problems:
        raise ConfigError(*problems)
    return Node({key: node for key, node in _children(root).items() if key != "extends"}, root.place)


def origin(spec: Spec) -> Path:
    """File a loaded Spec came from."""
    return spec._source.path


def place_of(spec: Spec, path: str) -> Place:
    """Place of a dotted path in the file of a loaded Spec, or of the deepest part of it written there."""
    return yaml_tree.place(spec._source.root, yaml_tree.split(path))


def shipped(room: str, suffix: str = ".yaml") -> dict[str, Path]:
    """Shipped files of a room, and of the folders in it, by name: the path below the room without suffix."""
    folder = _folder(room)
    found = [
        path for path in folder.rglob(f"*{suffix}") if path.is_file() and "__pycache__" not in path.parts
    ]
    names = {path.relative_to(folder).as_posix().removesuffix(suffix): path for path in found}
    return dict(sorted(names.items()))


def find(name: str, room: str, suffix: str = ".yaml") -> Path:
    """The file called ``name``: a path that exists, a shipped name, or the stem of one shipped file.

    Raises
    ------
    ConfigError
        No such file; names the nearest shipped one.
    """
    return _find(name, room, suffix, Path())


def json_schema(schema: type[Spec]) -> dict[str, Any]:
    """JSON Schema of a file for editors; a file that extends another may leave out or empty any key."""
    full = schema.model_json_schema(by_alias=True)
    shared = full.pop("$defs", {})
    partial = _partial(full)
    partial["properties"] = {"extends": {"type": "string"}, **partial.get("properties", {})}
    definitions = shared | {f"{name}.partial": _partial(definition) for name, definition in shared.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": full.get("title", schema.__name__),
        "$defs": definitions,
        "if": {"required": ["extends"]},
        "then": partial,
        "else": full,
    }


def _node(value: Any, place: Place) -> Node:  # noqa: ANN401
    if isinstance(value, dict):
        return Node({key: _node(child, place) for key, child in value.items()}, place)
    return Node([_node(child, place) for child in value] if isinstance(value, list) else value, place)


def _validate(root: Node, problems: list[Problem], schema: type[S], path: Path) -> S:
    if not isinstance(root.value, dict):
        raise ConfigError(
            *problems, Problem("expected a mapping (key: value) at the top of the file", root.place)
        )
    tree = Node({key: node for key, node in root.value.items() if key != "extends"}, root.place)
    plain, seen = tree.plain(), validation.Seen()
    try:
        spec = schema.model_validate(plain, context=seen)
    except ValidationError as error:
        raise ConfigError(*_ordered([*problems, *validation.problems_of(error, tree, plain, seen)])) from None
    if problems:
        raise ConfigError(*_ordered(problems))
    return spec._read_from(_Source(path, tree))


def _ordered(problems: list[Problem]) -> list[Problem]:
    """Problems by file and line; past a hundred they are only counted."""
    ordered = sorted(problems, key=lambda one: (one.place.file, one.place.line) if one.place else ("", 0))
    shown, rest = ordered[: yaml_tree.MAX_PROBLEMS], ordered[yaml_tree.MAX_PROBLEMS :]
    return [*shown, Problem(f"and {len(rest)} more problems")] if rest else shown


def _resolve(path: Path, room: str, chain: tuple[Path, ...]) -> tuple[Node, list[Problem]]:
    """Tree of a file merged over what it extends, and every structural problem met."""
    name = _display(path)
    root, problems = yaml_tree.compose(yaml_tree.read(path, name), name)
    if not isinstance(root.value, dict) or "extends" not in root.value:
        return root, problems
    node = root.value["extends"]
    if not isinstance(node.value, str):
        raise ConfigError(*problems, Problem("expected the name of one file", node.place, "extends"))
    try:
        base_path = _find(node.value, room, path.suffix, path.parent)
    except ConfigError as error:
        raise ConfigError(*problems, Problem(str(error), node.place, "extends")) from None
    chain = (*chain, path.resolve())
    if base_path.resolve() in chain:
        cycle = " -> ".join(step.stem for step in (*chain, base_path))
        raise ConfigError(
            *problems, Problem(f"files extend each other in a cycle: {cycle}", node.place, "extends")
        )
    base, more = _resolve(base_path, room, chain)
    inherited = {key: value for key, value in _children(base).items() if key not in NOT_INHERITED}
    problems += more
    return Node(_merge(inherited, root.value, (), problems), root.place), problems


def _merge(
    base: dict[str, Node], over: dict[str, Node], steps: tuple[str, ...], problems: list[Problem]
) -> dict[str, Node]:
    """Mappings key by key, the rest replaced; an empty value removes a key, which must be there."""
    merged = dict(base)
    for key, node in over.items():
        below = merged.get(key)
        if node.value is None:
            if merged.pop(key, None) is None:
                message = f"nothing to remove: what this file extends has no such key{nearest(key, base)}"
                problems.append(Problem(message, node.place, yaml_tree.dotted((*steps, key))))
        elif below and isinstance(below.value, dict) and isinstance(node.value, dict):
            merged[key] = Node(_merge(below.value, node.value, (*steps, key), problems), node.place)
        else:
            merged[key] = node
    return merged


def _children(node: Node) -> dict[str, Node]:
    return node.value if isinstance(node.value, dict) else {}


def _find(name: str, room: str, suffix: str, beside: Path) -> Path:
    if ("/" in name or name.endswith(suffix)) and is_file(beside / name):
        return beside / name
    files = shipped(room, suffix)
    if name in files:
        return files[name]
    same = [key for key in files if key.rpartition("/")[2] == name]
    if len(same) == 1:
        return files[same[0]]
    noun = _NOUNS.get(room, "file")
    if same:
        raise ConfigError(f"'{name}' could be any of {', '.join(same)}")
    stem = Path(name).name.removesuffix(suffix)
    known = [key for key in files if key.rpartition("/")[2] == stem]
    if known:
        raise ConfigError(f"no file {name} here; the shipped {noun} is: {', '.join(known)}")
    what = f"no file {name} here, and no {noun} of that name" if "/" in name else f"no {noun} '{name}'"
    raise ConfigError(f"{what}{nearest(name, [*files, *(key.rpartition('/')[2] for key in files)])}")


def is_file(path: Path) -> bool:
    """Whether a path is that of a file; text that cannot be one, such as of a thousand letters, is not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _folder(room: str) -> Path:
    """Folder of a room, wherever the package was installed."""
    top, _, below = room.partition("/")
    found = importlib.util.find_spec(f"dse.{top}")
    if found is None or not found.submodule_search_locations:
        raise ConfigError(f"there is no room '{room}'")
    return Path(found.submodule_search_locations[0], below).resolve()


def _display(path: Path) -> str:
    """Path as a person would type it here."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except (ValueError, OSError):
        return str(path)


def _partial(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without required keys, whose definitions are partial too and whose keys may be empty."""
    partial = copy.deepcopy(schema)
    partial.pop("required", None)
    for key, value in partial.get("properties", {}).items():
        partial["properties"][key] = {"anyOf": [value, {"type": "null"}]}
    _redirect(partial)
    return partial


def _redirect(value: Any) -> None:  # noqa: ANN401
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            value["$ref"] += ".partial"
        mapping = value.get("mapping")
        if "propertyName" in value and isinstance(mapping, dict):
            value["mapping"] = {tag: f"{reference}.partial" for tag, reference in mapping.items()}
        value = list(value.values())
    if isinstance(value, list):
        for child in value:
            _redirect(child)
