"""How modules of this folder that write committed files run as commands: one argument, errors as lines, exit codes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dse.errors import DseError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FOLDER, FILE = "FOLDER", "FILE"


def write_into(name: str, what: str, write: Callable[[Path], None], arguments: Sequence[str]) -> int:
    """Call ``write`` with the path that is the command's only argument: of a FOLDER that is there, or of a FILE.

    Returns
    -------
    int
        Exit code: 2 for a wrong use, that of an error that was raised, else 0.
    """
    if len(arguments) != 1 or (what == FOLDER and not Path(arguments[0]).is_dir()):
        sys.stderr.write(f"error: usage: python -m dse.kernels.{name} {what}\n")
        return 2
    try:
        write(Path(arguments[0]))
    except DseError as error:
        sys.stderr.writelines(f"error: {problem}\n" for problem in error.problems)
        return error.exit_code
    return 0
