"""Locks among all processes and threads of a node, which tell those who waited what went wrong.

The locks are the kernel's (flock), so those of a killed process vanish with it.
"""

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path

from retdm.errors import RetdmError, ShardError, StorageError, TransientStorageError

_KINDS = {kind.__name__: kind for kind in (ShardError, StorageError, TransientStorageError)}


class NodeLock:
    """The lock that a file stands for.

    Args:
        path: Of the file, in an existing folder of a local disk.

    Raises:
        OSError: If it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self, *, wait: bool) -> bool:
        """Hold the lock until `close`; False if another holds it and `wait` is false."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Release the lock if it was taken."""
        os.close(self._handle)

    def leave(self, error: RetdmError) -> None:
        """Leave a failure behind for those who wait for the same thing meanwhile."""
        note = {"at": time.time(), "kind": type(error).__name__, "message": str(error)}
        with contextlib.suppress(OSError):  # a full disk, say: then they find out by themselves
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, json.dumps(note).encode(), 0)

    def failure(self, *, since: float) -> RetdmError | None:
        """What another holder left behind after the time `since`, if anything."""
        try:
            note = json.loads(os.pread(self._handle, 1 << 16, 0) or b"{}")
            if note.get("at", 0) < since:
                return None
            return _KINDS[note["kind"]](note["message"])
        except (ValueError, KeyError):  # torn by a kill
            return None
