"""The tracked files of this checkout, for the tests of its shape."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("arch", "workloads", "simulator", "mappers", "kernels", "studies")


@cache
def tracked() -> tuple[Path, ...]:
    """Files git knows, below ROOT, without symlinks; skips the test outside a git checkout."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    paths = (Path(name) for name in listed.split("\0") if name)
    return tuple(path for path in paths if (ROOT / path).is_file() and not (ROOT / path).is_symlink())


def module_name(path: Path) -> str:
    """Name under which a tracked Python file of the package is imported."""
    parts = path.with_suffix("").parts
    parts = parts[1:] if parts[0] == "src" else ("dse", *parts)
    return ".".join(parts).removesuffix(".__init__")


def packaged() -> list[Path]:
    """Tracked files that belong in the wheel."""
    return [path for path in tracked() if path.parts[0] in ROOMS or path.parts[:2] == ("src", "dse")]
