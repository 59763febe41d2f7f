"""Runs the command line: in this process for what it prints, in a fresh one for what it imports."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from dse.studies.cli import app

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


def dse(*arguments: str | Path) -> Ran:
    """The command line in this process."""
    found = CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="dse")
    return Ran(found.exit_code, found.stdout, found.stderr)


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``code`` in a fresh interpreter that finds this checkout."""
    settings = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
