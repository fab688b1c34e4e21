"""Who may write to a place: one program at a time.

In a folder it is a lock on a file, which the system lets go when the process ends, however
it ends. It holds across the machines of a shared file system, if that has locks. On S3 it is an
announcement, see `announce`.
"""

import contextlib
import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retdm.claims.announce import announce
from retdm.claims.claimant import Claim, Work, name_of, refusal, sealed, unsealed, who
from retdm.errors import ShardError, StorageError
from retdm.storage import Store
from retdm.storage.file import FileStore

_ROUNDS = 100
"""How often other programs may end just before we lock their file."""


def is_claim(name: str, work: Work) -> bool:
    """Whether a file of the place is a lock or a claim."""
    return name == _lock_name(work) or bool(re.fullmatch(f"{work.announced}[0-9a-f]{{32}}", name))


@contextmanager
def hold(store: Store, work: Work) -> Iterator[Claim]:
    """Hold the right to write to `store`, until the block ends.

    Raises:
        ConfigError: If another program holds it.
        StorageError: If the place cannot be written, or its file system has no locks.
    """
    me = {"token": uuid.uuid4().hex, "holds": True, "beat": 0, **who()}
    way = _lock(store, work, me) if isinstance(store, FileStore) else announce(store, work, me)
    with way as held:
        yield held


def _lock_name(work: Work) -> str:
    return f"{work.folder}lock"


@contextmanager
def _lock(store: FileStore, work: Work, mine: dict[str, Any]) -> Iterator[Claim]:
    path = store.path(_lock_name(work))
    descriptor = _locked(store, work, path)
    try:
        try:
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, sealed(mine), 0)
        except OSError as error:
            raise _unwritable(path, error) from error
        yield Claim(store, work, _lock_name(work), mine["token"])
    finally:
        path.unlink(missing_ok=True)  # while it is still locked: see `_locked`
        os.close(descriptor)
        with contextlib.suppress(OSError):  # not empty: records are kept
            path.parent.rmdir()


def _locked(store: FileStore, work: Work, path: Path) -> int:
    """An open, locked descriptor of the file that is now at `path`."""
    for _ in range(_ROUNDS):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # another program ended and removed the folder
            continue
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                return descriptor
        except BlockingIOError:
            content = os.pread(descriptor, 1 << 16, 0)
            os.close(descriptor)
            raise refusal(store, work, _named(content, path)) from None
        except OSError as error:
            os.close(descriptor)
            raise StorageError(
                f"{path}: the file system has no locks ({error.strerror}), so two {work.noun}s "
                f"could mix there; {work.lockless}"
            ) from error
        os.close(descriptor)  # another program ended and removed the file before we locked it
    raise StorageError(
        f"{path}: the file cannot be made, or is removed again and again; choose another place"
    )


def _named(content: bytes, path: Path) -> str:
    try:
        return name_of(unsealed(content, str(path)))
    except ShardError:  # it is just writing the file
        return "another process"


def _unwritable(path: Path, error: OSError) -> StorageError:
    return StorageError(f"{path}: {error.strerror}; check permissions and free space")


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
