"""A lock file that one process holds, released by the operating system however that process ends.

The lock is the kernel's, not the file's existence: the file stays, and one left by a killed process locks
nothing. Its text (process and host) serves the message only. Threads of one process are not kept apart by it.
"""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING

from dse.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_held: set[tuple[int, int]] = set()  # (device, inode): the kernel never blocks a process by its own lock


class Lock:
    """Exclusive use of the folder that holds ``path``.

    Raises
    ------
    ConfigError
        A live process holds it; the message names that process.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        status = os.fstat(self._file)
        self._key = (status.st_dev, status.st_ino)
        ours = self._key in _held
        if ours or not _acquire(self._file):
            holder = os.read(self._file, 200).decode(errors="replace").strip() or "another process"
            if not ours:  # closing any handle of the file would drop the lock this process holds on it
                os.close(self._file)
            raise ConfigError(
                f"{path.parent}: in use by {holder}; wait for it or choose another --out folder"
            )
        _held.add(self._key)
        os.ftruncate(self._file, 0)
        os.write(self._file, f"process {os.getpid()} on {platform.node()}\n".encode())

    def release(self) -> None:
        """Give the folder back; a second call does nothing."""
        if self._key in _held:
            _held.discard(self._key)
            os.ftruncate(self._file, 0)
            os.close(self._file)


def _acquire(descriptor: int) -> bool:
    """Try to lock the first byte for this process, without waiting."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
    except OSError:
        return False
    return True
