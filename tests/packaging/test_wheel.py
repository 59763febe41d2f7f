"""The wheel holds every tracked file of the package and nothing else; its files resolve from anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.packaging.tree import ROOMS, ROOT, packaged, tracked

if TYPE_CHECKING:
    from pathlib import Path

SHOW_SHIPPED = """
import dse, dse.spec
print(dse.__file__)
for room in ("arch", "workloads", "mappers", "kernels", "studies"):
    for name, path in dse.spec.shipped(room).items():
        assert dse.spec.find(name, room) == path
        print(room, name, path.stat().st_size > 0)
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the content of a wheel built from the tracked files."""
    source, wheels, content = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "content"))
    for path in tracked():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, source / path)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(wheels),
    ]
    subprocess.run([*build, str(source)], check=True, capture_output=True, text=True)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(content)
    return content


def test_wheel_holds_the_tracked_files(unpacked: Path) -> None:
    built = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    built = {name for name in built if ".dist-info/" not in name}
    expected = {path.as_posix().removeprefix("src/") for path in packaged()}
    expected = {name if name.startswith("dse/") else f"dse/{name}" for name in expected}
    assert built == expected


def test_shipped_files_resolve_in_the_wheel(unpacked: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", SHOW_SHIPPED]
    run = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    first, *shown = run.stdout.splitlines()
    assert first == str(unpacked / "dse" / "__init__.py")
    yaml = [path for path in packaged() if path.suffix == ".yaml" and path.parts[0] != "simulator"]
    assert shown == sorted(shown, key=lambda line: ROOMS.index(line.split()[0]))
    assert len(shown) == len(yaml)
    assert all(line.endswith("True") for line in shown)
