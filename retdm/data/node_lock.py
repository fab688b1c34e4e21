"""Locks among all processes and threads of a node, which tell those who waited what went wrong.

The locks are the kernel's (flock), so those of a killed process vanish with it. Their files stay,
and may be removed by `sweep` at any time: a lock counts only on the file that has the name now.
"""

import contextlib
import fcntl
import json
import os
import re
import time
from pathlib import Path

from retdm.errors import RetdmError, ShardError, StorageError, TransientStorageError

_DIGEST = re.compile(r"[0-9a-f]{64}")
_KINDS = {kind.__name__: kind for kind in (ShardError, StorageError, TransientStorageError)}


class NodeLock:
    """The lock that a file stands for.

    Args:
        path: Of the file, in an existing folder of a local disk.

    Raises:
        OSError: If it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = _open(path)

    def take(self, *, wait: bool) -> bool:
        """Hold the lock until `close`; False if another holds it and `wait` is false.

        Raises:
            OSError: If its file was removed and cannot be made again.
        """
        while True:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                return False
            if self._is_current():
                return True
            # Removed since it was opened: others lock the file that has its name by now.
            handle = _open(self._path)
            os.close(self._handle)
            self._handle = handle

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._handle), os.stat(self._path))
        except FileNotFoundError:
            return False

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


def sweep(folder: Path, *, unused_s: float) -> int:
    """Remove the files of shards' locks that nobody holds, made and last written to long ago.

    Whoever is about to take such a lock notices, and makes its file again. What has another name
    than a digest is left alone.

    Args:
        folder: Of the locks.
        unused_s: How old a file must be.

    Returns:
        How many were removed.
    """
    removed = 0
    before = time.time() - unused_s
    for entry in os.scandir(folder):
        # Removed meanwhile by another sweep, or another user's, whom it does no harm.
        with contextlib.suppress(OSError):
            if _DIGEST.fullmatch(entry.name) and entry.stat().st_mtime < before:
                removed += _remove(folder / entry.name)
    return removed


def _remove(path: Path) -> bool:
    with contextlib.closing(NodeLock(path)) as lock:
        # Removed while it is held, so nobody else can hold it under this name.
        if free := lock.take(wait=False):
            path.unlink()
        return free


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
