"""Every module has one name, and importing the package loads nothing heavy."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

from tests.packaging.tree import ROOMS, ROOT, module_name, packaged, tracked

# Imports every module it is given, then prints files loaded under two names.
IMPORT_ALL = """
import importlib, json, pathlib, sys
for name in json.load(sys.stdin):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("dse", *{rooms!r}):
            raise
names = {{}}
for name, module in list(sys.modules.items()):
    file = getattr(module, "__file__", None)
    if file and name != "__main__":
        names.setdefault(str(pathlib.Path(file).resolve()), set()).add(name)
root = pathlib.Path.cwd().as_posix()
print(json.dumps({{file: sorted(known) for file, known in names.items() if file.startswith(root)}}))
"""


def python(code: str, given: str = "") -> str:
    """Output of ``code`` run by a fresh interpreter at the root of the checkout."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, input=given, check=True, capture_output=True, text=True).stdout


def test_no_module_has_two_names() -> None:
    names = [module_name(path) for path in packaged() if path.suffix == ".py"]
    loaded = json.loads(python(IMPORT_ALL.format(rooms=ROOMS), json.dumps(names)).splitlines()[-1])
    assert {
        file: known for file, known in loaded.items() if len(known) > 1 and "site-packages" not in file
    } == {}
    assert "dse.spec" in {name for known in loaded.values() for name in known}


def test_nothing_imports_a_room_by_its_bare_name() -> None:
    bare = []
    for path in tracked():
        if path.suffix == ".py":
            for node in ast.walk(ast.parse((ROOT / path).read_text())):
                imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    imported = [node.module]
                bare += [f"{path}: {name}" for name in imported if name.partition(".")[0] in ROOMS]
    assert bare == []


def test_light_modules_load_nothing_heavy() -> None:
    code = """
import sys
import dse, dse.kernels, dse.workloads
before = set(sys.modules)
import dse.errors, dse.units, dse.spec
heavy = {"numpy", "pandas", "pint", "scipy", "torch", "triton", "matplotlib", "pyarrow", "networkx", "lark"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
print(sorted({"pydantic", "yaml"} & {name.partition(".")[0] for name in before}))
"""
    assert python(code).splitlines() == ["[]", "[]"]
