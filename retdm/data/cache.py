"""Whole shards kept on the node's disk, shared by all processes there, within a byte limit.

A shard's file is named by its SHA-256, and appears by a rename only after that digest was
checked, so a file that exists was whole. Each shard has a lock, held while it is downloaded:
processes that want the same shard wait for the one that fetches it, and share its failure.

Jobs may share a folder and differ in their limits: none adds anything beyond its own limit.
"""

import contextlib
import hashlib
import logging
import os
import time
from pathlib import Path

from retdm.counts import COUNTS
from retdm.data.cache_folder import CacheFolder, is_full, unusable
from retdm.data.manifest import ShardInfo
from retdm.data.verified import download_verified
from retdm.errors import RetdmError, ShardError, StorageError
from retdm.storage import Store

_ROUNDS = 3
_FULL_PAUSE_S = 10.0
_log = logging.getLogger(__name__)


class NodeCache:
    """A folder of verified shards that never exceeds `limit_bytes`.

    Args:
        folder: Made when the first shard is fetched.
        limit_bytes: Of all shards, those on their way included.
        in_use_bytes: Of the shards that are read at the same time; see `CacheFolder`.
    """

    def __init__(self, folder: Path, limit_bytes: int, in_use_bytes: int = 0) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._files = CacheFolder(folder, limit_bytes, in_use_bytes)
        self._wrong: set[str] = set()
        """Digests of shards that are not what the manifest says."""
        self._full_until = 0.0
        self._told = False

    def fetch(self, store: Store, shard: ShardInfo, *, wait: bool = True) -> Path | None:
        """The local file of a shard, downloaded and verified if it is not there yet.

        Args:
            store: Where the shard comes from.
            shard: Its entry in the manifest.
            wait: Whether to wait for another process that is just fetching it.

        Returns:
            The file, which may be evicted as soon as this returns; None if it cannot be had as
            a whole: there is no room for it, what is stored is not what the manifest says, or
            another process is fetching it and `wait` is false.

        Raises:
            StorageError: If it cannot be downloaded or the folder cannot be written.
        """
        path = self._files.file(shard)
        if self._files.used_now(shard):
            COUNTS.add("cache_hits")
            return path
        COUNTS.add("cache_misses")
        if shard.bytes > self.limit_bytes or shard.sha256 in self._wrong:
            return None
        if time.monotonic() < self._full_until:
            return None
        for _ in range(_ROUNDS):
            try:
                return self._fetch(store, shard, path, wait=wait)
            except ShardError as error:
                self._wrong.add(shard.sha256)
                _log.warning("%s; its samples are read one by one", error)
                return None
            except (OSError, StorageError) as error:
                if not is_full(error):
                    if isinstance(error, OSError):
                        raise unusable(self.folder, str(error.strerror)) from error
                    raise
                if not self._files.give_way(shard):
                    break
        self._full_until = time.monotonic() + _FULL_PAUSE_S
        if not self._told:
            self._told = True
            _log.warning(
                "%s: the disk is full, so samples are read one by one from %s where their shard "
                "is not there; free some space, or set data.cache_dir to another disk",
                self.folder,
                store.url,
            )
        return None

    def _fetch(self, store: Store, shard: ShardInfo, path: Path, *, wait: bool) -> Path | None:
        begun = time.time()
        with self._files.locked(shard.sha256, wait=wait) as lock:
            if lock is None:
                return None
            if self._files.used_now(shard):
                return path
            failure = lock.failure(since=begun)
            if failure is not None:
                raise failure
            part = self._files.reserve(shard)
            if part is None:
                return None
            try:
                _download(store, shard, part)
                # Under the lock, lest a scan of the folder sees both names or neither.
                with self._files.locked("room"):
                    os.replace(part, path)
            except RetdmError as error:
                if not is_full(error):
                    lock.leave(error)
                raise
            finally:
                part.unlink(missing_ok=True)
        return path

    def is_whole(self, shard: ShardInfo) -> bool:
        """Whether the file of a shard is undamaged; if not, it is removed."""
        path = self._files.file(shard)
        try:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256:
                    return True
        except OSError as error:
            _log.warning("%s: %s", path, error.strerror)
        else:
            _log.warning("%s: damaged on this disk; it is fetched again", path)
        with contextlib.suppress(OSError):  # gone already, or another user's
            path.unlink()
        return False

    def used_bytes(self) -> int:
        """Bytes of all shards, those on their way included."""
        return self._files.used_bytes()


def _download(store: Store, shard: ShardInfo, to: Path) -> None:
    """Fetch and compare with the manifest.

    Raises:
        ShardError: If it is not what the manifest says.
    """
    where = f"{store.url}/{shard.name}"
    size = store.size(shard.name)
    if size != shard.bytes:
        raise ShardError(
            f"{where}: {'missing' if size is None else f'{size} bytes'}, the manifest says "
            f"{shard.bytes} bytes; upload it again or rebuild the shard set"
        )
    found = download_verified(store, shard.name, to, sha256=shard.sha256)
    if found[-1] != shard.sha256:
        raise ShardError(
            f"{where}: sha256 is {found[-1]}, the manifest says {shard.sha256} (fetched "
            f"{len(found)} times); run `python -m retdm.shard verify {store.url}`, then upload or "
            "build it again"
        )
