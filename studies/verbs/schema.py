"""``dse schema``: JSON Schema of every kind of file, for editors, from the schemas that read the files."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from typing import TYPE_CHECKING, Any

from dse import spec
from dse.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

# Module and class of the schema of each kind of file; machines and mappings have one for each of their kinds.
SCHEMAS = {
    "memory": ("dse.arch.memories.dram", "File"),
    "model": ("dse.workloads.model", "ModelFile"),
    "cascade": ("dse.workloads.cascade_file", "CascadeSpec"),
    "space": ("dse.mappers.space", "SpaceFile"),
    "kernel": ("dse.workloads.annotation", "Annotation"),
    "sweep": ("dse.studies.sweep_file", "SweepFile"),
    "study": ("dse.studies.study_file", "StudyFile"),
    "suite": ("dse.studies.measure_suite", "SuiteFile"),
    "table": ("dse.studies.latency.description", "TableFile"),
    "sram": ("dse.arch.tables.sram", "SramFile"),
    "technology": ("dse.simulator.technology", "TechnologyFile"),
    "passage": ("dse.workloads.passage", "Passage"),
    "laws": ("dse.workloads.synthetic", "SyntheticFile"),
    "calibration": ("dse.arch.calibration.constants", "File"),
}
BY_KIND = {"machine": "dse.arch.machine", "mapping": "dse.simulator.mapping"}
TOGETHER = {"workload": ("model", "cascade")}
_DEFINITIONS = "#/$defs/"
_NUMBER = r"^[+-]?(inf|[0-9.]+([eE][+-]?[0-9]+)?)$"
_BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}


def schema(what: str, kind: str | None) -> None:
    """Print the JSON Schema of a kind of file, of one ``kind`` of machine or mapping only if given.

    Raises
    ------
    ConfigError
        No such kind of file, machine or mapping.
    """
    found = schemas(what)
    if kind is not None:
        if what not in BY_KIND:
            raise ConfigError(
                f"only {' and '.join(f'{name}s' for name in BY_KIND)} have kinds: dse schema {what}"
            )
        if kind not in found:
            raise ConfigError(
                f"'{kind}' is not a kind of {what}{nearest(kind, found)} (there are: {', '.join(found)})"
            )
        found = {kind: found[kind]}
    sys.stdout.write(json.dumps(_document(what, found), indent=2, ensure_ascii=False) + "\n")


def schemas(what: str) -> dict[str, type[spec.Spec]]:
    """Schemas a kind of file may follow, by name: for machines and mappings one for each kind, none where not built.

    Raises
    ------
    ConfigError
        No such kind of file.
    """
    if what in BY_KIND:
        module = importlib.import_module(BY_KIND[what])
        return {kind: module.schema(kind) for kind in module.kinds()}
    names = TOGETHER.get(what, (what,))
    unknown = [name for name in names if name not in SCHEMAS]
    if unknown:
        known = [*BY_KIND, *TOGETHER, *SCHEMAS]
        raise ConfigError(f"no kind of file '{what}'{nearest(what, known)}")
    loaded = {name: _loaded(*SCHEMAS[name]) for name in names}
    return {name: found for name, found in loaded.items() if found is not None}


def _loaded(module: str, name: str) -> type[spec.Spec] | None:
    """The schema a module defines, None where there is no such module."""
    if importlib.util.find_spec(module) is None:
        return None
    found: type[spec.Spec] = getattr(importlib.import_module(module), name)
    return found


def _document(what: str, found: Mapping[str, type[spec.Spec]]) -> dict[str, Any]:
    """One schema as it is; several as alternatives.

    Alternatives are ``anyOf``: a file that extends another may leave out ``kind`` and so fit several.
    """
    if not found:
        raise ConfigError(f"this version of dse has no {what} files")
    documents = {name: {**_as_read(spec.json_schema(one)), "title": name} for name, one in found.items()}
    for name, document in documents.items() if what in BY_KIND else ():
        _fix_kind(document, name)
        if what == "machine":
            _add_sweep(document)
    if len(documents) == 1:
        return next(iter(documents.values()))
    definitions: dict[str, Any] = {}
    for name, document in documents.items():
        own = {f"{name}.{key}": value for key, value in document.pop("$defs", {}).items()}
        definitions |= _moved(own, name)
        document.pop("$schema")
        documents[name] = _moved(document, name)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": what,
        "$defs": definitions,
        "anyOf": list(documents.values()),
    }


def _fix_kind(document: dict[str, Any], kind: str) -> None:
    """Allow no other value of ``kind``, in whole files and in those that extend another."""
    for part in (document["then"], document["else"]):
        part["properties"]["kind"] = {**part["properties"]["kind"], "const": kind}
        part["properties"]["kind"].pop("anyOf", None)


def _add_sweep(document: dict[str, Any]) -> None:
    """Describe the ``sweep`` of a machine, which its own schema leaves open."""
    axes = _as_read(spec.json_schema(schemas("sweep")["sweep"]))["$defs"]["Axes"]
    document["$defs"]["Axes"] = axes
    for part in (document["then"], document["else"]):
        part["properties"]["sweep"] = {"$ref": f"{_DEFINITIONS}Axes"}


def _as_read(value: Any) -> Any:  # noqa: ANN401
    """A schema that also allows what the loader reads as text or a number and other readers type otherwise."""
    if isinstance(value, list):
        return [_as_read(child) for child in value]
    if not isinstance(value, dict):
        return value
    found = {key: _as_read(child) for key, child in value.items()}
    if found.get("type") == "string" and not found.keys() & {"pattern", "enum", "const"}:
        found["type"] = ["string", "number", "boolean"]
    if found.get("type") == "string" and "enum" in found:
        numbers = [int(choice) for choice in found["enum"] if choice.isdigit()]
        found |= {"enum": [*found["enum"], *numbers], "type": ["string", "number"]} if numbers else {}
    if found.get("type") == "number" and not found.keys() & _BOUNDS:
        found = {"anyOf": [found, {"type": "string", "pattern": _NUMBER}]}
    return found


def _moved(value: Any, name: str) -> Any:  # noqa: ANN401
    """A schema whose references point at definitions that start with ``name``."""
    if isinstance(value, dict):
        return {key: _moved(child, name) for key, child in value.items()}
    if isinstance(value, list):
        return [_moved(child, name) for child in value]
    if isinstance(value, str) and value.startswith(_DEFINITIONS):
        return value.replace(_DEFINITIONS, f"{_DEFINITIONS}{name}.", 1)
    return value
