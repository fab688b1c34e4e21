"""The folder in which a node keeps shards: what is in it, and room for more.

Room is made under a lock by removing the shards unused for the longest time; a download in
progress counts with its full size. The folder must be local to the node.

Each shard that was ever asked for leaves an empty file in `locks/`, also where there was no room
for it. Each process that downloads removes those of the day before and older.
"""

import contextlib
import errno
import os
import re
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retdm.data.manifest import ShardInfo
from retdm.data.node_lock import NodeLock, sweep
from retdm.errors import StorageError

_SHARD = re.compile(r"[0-9a-f]{64}\.tar")
_PART = re.compile(r"\.[0-9a-f]{64}\.([0-9]+)\.[0-9a-f]{32}\.part")
_LOCK_UNUSED_S = 24 * 3600.0
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def default_folder() -> Path:
    """Where the cache is unless `data.cache_dir` says otherwise; one for each user.

    It is made here if need be, since anyone may make a folder of that name under /tmp.

    Raises:
        StorageError: If it cannot be made, or belongs to another user.
    """
    folder = Path(tempfile.gettempdir()) / f"retdm-cache-{os.getuid()}"
    try:
        folder.mkdir(exist_ok=True, mode=0o700)
        owner = folder.lstat().st_uid
    except OSError as error:
        raise unusable(folder, str(error.strerror)) from error
    if owner != os.getuid():
        raise unusable(folder, f"it belongs to user {owner}")
    return folder


def unusable(folder: Path, why: str) -> StorageError:
    """The error of a folder that cannot serve."""
    return StorageError(
        f"{folder}: cannot keep shards here ({why}); set data.cache_dir to a writable folder on "
        "a local disk"
    )


def is_full(error: BaseException | None) -> bool:
    """Whether an error comes from a disk that has no room left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__
    return False


class CacheFolder:
    """Shards by digest, and downloads in progress.

    Args:
        path: Made with the first lock.
        limit_bytes: Of all shards, those on their way included.
        in_use_bytes: Of the shards that are read at the same time. If a full disk leaves less
            room than that, shards are not thrown out for one another.
    """

    def __init__(self, path: Path, limit_bytes: int, in_use_bytes: int) -> None:
        self.path = path
        self._limit_bytes = limit_bytes
        self._in_use_bytes = in_use_bytes
        self._since_ns = time.time_ns()
        self._swept = False

    def file(self, shard: ShardInfo) -> Path:
        """Where a shard is, or would be."""
        return self.path / f"{shard.sha256}.tar"

    def used_now(self, shard: ShardInfo) -> bool:
        """Mark a shard as the last used; False if it is not there."""
        try:
            os.utime(self.file(shard))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except PermissionError:  # another user's, in a folder that is shared on purpose
            return True
        return True

    def used_bytes(self) -> int:
        """Bytes of all shards, those on their way included."""
        with self.locked("room"):
            shards, parts = self._entries()
        return sum(size for _, size, _ in shards) + sum(size for _, size in parts)

    def reserve(self, shard: ShardInfo) -> Path | None:
        """Make room and claim it by a file of that size, which has the size in its name too."""
        if not self._swept:
            self._swept = True
            sweep(self.path / "locks", unused_s=_LOCK_UNUSED_S)
        with self.locked("room"):
            shards, parts = self._entries()
            going = [part for part in parts if not self._abandoned(part[0], shard)]
            claimed = sum(size for _, size in going) + shard.bytes
            if claimed > self._limit_bytes:
                return None
            kept = sum(size for _, size, _ in shards)
            for _, size, path in sorted(shards):
                if claimed + kept <= self._limit_bytes:
                    break
                path.unlink(missing_ok=True)
                kept -= size
            part = self.path / f".{shard.sha256}.{shard.bytes}.{uuid.uuid4().hex}.part"
            _set_aside(part, shard.bytes)
            return part

    def give_way(self, shard: ShardInfo) -> bool:
        """Remove shards until there is room for one more on a full disk; False if none can go.

        Without a lock, which a full disk may refuse; removing a file needs none.
        """
        shards, parts = self._entries()
        kept = sum(size for _, size, _ in shards) + sum(size for _, size in parts)
        freed = 0
        for used_ns, size, path in sorted(shards):
            needed = used_ns >= self._since_ns and kept - size < self._in_use_bytes
            if freed >= shard.bytes or needed:
                break
            path.unlink(missing_ok=True)
            freed, kept = freed + size, kept - size
        return freed > 0

    def _entries(self) -> tuple[list[tuple[int, int, Path]], list[tuple[Path, int]]]:
        """Shards as (last use, bytes, file), and downloads in progress as (file, bytes).

        Files of other names are somebody else's: they are left alone and do not count.
        """
        shards, parts = [], []
        for entry in os.scandir(self.path) if self.path.is_dir() else ():
            if part := _PART.fullmatch(entry.name):
                parts.append((Path(entry.path), int(part[1])))
            elif _SHARD.fullmatch(entry.name):
                try:
                    status = entry.stat()
                except FileNotFoundError:  # discarded meanwhile
                    continue
                shards.append((status.st_mtime_ns, status.st_size, Path(entry.path)))
        return shards, parts

    def _abandoned(self, part: Path, ours: ShardInfo) -> bool:
        """Remove what a killed process left: the lock of its shard is free, or is ours."""
        sha256 = part.name.split(".")[1]
        if sha256 == ours.sha256:
            part.unlink(missing_ok=True)
            return True
        with self.locked(sha256, wait=False) as lock:
            if lock is not None:
                part.unlink(missing_ok=True)
            return lock is not None

    @contextmanager
    def locked(self, name: str, *, wait: bool = True) -> Iterator[NodeLock | None]:
        """Hold the lock of a shard, by its digest, or "room"; yields None if another does.

        Raises:
            StorageError: If the folder cannot be written.
        """
        locks = self.path / "locks"
        try:
            # One by one: with parents=True the mode would be that of the last only.
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            locks.mkdir(exist_ok=True, mode=0o700)
            lock = NodeLock(locks / name)
        except OSError as error:
            raise unusable(self.path, str(error.strerror)) from error
        with contextlib.closing(lock):
            try:
                taken = lock.take(wait=wait)
            except OSError as error:
                raise unusable(self.path, str(error.strerror)) from error
            yield lock if taken else None


def _set_aside(part: Path, size: int) -> None:
    """Make a file that takes up its room on the disk already, so that a full disk shows now."""
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if is_full(error):
            part.unlink()
            raise
        # Otherwise the file system cannot do this, and a full disk shows in the download.
    finally:
        os.close(handle)
