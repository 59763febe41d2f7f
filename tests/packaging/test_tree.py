"""The shape of the tree: short files, short functions, portable paths."""

from __future__ import annotations

import ast
import re

from tests.packaging.tree import ROOT, tracked

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".csv", ".txt", ".cfg", ".lark", ".mplstyle", ""}
# Absolute paths of somebody's machine; addresses on the web do not count.
LOCAL_PATH = re.compile(r"(?<![\w.:/~-])/(?:home|root|work|Users|private|mnt)/")


def test_files_and_functions_are_short() -> None:
    long = []
    for path in tracked():
        if path.suffix != ".py":
            continue
        text = (ROOT / path).read_text()
        if text.count("\n") > MAX_FILE_LINES:
            long.append(f"{path}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    long.append(f"{path}:{node.lineno}: {node.name} has {length} lines")
    assert long == []


def test_no_file_names_a_path_of_one_machine() -> None:
    found = []
    for path in tracked():
        if path.suffix in TEXT:
            for number, line in enumerate((ROOT / path).read_text().splitlines(), 1):
                if LOCAL_PATH.search(line):
                    found.append(f"{path}:{number}: {line.strip()}")
    assert found == []


def test_links_of_the_package_are_relative() -> None:
    links = {
        path.name: path.readlink().as_posix()
        for path in (ROOT / "src" / "dse").iterdir()
        if path.is_symlink()
    }
    assert all(target == f"../../{name}" for name, target in links.items())
