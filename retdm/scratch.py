"""Folders for the temporary files of a process; what a killed one leaves, the next one removes.

A folder is held by a lock of the kernel's (flock), which ends with its process, however that ends.
Whoever makes a folder removes those of its user that nobody holds.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

_PREFIX = "retdm-scratch-"


class Scratch:
    """A new folder below the temporary one of the system; a context manager that gives its path.

    Args:
        what: Of the content, in one word; part of the folder's name.
    """

    path: Path

    def __init__(self, what: str) -> None:
        _sweep()
        held = None
        while held is None:
            self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{what}-"))
            held = _hold(self.path)
        self._held = held

    def close(self) -> None:
        """Remove the folder with all that is in it; again does nothing."""
        if self._held >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._held)
            self._held = -1

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _hold(path: Path) -> int | None:
    """A descriptor that holds the folder until it is closed; None if it is another's or gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A sweep may have come before the lock.
        held = path.exists()
    except BlockingIOError:
        held = False
    if held:
        return descriptor
    os.close(descriptor)
    return None


def _sweep() -> None:
    """Remove this user's folders that no process holds."""
    for entry in os.scandir(tempfile.gettempdir()):
        # Another sweep may be faster.
        with contextlib.suppress(OSError):
            ours = entry.name.startswith(_PREFIX) and entry.stat().st_uid == os.getuid()
            held = _hold(Path(entry.path)) if ours else None
            if held is not None:
                shutil.rmtree(entry.path, ignore_errors=True)
                os.close(held)
