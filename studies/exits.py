"""From what a verb raises to lines on standard error and an exit code; users see no traceback.

Exit codes: 0 ok, 1 outside tolerance or an internal error, 2 usage or configuration, 3 infeasible, 4 missing
device or optional dependency, 130 interrupted, 141 output closed by its reader. Standard library only.
"""

import os
import sys
import traceback
from collections.abc import Callable

from dse.errors import DseError, MissingDependencyError

EXTRAS = {
    "torch": "trace",
    "triton": "trace",
    "pynvml": "trace",
    "safetensors": "models",
    "tokenizers": "models",
    "dask": "cluster",
    "distributed": "cluster",
}
INTERRUPTED = 130
CLOSED = 141


def guarded(call: Callable[[], int]) -> int:
    """Exit code of a call; what it raises becomes lines on standard error."""
    try:
        return call()
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return CLOSED
    except Exception as error:  # noqa: BLE001 - the last resort for users
        known = _known(error)
        return _internal(error) if known is None else _failed(known)


def _known(error: Exception) -> DseError | None:
    """The error as users may meet it, None for one that should not occur."""
    if isinstance(error, DseError):
        return error
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        return _missing(package) if package not in {"", "dse"} else None
    if isinstance(error, OSError) and error.strerror:
        if error.filename is None:
            _drop_output()
        return DseError(": ".join(str(part) for part in (error.filename, error.strerror) if part))
    return None


def _drop_output() -> None:
    """Let what is still buffered go nowhere, as writing it would fail again when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(error: DseError) -> int:
    for problem in error.problems:
        _say(f"error: {problem}")
    return error.exit_code


def _missing(package: str) -> MissingDependencyError:
    """The error that names the command to install what is missing."""
    wanted = f"'dse-attn[{EXTRAS[package]}]'" if package in EXTRAS else package
    return MissingDependencyError(f"this needs {package}, which is not installed: pip install {wanted}")


def _internal(error: Exception) -> int:
    if os.environ.get("DSE_DEBUG", "0") != "0":
        traceback.print_exc()
    _say(
        f"internal error: {type(error).__name__}: {error}; please report, "
        "rerun with DSE_DEBUG=1 for the traceback"
    )
    return 1


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
