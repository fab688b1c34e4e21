"""Whole shards kept on the node's disk, shared by all processes there, within a byte limit.

A shard's file is named by its SHA-256, and appears by a rename only after that digest was
checked, so a file that exists is whole. Each shard has a lock file, held while it is
downloaded: processes that want the same shard wait for the one that fetches it. Room is made
under one more lock by removing the shards unused for the longest time; a download in progress
counts with its full size. Locks are the kernel's (flock), so those of a killed process vanish
with it. The folder must be local to the node.
"""

import fcntl
import hashlib
import logging
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retdm.data.manifest import ShardInfo
from retdm.errors import ShardError, StorageError
from retdm.storage import Store

_log = logging.getLogger(__name__)


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
        raise _unusable(folder, str(error.strerror)) from error
    if owner != os.getuid():
        raise _unusable(folder, f"it belongs to user {owner}")
    return folder


def _unusable(folder: Path, why: str) -> StorageError:
    return StorageError(
        f"{folder}: cannot keep shards here ({why}); set data.cache_dir to a writable folder on "
        "a local disk"
    )


class NodeCache:
    """A folder of verified shards that never exceeds `limit_bytes`."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes

    def fetch(self, store: Store, shard: ShardInfo, *, wait: bool = True) -> Path | None:
        """The local file of a shard, downloaded and verified if it is not there yet.

        Args:
            store: Where the shard comes from.
            shard: Its entry in the manifest.
            wait: Whether to wait for another process that is just fetching it.

        Returns:
            The file, which may be evicted as soon as this returns; None if there is no room for
            it, or another process is fetching it and `wait` is false.

        Raises:
            ShardError: If what arrives twice differs from the manifest.
            StorageError: If it cannot be downloaded or the folder cannot be written.
        """
        path = self._path(shard)
        if self._used_now(path):
            return path
        if shard.bytes > self.limit_bytes:
            return None
        with self._locked(shard.sha256, wait=wait) as held:
            if not held:
                return None
            if self._used_now(path):
                return path
            part = self._reserve(shard)
            if part is None:
                return None
            try:
                _download(store, shard, part)
                # Under the lock, lest a scan of the folder sees both names or neither.
                with self._locked("room"):
                    os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
        return path

    def discard(self, shard: ShardInfo) -> None:
        """Forget a shard whose file turned out to be damaged."""
        self._path(shard).unlink(missing_ok=True)

    def used_bytes(self) -> int:
        """Bytes of all shards, those on their way included."""
        with self._locked("room"):
            shards, parts = self._entries()
        return sum(size for _, size, _ in shards) + sum(size for _, size in parts)

    def _path(self, shard: ShardInfo) -> Path:
        return self.folder / f"{shard.sha256}.tar"

    @staticmethod
    def _used_now(path: Path) -> bool:
        """Mark as the last used; False if it is not there."""
        try:
            os.utime(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except PermissionError:  # another user's, in a folder that is shared on purpose
            return True
        return True

    def _reserve(self, shard: ShardInfo) -> Path | None:
        """Make room and claim it by an empty file that carries the size in its name."""
        with self._locked("room"):
            shards, parts = self._entries()
            going = [part for part in parts if not self._abandoned(part[0], shard)]
            claimed = sum(size for _, size in going) + shard.bytes
            if claimed > self.limit_bytes:
                return None
            kept = sum(size for _, size, _ in shards)
            for _, size, path in sorted(shards):
                if claimed + kept <= self.limit_bytes:
                    break
                path.unlink(missing_ok=True)
                kept -= size
            part = self.folder / f".{shard.sha256}.{shard.bytes}.{uuid.uuid4().hex}.part"
            part.touch()
            return part

    def _entries(self) -> tuple[list[tuple[int, int, Path]], list[tuple[Path, int]]]:
        """Shards as (last use, bytes, file), and downloads in progress as (file, bytes)."""
        shards, parts = [], []
        for entry in os.scandir(self.folder) if self.folder.is_dir() else ():
            if entry.name.endswith(".part"):
                parts.append((Path(entry.path), int(entry.name.split(".")[2])))
            elif entry.name.endswith(".tar"):
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
        with self._locked(sha256, wait=False) as held:
            if held:
                part.unlink(missing_ok=True)
            return held

    @contextmanager
    def _locked(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold a lock among all processes and threads; yields whether it was got."""
        folder = self.folder / "locks"
        try:
            # One by one: with parents=True the mode would be that of the last only.
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.mkdir(exist_ok=True, mode=0o700)
            handle = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _unusable(self.folder, str(error.strerror)) from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(handle)


def _download(store: Store, shard: ShardInfo, to: Path) -> None:
    """Fetch and compare with the manifest; a wrong digest earns one more try."""
    size = store.size(shard.name)
    if size != shard.bytes:
        raise ShardError(
            f"{store.url}/{shard.name}: {'missing' if size is None else f'{size} bytes'}, the "
            f"manifest says {shard.bytes} bytes; upload it again or rebuild the shard set"
        )
    found = ""
    for _ in range(2):
        store.download(shard.name, to)
        with to.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found == shard.sha256:
            return
        _log.warning("%s/%s arrived damaged (sha256 %s)", store.url, shard.name, found)
    raise ShardError(
        f"{store.url}/{shard.name}: sha256 is {found}, the manifest says {shard.sha256} (fetched "
        f"twice); run `python -m retdm.shard verify {store.url}`, then upload or build it again"
    )
